"""actors/vapi_calls.py: from the moment POST /call may have been taken, every way out ends the call at Vapi."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import structlog
import trio
import trio.testing

from actors.vapi_calls import VapiCalls
from runtime import limits
from runtime.errors import NoAnswer
from runtime.supervisor import Supervisor, open_supervisor
from runtime.switchboard import Switchboard
from tests.fakes import FakeLeg, FakeVapi, captured_log, new_record
from tests.virtual_time import run_in_virtual_time

CONTEXT = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
END_CALL = '{"type":"end-call"}'


@attrs.define
class Calling:
    vapi: FakeVapi
    calls: VapiCalls
    process: Supervisor
    nursery: trio.Nursery

    def open(self, record: Any = None) -> Any:
        return self.calls.call(record or new_record(), {"name": "x"}, self.nursery)


@pytest.fixture(autouse=True)
def dial(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sockets lead to whichever fake Vapi made the call."""
    monkeypatch.setattr("actors.vapi_calls.dial_vapi", lambda *where: current[-1].dial(*where))


current: list[FakeVapi] = []


@asynccontextmanager
async def calling(vapi: FakeVapi) -> AsyncIterator[Calling]:
    """VapiCalls at work for the body, and then closed as the process closes it."""
    current.append(vapi)
    calls = VapiCalls(vapi, CONTEXT, Switchboard())  # type: ignore[arg-type]
    log, _ = captured_log()
    async with trio.open_nursery() as nursery, open_supervisor("process", log) as process:
        stop_seconds = limits.ORPHAN_SECONDS + limits.LOST_REPLY_SECONDS
        await process.start("VapiCalls", lambda: calls, significant=True, finish=calls.close, stop_seconds=stop_seconds)
        yield Calling(vapi, calls, process, nursery)
    current.remove(vapi)


async def leave_after(c: Calling, seconds: float) -> None:
    with trio.move_on_after(seconds):
        async with c.open():
            await trio.sleep_forever()


async def test_call_is_ended_on_its_socket_when_the_caller_leaves() -> None:
    vapi = FakeVapi(create_seconds=1)
    record = new_record()
    async with calling(vapi) as c, c.open(record) as leg:
        assert record.vapi_call_id == "vapi-1"
        assert record.vapi_call_known.is_set()
        await trio.sleep(5)
    assert leg.texts == [END_CALL]
    assert leg.closings == [(1000, "call_ended")]
    assert (vapi.running, vapi.ended_by) == (set(), [("vapi-1", "socket")])
    assert c.calls.counts == {}


async def test_nothing_is_ended_when_vapi_has_said_goodbye() -> None:
    vapi = FakeVapi()
    record = new_record()
    async with calling(vapi) as c, c.open(record) as leg:
        record.vapi_said_goodbye = True
    assert leg.texts == []
    assert leg.closings == [(1000, "call_ended")]
    assert vapi.ended_by == []


async def test_call_is_ended_after_the_reply_when_the_caller_leaves_while_the_post_is_in_flight() -> None:
    vapi = FakeVapi(create_seconds=8)
    async with calling(vapi) as c:
        await leave_after(c, 2)
        assert trio.current_time() == 2, "the caller is gone at once"
    assert vapi.ended_by == [("vapi-1", "socket")]
    assert vapi.ended_at == [pytest.approx(8)]
    assert c.calls.counts == {"orphans_ended": 1}


def test_call_is_ended_when_the_caller_leaves_in_the_moment_of_the_reply() -> None:
    async def main() -> None:
        vapi = FakeVapi(reply=trio.Event())
        async with calling(vapi) as c, trio.open_nursery() as caller:
            caller.start_soon(leave_after, c, float("inf"))
            await trio.testing.wait_all_tasks_blocked()
            caller.cancel_scope.cancel()
            assert vapi.reply is not None
            vapi.reply.set()
        assert vapi.running == set()

    for _ in range(25):  # which of the two tasks wakes first is drawn by chance
        run_in_virtual_time(main)


async def test_call_is_ended_when_the_caller_leaves_in_the_middle_of_dialling() -> None:
    vapi = FakeVapi(dial_seconds=3)
    async with calling(vapi) as c:
        await leave_after(c, 1)
    assert vapi.running == set()
    assert c.calls.counts == {"orphans_ended": 1}


async def test_call_is_ended_by_its_control_url_when_its_socket_cannot_be_dialled() -> None:
    vapi = FakeVapi(dial_fails=True)
    async with calling(vapi) as c:
        with pytest.raises(NoAnswer) as raised:
            async with c.open():
                raise AssertionError("nothing was opened")
        assert raised.value.cause == "vapi_down"
    assert vapi.dialled == ["ws://vapi-1"] * 2, "once more, only to end it"
    assert vapi.ended_by == [("vapi-1", "control")]


@pytest.mark.parametrize("stalled", [True, False])
async def test_call_is_ended_by_its_control_url_when_its_leg_cannot_speak(stalled: bool) -> None:
    vapi = FakeVapi()
    async with calling(vapi) as c, c.open() as leg:
        leg.stalled, leg.closed = stalled, not stalled
        leg.peer_answers = False
    assert leg.texts == []
    assert vapi.dialled == ["ws://vapi-1"]
    assert vapi.ended_by == [("vapi-1", "control")]
    assert c.calls.counts == {"orphans_ended": 1}


async def test_caller_leaves_in_bounded_time_when_vapis_leg_is_stalled() -> None:
    vapi = FakeVapi()
    async with calling(vapi) as c:
        async with c.open() as leg:
            leg.stalled, leg.peer_answers = True, False
        assert trio.current_time() <= limits.CLOSE_SECONDS * 3


async def test_body_error_comes_out_and_the_call_is_ended_when_the_body_fails() -> None:
    vapi = FakeVapi()
    async with calling(vapi) as c:
        with pytest.raises(KeyError):
            async with c.open():
                raise KeyError("body")
    assert vapi.running == set()


async def test_refusal_is_told_and_nothing_is_ended_when_vapi_refuses() -> None:
    vapi = FakeVapi(refuses=NoAnswer("vapi_no_slot", "no free slot"))
    async with calling(vapi) as c:
        with pytest.raises(NoAnswer, match="no free slot"):
            async with c.open():
                raise AssertionError
    assert (vapi.dialled, vapi.ended_by, set(c.calls.counts)) == ([], [], {"vapi_slot_retries"})


@pytest.mark.parametrize("finds_after_seconds", [0.0, 9.0, 25.0])
async def test_call_is_searched_and_ended_when_its_reply_was_lost(finds_after_seconds: float) -> None:
    vapi = FakeVapi(reply_lost=True, finds_after_seconds=finds_after_seconds, create_seconds=15)
    async with calling(vapi) as c:
        with pytest.raises(NoAnswer, match="reply to POST /call was lost"):
            async with c.open():
                raise AssertionError
        assert trio.current_time() == 15, "the caller does not wait for the search"
    assert vapi.ended_by == [("vapi-1", "control")]
    assert c.calls.counts == {"orphans_ended": 1}


async def test_call_is_counted_as_possibly_billed_when_its_reply_was_lost_and_it_is_not_found() -> None:
    vapi = FakeVapi(reply_lost=True, finds_after_seconds=None)
    with structlog.testing.capture_logs() as entries:
        async with calling(vapi) as c:
            with pytest.raises(NoAnswer):
                async with c.open():
                    raise AssertionError
    assert trio.current_time() == limits.LOST_REPLY_SECONDS
    assert c.calls.counts == {"possibly_billed": 1}
    assert [entry["log_level"] for entry in entries if entry["event"] == "possibly_billed"] == ["error"]


async def test_call_is_ended_when_it_is_found_at_the_end_of_the_search() -> None:
    vapi = FakeVapi(reply_lost=True, finds_after_seconds=27.5, control_seconds=4)
    async with calling(vapi) as c:
        with pytest.raises(NoAnswer):
            async with c.open():
                raise AssertionError
    assert vapi.running == set()
    assert c.calls.counts == {"orphans_ended": 1}


async def test_call_is_counted_as_possibly_billed_when_it_cannot_be_ended_in_ten_seconds() -> None:
    vapi = FakeVapi(dial_fails=True, control_works=False)
    async with calling(vapi) as c:
        with pytest.raises(NoAnswer):
            async with c.open():
                raise AssertionError
    assert trio.current_time() == limits.ORPHAN_SECONDS
    assert c.calls.counts == {"possibly_billed": 1}


async def test_close_waits_for_endings_that_are_under_way() -> None:
    vapi = FakeVapi(dial_fails=True, control_seconds=4)
    async with calling(vapi) as c:
        with pytest.raises(NoAnswer):
            async with c.open():
                raise AssertionError
        assert vapi.running == {"vapi-1"}
    assert trio.current_time() == 4
    assert vapi.running == set()
    assert c.process.exits[0].error is None


async def test_one_calls_failure_does_not_reach_another() -> None:
    vapi = FakeVapi()
    async with calling(vapi) as c, c.open() as healthy:
        vapi.dial_fails = True
        with pytest.raises(NoAnswer):
            async with c.open():
                raise AssertionError
        await healthy.send_audio(b"ab")
    assert vapi.running == set()


async def test_vapi_calls_goes_on_when_one_calls_creation_fails_in_an_unforeseen_way() -> None:
    vapi = FakeVapi(refuses=RuntimeError("unforeseen"))
    async with calling(vapi) as c:
        with pytest.raises(NoAnswer), trio.fail_after(5):
            async with c.open():
                raise AssertionError
        vapi.refuses = None
        async with c.open() as leg:
            await leg.send_audio(b"ab")
    assert c.process.exits[0].error is None


@pytest.mark.parametrize("vapi", [{"create_seconds": 9.0}, {"control_works": False, "dial_fails": True}])
async def test_calls_are_counted_as_possibly_billed_when_vapi_calls_is_cancelled(vapi: dict[str, Any]) -> None:
    fake = FakeVapi(**vapi)
    current.append(fake)
    calls = VapiCalls(fake, CONTEXT, Switchboard())  # type: ignore[arg-type]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(calls.run, trio.TASK_STATUS_IGNORED)
        await trio.testing.wait_all_tasks_blocked()
        with trio.move_on_after(1):
            try:
                async with calls.call(new_record(), {}, nursery):
                    raise AssertionError
            except NoAnswer:
                await trio.sleep(0.5)
        nursery.cancel_scope.cancel()
    current.remove(fake)
    assert calls.counts["possibly_billed"] == 1


async def test_fake_leg_keeps_the_contract_of_a_leg() -> None:
    leg = FakeLeg()
    assert await leg.aclose(1000, "x")
    leg = FakeLeg(peer_answers=False)
    assert not await leg.aclose(1000, "x")
    assert trio.current_time() == limits.CLOSE_SECONDS
