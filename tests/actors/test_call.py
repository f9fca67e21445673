"""actors/call.py: a whole call between two legs in memory, and what its caller is told at its end."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from actors.call import run_call
from actors.call_register import CallRegister
from actors.engine_reporter import EngineReporter
from db.memory import open_memory_database
from runtime import limits
from runtime.errors import NoAnswer, TextInBinaryMode
from runtime.house import House
from runtime.leg import Closed
from runtime.record import CallRecord, Ending
from runtime.settings import read_settings
from runtime.tool_posts import ToolCall
from runtime.tunnels.way_in import FixedAddress
from tests.bank import bank_tools
from tests.fakes import FakeHttp, FakeLeg, arriving_now, assert_every_byte_is_counted, speech

FRAME = speech(0.02)
ENDED = '{"type":"status-update","status":"ended"}'


@attrs.define
class FakeCalls:
    """VapiCalls (actors/vapi_calls.py) that leads to the leg of the test."""

    leg: FakeLeg
    setup_seconds: float = 0.0
    refuses: Exception | None = None
    left_at: float | None = None

    @asynccontextmanager
    async def call(self, record: CallRecord, _body: Any, _nursery: trio.Nursery) -> AsyncIterator[FakeLeg]:
        try:
            await trio.sleep(self.setup_seconds)
            if self.refuses is not None:
                raise self.refuses
            record.known_at_vapi_as("vapi-1")
            yield self.leg
        finally:
            self.left_at = trio.current_time()


@attrs.define
class World:
    house: House
    calls: FakeCalls
    caller: FakeLeg
    vapi: FakeLeg
    record: CallRecord
    endings: list[Ending]
    nursery: trio.Nursery
    scope: trio.CancelScope

    def speaks(self, *items: bytes | str | Closed) -> None:
        self.vapi.arrives(*items)


@asynccontextmanager
async def call_under_way(**calls: Any) -> AsyncIterator[World]:
    """A call between two fake legs; left when the call is over."""
    settings = read_settings({"POD_ID": "pod", "VAPI_API_KEY": "k"}, state_folder=Path("/dev/null/runs"))
    caller, vapi = FakeLeg(stall_seconds=limits.DOWNLINK_STALL_SECONDS), FakeLeg()
    fake = FakeCalls(vapi, **calls)
    endings: list[Ending] = []
    async with open_memory_database() as database, trio.open_nursery() as legs:
        house = House(
            settings=settings, prompt="You are Riley.", way_in=FixedAddress("https://bank.example"),
            webhook_key=b"k" * 32,
            registry=bank_tools(), database=database, vapi_calls=fake, sink=lambda _event: None,  # type: ignore[arg-type]
            reporter=EngineReporter(FakeHttp(), "http://engine", None),  # type: ignore[arg-type]
            register=CallRegister(database, "pod"), gateway=None,
        )  # fmt: skip
        record, scope = CallRecord("c-1", house.sink), trio.CancelScope()

        async def run() -> None:
            with scope:
                endings.append(await run_call(caller, record, house, legs))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            await trio.testing.wait_all_tasks_blocked()
            yield World(house, fake, caller, vapi, record, endings, nursery, scope)
        legs.cancel_scope.cancel()
    assert record.phase == "over"
    assert len(house.calls) == 0
    assert fake.left_at is not None
    assert_every_byte_is_counted(record)


async def test_call_carries_audio_both_ways_and_ends_when_the_caller_hangs_up() -> None:
    async with call_under_way() as world:
        world.caller.arrives(FRAME, FRAME)
        world.speaks(FRAME)
        await trio.sleep(0.1)
        assert world.vapi.audio == FRAME * 2
        assert world.caller.audio == FRAME
        assert world.record.phase == "live"
        world.caller.hangs_up()
        began = trio.current_time()
    assert trio.current_time() == began
    (ending,) = world.endings
    assert (ending.by, ending.reason, ending.code) == ("caller", "call_ended", 1000)
    assert world.caller.closings == [], "whoever opened the leg closes it"


async def test_call_plays_out_what_vapi_has_said_when_vapi_ends_it() -> None:
    async with call_under_way() as world:
        world.speaks(speech(1), ENDED)
    assert world.caller.audio == speech(1)
    assert (world.endings[0].by, world.endings[0].reason, world.endings[0].code) == ("vapi", "call_ended", 1000)
    assert world.record.vapi_said_goodbye


async def test_call_is_over_in_time_when_the_caller_reads_too_slowly_what_vapi_has_said() -> None:
    async with call_under_way() as world:
        world.caller.send_seconds = 3.0
        world.speaks(*[speech(1)] * 9, ENDED)
    assert trio.current_time() == limits.PLAYOUT_SECONDS
    assert world.caller.audio == speech(3)
    assert (world.endings[0].by, world.endings[0].reason) == ("vapi", "call_ended")
    assert world.record.counts["downlink_bytes_discarded"] == len(speech(6))
    assert world.record.counts["playouts_cut"] == 1


async def test_caller_is_told_vapi_lost_when_vapis_socket_breaks() -> None:
    async with call_under_way() as world:
        world.speaks(Closed(1006))
    assert (world.endings[0].reason, world.endings[0].code) == ("vapi_lost", 1011)


async def test_caller_is_told_vapi_lost_when_vapi_takes_nothing() -> None:
    async with call_under_way() as world:
        world.vapi.stalled = True
        world.caller.arrives(FRAME)
    assert (world.endings[0].reason, world.endings[0].by) == ("vapi_lost", "vapi")
    assert trio.current_time() == limits.UPLINK_STALL_SECONDS


async def test_call_ends_when_the_caller_takes_nothing() -> None:
    async with call_under_way() as world:
        world.caller.stalled = True
        world.speaks(FRAME)
    assert (world.endings[0].reason, world.endings[0].by) == ("caller_stalled", "caller")
    assert trio.current_time() == limits.DOWNLINK_STALL_SECONDS


async def test_caller_is_told_what_he_did_when_he_breaks_the_protocol() -> None:
    async with call_under_way() as world:
        world.caller.arrives(TextInBinaryMode())
    assert (world.endings[0].code, world.endings[0].reason) == (1003, "text_in_binary_mode")


async def test_caller_is_told_the_cause_when_no_call_can_be_made() -> None:
    async with call_under_way(refuses=NoAnswer("vapi_no_slot", "Vapi has no free slot")) as world:
        pass
    assert (world.endings[0].code, world.endings[0].reason) == (1011, "callee_no_answer: vapi_no_slot")
    assert world.endings[0].detail == "Vapi has no free slot"


async def test_caller_is_told_that_vapi_is_down_when_the_set_up_takes_too_long() -> None:
    async with call_under_way(setup_seconds=60) as world:
        pass
    assert world.endings[0].reason == "callee_no_answer: vapi_down"
    assert trio.current_time() == 2 * limits.VAPI_SLOT_SECONDS + limits.SETUP_SECONDS


async def test_audio_that_waited_for_the_writer_is_counted_when_the_set_up_fails() -> None:
    async with call_under_way(setup_seconds=1, refuses=NoAnswer("vapi_down", "Vapi is down")) as world:
        world.caller.arrives(FRAME)
        await trio.sleep(1)
        world.caller.arrives(*[FRAME] * 50)
    assert world.record.counts["caller_bytes"] >= len(FRAME)


async def test_hang_up_cancels_the_set_up_at_once() -> None:
    async with call_under_way(setup_seconds=10) as world:
        await trio.sleep(1)
        world.caller.hangs_up()
    assert trio.current_time() == 1
    assert world.endings[0].by == "caller"


async def test_audio_is_discarded_and_counted_when_vapi_does_not_listen_yet() -> None:
    async with call_under_way(setup_seconds=2) as world:
        for _ in range(100):
            world.caller.arrives(FRAME)
            await trio.sleep(0.02)
        await trio.sleep(0.1)
        world.caller.arrives(b"ab")
        await trio.sleep(0.1)
        world.caller.hangs_up()
    assert world.vapi.audio.startswith(b"ab"), "nothing from before came in a burst"
    assert world.record.counts["setup_bytes_discarded"] == 100 * len(FRAME)


async def test_hang_up_is_seen_when_the_set_up_is_slow_and_the_caller_has_spoken() -> None:
    async with call_under_way(setup_seconds=10) as world:
        world.caller.arrives(*[FRAME] * 200, Closed(1000))
    assert trio.current_time() == 0


async def test_call_is_taken_down_in_order_when_it_is_cancelled() -> None:
    async with call_under_way() as world:
        world.scope.cancel()
    assert world.endings == []
    assert world.record.phase == "over"


async def test_waiting_tool_calls_are_answered_when_the_call_ends() -> None:
    async with call_under_way() as world:
        posts = world.record.tool_posts
        assert posts is not None
        async with trio.open_nursery() as nursery:
            waiting = [arriving_now((ToolCall(f"t-{n}", "display_user_info", {}),)) for n in range(3)]
            world.caller.hangs_up()
            for pending in waiting:
                posts.send_nowait(pending)
            nursery.start_soon(trio.sleep, 1)
        answers = [(await pending.wait())[0] for pending in waiting]
        assert all(answer.error for answer in answers)
        with pytest.raises(trio.ClosedResourceError):
            posts.send_nowait(waiting[0])
    assert trio.current_time() == 1


async def test_tool_is_run_and_answered_when_the_call_is_live() -> None:
    async with call_under_way() as world:
        posts = world.record.tool_posts
        assert posts is not None
        pending = arriving_now((ToolCall("t-1", "display_user_info", {"user_id": 3}),))
        await posts.send(pending)
        (answer,) = await pending.wait()
        assert json.loads(json.dumps(answer.result))["full_name"] == "Dana Whitfield"
        world.caller.hangs_up()


async def test_first_failure_is_what_the_caller_is_told_when_others_follow() -> None:
    async with call_under_way() as world:
        world.speaks(*[speech(6)] * 2)
        world.caller.stalled = True
        await trio.sleep(1)
    assert world.endings[0].reason == "caller_stalled"


async def test_own_mistake_is_an_internal_error_when_an_actor_fails() -> None:
    async with call_under_way() as world:
        world.vapi._inbox[0].send_nowait(RuntimeError("a mistake of ours"))
    assert (world.endings[0].code, world.endings[0].reason) == (1011, "internal_error")
    assert world.endings[0].detail == "ControlMessageWatcher failed"


async def test_peaks_are_kept_when_the_call_is_over() -> None:
    async with call_under_way() as world:
        world.speaks(speech(3))
        await trio.sleep(5)
        world.caller.hangs_up()
    assert world.record.peaks["agent_audio_seconds"] == pytest.approx(3.0)
    assert 0 <= world.record.peaks["caller_audio_seconds"] <= limits.CALLER_AUDIO_SECONDS
