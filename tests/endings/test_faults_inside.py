"""An actor of ours fails, or what the tools need does: who notices, and who does not."""

from collections.abc import Callable
from typing import Any

import attrs
import pytest
import trio
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs

from actors.actor_socket_reader import ActorSocketReader
from actors.control_message_watcher import ControlMessageWatcher
from actors.silence_padder import SilencePadder
from actors.tool_dispatcher import ToolDispatcher
from actors.vapi_socket_writer import VapiSocketWriter
from db.memory import open_memory_database
from runtime import limits
from runtime.record import CallRecord
from simulation.caller_report import CallerReport
from simulation.scenario import AgentTurn
from tests.endings.databases import SlowDatabase, StuckAtCommit
from tests.endings.stage import AT_ONCE_SECONDS, FIND_CARD, HeldCall, Stage, open_stage, words

INTERNAL_ERROR = (1011, "internal_error")


@attrs.define
class Mistakes:
    """Makes a method of an actor fail. Mutable: `left`, how often it will; `of`, the call that it befalls."""

    left: int = 0
    of: CallRecord | None = None

    def put_into(self, monkeypatch: pytest.MonkeyPatch, actor: type[Any], method: str) -> None:
        works: Callable[..., Any] = getattr(actor, method)

        def fails(this: Any, *arguments: Any) -> Any:
            if self.left and this.record is self.of:
                self.left -= 1
                raise RuntimeError("a mistake of ours")
            return works(this, *arguments)

        monkeypatch.setattr(actor, method, fails)


def failures(logs: list[Any], call: HeldCall) -> list[str]:
    """The actors of which it was logged as an error that they failed, with the call's id."""
    errors = [entry for entry in logs if entry["log_level"] == "error"]
    assert {(entry["event"], entry["call_id"]) for entry in errors} <= {("actor_failed", call.record.id)}
    return [entry["actor"] for entry in errors]


@pytest.mark.parametrize(
    ("actor", "method"),
    [
        (ActorSocketReader, "_pass_on"),
        (VapiSocketWriter, "_pass_on"),
        (VapiSocketWriter, "_count"),
        (SilencePadder, "_pass_on"),
        (SilencePadder, "_send"),
        (SilencePadder, "_pay"),
        (ControlMessageWatcher, "_pass_on"),
        (ControlMessageWatcher, "_on_message"),
    ],
)
async def test_call_ends_and_no_other_does_when_an_actor_raises(
    monkeypatch: pytest.MonkeyPatch, actor: type[Any], method: str
) -> None:
    mistakes = Mistakes()
    mistakes.put_into(monkeypatch, actor, method)
    reports: list[CallerReport] = []
    async with open_stage() as stage:
        stage.world.cloud.agent = stage.world.scenario.agent

        async def hold_another() -> None:
            reports.append(await stage.world.call())

        async with stage.live_call(speaks=True) as call, trio.open_nursery() as nursery:
            nursery.start_soon(hold_another)
            mistakes.of = call.record
            with capture_logs(processors=[merge_contextvars]) as logs:
                mistakes.left = 1
                await stage.world.until(lambda: not mistakes.left, 10)
                await call.gone(AT_ONCE_SECONDS)
            await call.was_told(*INTERNAL_ERROR)
            await stage.world.ended(call.at_vapi)
            assert failures(logs, call) == [actor.__name__]
        failed = [str(check) for check in await stage.world.judge(reports[0]) if not check.passed]
        assert failed == []


def ask_for_a_tool(stage: Stage, times: int = 1) -> None:
    """What the assistants of the calls to come do first: the same question, as often."""
    stage.world.cloud.agent = (AgentTurn(say=words(1), calls=(FIND_CARD,) * times),)


def heard(call: HeldCall) -> list[str]:
    """What came of each tool call, as Vapi's model reads it."""
    return [verdict.heard for exchange in call.at_vapi.exchanges for verdict in exchange.verdicts]


INTERRUPTED = "the tool was interrupted; look at the state before trying again"


async def test_caller_notices_nothing_when_the_dispatcher_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    mistakes = Mistakes()
    mistakes.put_into(monkeypatch, ToolDispatcher, "_answer")
    async with open_stage() as stage:
        ask_for_a_tool(stage, 1 + limits.RESTARTS + 1)
        with capture_logs(processors=[merge_contextvars]) as logs:
            async with stage.call(speaks=True) as call:
                call.record.reported["proved before"] = "done"
                mistakes.of, mistakes.left = call.record, limits.RESTARTS
                await call.live()
                await stage.world.until(lambda: len(heard(call)) == 1 + limits.RESTARTS + 1)
                await stage.world.until(lambda: call.record.counts["tails"], 10)
                assert not call.closed.is_set()
                assert call.record.phase == "live"
                assert heard(call)[: limits.RESTARTS] == [INTERRUPTED] * limits.RESTARTS
                assert all("4242" in answer for answer in heard(call)[limits.RESTARTS :])
                assert call.record.reported["proved before"] == "done"
        assert failures(logs, call) == ["ToolDispatcher"] * limits.RESTARTS
        await stage.world.until(lambda: len(stage.world.engine.events("test")) == 2)


async def test_call_ends_when_the_dispatcher_raises_beyond_its_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    mistakes = Mistakes()
    mistakes.put_into(monkeypatch, ToolDispatcher, "_answer")
    async with open_stage() as stage:
        ask_for_a_tool(stage, limits.RESTARTS + 2)
        with capture_logs(processors=[merge_contextvars]) as logs:
            async with stage.call() as call:
                mistakes.of, mistakes.left = call.record, limits.RESTARTS + 1
                await call.live()
                await stage.world.until(lambda: not mistakes.left)
                await call.gone(AT_ONCE_SECONDS)
                await call.was_told(*INTERNAL_ERROR)
        assert failures(logs, call) == ["ToolDispatcher"] * (limits.RESTARTS + 1)
        assert heard(call) == [INTERRUPTED] * len(heard(call))


NOT_REACHABLE = "the system is not reachable right now; look at the state before trying again"


async def test_tools_answer_errors_and_recover_when_the_database_goes_away() -> None:
    async with open_memory_database() as memory:
        database = SlowDatabase(memory, before_seconds=0.5)
        async with open_stage(database=database) as stage:
            ask_for_a_tool(stage, 6)
            with capture_logs(processors=[merge_contextvars]) as logs:
                async with stage.live_call(speaks=True) as call:
                    await stage.world.until(lambda: len(heard(call)) == 2)
                    database.away = True
                    await stage.world.until(lambda: len(heard(call)) == 4)
                    database.away = False
                    await stage.world.until(lambda: call.record.counts["tails"], 10)
                    assert not call.closed.is_set()
            answers = heard(call)
            assert answers[2:4] == [NOT_REACHABLE] * 2
            assert all("4242" in answer for answer in answers[:2] + answers[4:])
            assert failures(logs, call) == []


async def test_stuck_commit_is_waited_for_and_nothing_is_an_error_when_the_caller_hangs_up() -> None:
    async with open_memory_database() as memory:
        database = StuckAtCommit(memory)
        async with open_stage(database=database) as stage:
            ask_for_a_tool(stage)
            with capture_logs(processors=[merge_contextvars]) as logs:
                async with stage.live_call() as call:
                    await stage.world.until(database.stuck.is_set)
                    hung_up_at = trio.current_time()
                    call.link.client.close()
                    await call.gone(limits.TOOL_STOP_SECONDS)
                    assert trio.current_time() - hung_up_at >= limits.DATABASE_COMMIT_SECONDS
                await stage.world.ended(call.at_vapi)
            assert failures(logs, call) == []


async def test_reports_are_kept_up_to_the_bound_and_then_dropped_and_counted_when_the_engine_goes_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "REPORTS_ITEMS", 3)
    tools, kept = 8, 3 + 1  # one more is in hand
    async with open_stage() as stage:
        ask_for_a_tool(stage, tools)
        engine, counts = stage.world.engine, stage.world.doors.house.reporter.counts
        stage.network.refused.add(engine.port)
        with capture_logs(processors=[merge_contextvars]) as logs:
            async with stage.live_call(speaks=True) as call:
                await stage.world.until(lambda: call.record.counts["tails"], 10)
                assert not call.closed.is_set()
                assert all("4242" in answer for answer in heard(call))
                assert counts == {"dropped": tools - kept, "dropped_queue_full": tools - kept}
                assert engine.events("test") == []
                stage.network.refused.clear()
                await stage.world.until(lambda: counts["reported"] == kept, 10)
                assert len(engine.events("test")) == kept
        assert counts == {"dropped": tools - kept, "dropped_queue_full": tools - kept, "reported": kept}
        assert failures(logs, call) == []
