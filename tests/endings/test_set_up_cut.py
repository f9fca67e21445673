"""Endings that come while something is under way: the call is being made, or a tool runs.

The call at Vapi is not the caller's to wait for: VapiCalls ends it, or says that nobody knows whether it runs.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from structlog.testing import capture_logs

from db.memory import open_memory_database
from runtime import limits
from simulation.behaviour import Behaviour
from simulation.network import Link, close_with_reset
from simulation.scenario import AgentTurn
from simulation.vapi_call import SimulatedCall
from simulation.websockets import close_socket
from tests.endings.databases import SlowDatabase
from tests.endings.stage import (
    AT_ONCE_SECONDS,
    END_CALL,
    FIND_CARD,
    REPLACE_CARD,
    HeldCall,
    Stage,
    open_stage,
)

POST_SECONDS = 3.0


@pytest.fixture(params=["closing", "resetting"])
def politely(request: pytest.FixtureRequest) -> bool:
    """How the caller hangs up."""
    return bool(request.param == "closing")


async def hang_up(call: HeldCall, politely: bool) -> None:
    async with trio.open_nursery() as nursery:
        if politely:
            nursery.start_soon(close_socket, call.connection, 1000)
        else:
            close_with_reset(call.link.client)
        await call.gone(AT_ONCE_SECONDS)
    assert call.record.ending is not None
    assert call.record.ending.by == "caller"


async def is_ended_in_time(stage: Stage, reply_at: float) -> SimulatedCall:
    """The call at Vapi ends within ORPHAN_SECONDS of the reply to POST /call."""
    (call,) = stage.world.cloud.calls
    await stage.world.ended(call, reply_at + limits.ORPHAN_SECONDS - trio.current_time())
    await stage.world.until(lambda: stage.world.doors.house.vapi_calls.counts)
    assert stage.world.doors.house.vapi_calls.counts == {"orphans_ended": 1}
    return call


async def test_caller_hangs_up_when_post_call_is_under_way(politely: bool) -> None:
    async with open_stage() as stage:
        stage.world.cloud.behaviour = Behaviour(post_delay_seconds=POST_SECONDS)
        async with stage.call(speaks=True) as call:
            await trio.sleep(1)
            await hang_up(call, politely)
            made = await is_ended_in_time(stage, call.record.started_at + POST_SECONDS)
        assert (made.received_texts, made.ended_by) == ([END_CALL], "client")
        assert made.heard == b"", "nothing of what he said before reaches a call that nobody is on"


async def test_no_call_is_left_running_when_the_caller_hangs_up_about_when_vapi_is_ready(politely: bool) -> None:
    async with open_stage() as stage:
        stage.world.cloud.behaviour = Behaviour(post_delay_seconds=POST_SECONDS)
        for later_ms in range(0, 121, 5):  # the reply comes, the socket is dialled, the handshake is done
            stage.world.cloud.calls.clear()
            stage.world.doors.house.vapi_calls.counts.clear()
            async with stage.call() as call:
                await trio.sleep_until(call.record.started_at + POST_SECONDS + later_ms / 1000)
                await hang_up(call, politely)
            (made,) = stage.world.cloud.calls
            await stage.world.ended(made, limits.ORPHAN_SECONDS)
            assert made.ended_by in ("client", "control"), later_ms


async def test_caller_hangs_up_when_vapis_socket_is_being_dialled(politely: bool) -> None:
    async with open_stage() as stage:
        stage.network.silent.add(stage.world.cloud.transport_port)
        async with stage.call(speaks=True) as call:
            await trio.sleep(1)
            reply_at = trio.current_time()  # it was before this
            await hang_up(call, politely)
            made = await is_ended_in_time(stage, reply_at)
        assert made.ended_by == "control", "its socket cannot be reached, its control URL can"


@pytest.mark.parametrize("deaf", ["client", "server"])
async def test_caller_hangs_up_when_vapis_handshake_is_under_way(politely: bool, deaf: str) -> None:
    async with open_stage() as stage:

        def deafen_first(link: Link) -> None:
            stage.tap(link)
            if link.port == stage.world.cloud.transport_port and len(stage.read_by_vapi) == 1:
                link.deafen(deaf)  # type: ignore[arg-type]

        stage.network.on_link = deafen_first
        async with stage.call(speaks=True) as call:
            await trio.sleep(1)
            assert call.record.vapi_call_id is not None
            assert call.record.phase == "setting_up"
            await hang_up(call, politely)
            await is_ended_in_time(stage, trio.current_time())


async def test_lost_reply_is_searched_for_and_its_call_ended_when_the_caller_has_hung_up(politely: bool) -> None:
    async with open_stage() as stage:
        stage.world.cloud.behaviour = Behaviour(post_delay_seconds=POST_SECONDS, lose_reply=True)
        async with stage.call() as call:
            await trio.sleep(1)
            await hang_up(call, politely)
            await is_ended_in_time(stage, call.record.started_at + POST_SECONDS)


async def test_lost_reply_is_searched_for_and_its_call_ended_when_the_caller_waits() -> None:
    async with open_stage() as stage:
        stage.world.cloud.behaviour = Behaviour(post_delay_seconds=POST_SECONDS, lose_reply=True)
        async with stage.call() as call:
            await call.gone(POST_SECONDS + AT_ONCE_SECONDS)
            await call.was_told(1011, "callee_no_answer: vapi_down")
            await is_ended_in_time(stage, call.record.started_at + POST_SECONDS)


async def test_call_is_possibly_billed_when_its_reply_was_lost_and_it_is_not_found(politely: bool) -> None:
    async with open_stage() as stage:
        stage.world.cloud.behaviour = Behaviour(post_delay_seconds=POST_SECONDS, lose_reply=True)
        counts = stage.world.doors.house.vapi_calls.counts
        async with stage.call() as call:
            await trio.sleep(1)
            stage.world.cloud.calls.clear()
            with capture_logs() as logs:
                await hang_up(call, politely)
                await trio.sleep(POST_SECONDS + limits.LOST_REPLY_SECONDS - 2)
                assert counts == {}, "not before it has been searched for long enough"
                await trio.sleep(3)
        assert counts == {"possibly_billed": 1}
        assert [entry["event"] for entry in logs if entry["log_level"] == "error"] == ["possibly_billed"]


@asynccontextmanager
async def tool_under_way(**slow: Any) -> AsyncIterator[tuple[HeldCall, SlowDatabase]]:
    """A call whose assistant has asked for a card to be replaced, and a database that takes its time."""
    async with open_memory_database() as memory:
        database = SlowDatabase(memory, **slow)
        async with open_stage(database=database) as stage:
            stage.world.cloud.agent = (AgentTurn(say="done", calls=(REPLACE_CARD,)),)
            async with stage.live_call(speaks=True) as call:
                await stage.world.until(lambda: stage.world.event("tool-call"))
                await trio.sleep(1)
                yield call, database


async def outcome(call: HeldCall) -> tuple[str, int, bool]:
    """The old card's status, the number of its replacements, and whether the ledger has an answer."""
    world = call.stage.world
    (card,) = await world.database.rows("cards", {"card_id": 5})
    replacements = await world.database.rows("replacements", {"old_card_id": 5})
    assert call.record.vapi_call_id is not None
    (asked,) = world.event("tool-call")
    stored = await world.database.answers(call.record.ledger_id, [asked.data["id"]])
    return card["status"], len(replacements), bool(stored)


@pytest.mark.parametrize("slow", ["before_seconds", "within_seconds"])
async def test_tool_is_rolled_back_whole_when_the_caller_hangs_up(politely: bool, slow: str) -> None:
    async with tool_under_way(**{slow: 5.0}) as (call, _database):
        await hang_up(call, politely)
        await call.vapi_saw(END_CALL, 1000)
        await trio.sleep(10)
        assert await outcome(call) == ("active", 0, False)


async def test_committed_answer_is_in_the_ledger_when_the_caller_hangs_up_before_it_is_given(politely: bool) -> None:
    async with tool_under_way(after_seconds=5.0) as (call, database):
        await hang_up(call, politely)
        await call.vapi_saw(END_CALL, 1000)
        await trio.sleep(10)
        assert await outcome(call) == ("cancelled", 1, True)
        assert database.runs == 1


async def test_tools_that_wait_are_not_run_when_the_caller_hangs_up(politely: bool) -> None:
    async with open_memory_database() as memory:
        database = SlowDatabase(memory, before_seconds=5.0)
        async with open_stage(database=database) as stage:
            stage.world.cloud.agent = (AgentTurn(say="done", calls=(FIND_CARD, REPLACE_CARD)),)
            stage.world.cloud.behaviour = Behaviour(calls_together=True, redeliver=True)
            async with stage.live_call() as call:
                await trio.sleep(1)
                await hang_up(call, politely)
                await trio.sleep(30)
                assert database.runs == 0
