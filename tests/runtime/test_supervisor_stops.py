"""runtime/supervisor.py: how children are stopped, and what one that resists does to the others."""

from collections.abc import Callable

import attrs
import pytest
import trio

from runtime.supervisor import Exit, Restart, Started, Supervisor, open_supervisor
from tests.fakes import captured_log


@attrs.define
class Leaver:
    """An actor that takes `leave_seconds` to stop, whatever the supervisor does, and notes when it was told to."""

    name: str
    told: list[tuple[str, float]]
    leave_seconds: float = 0.0
    error: Exception | None = None

    async def run(self, task_status: Started) -> None:
        task_status.started()
        try:
            await trio.sleep_forever()
        finally:
            self.told.append((self.name, trio.current_time()))
            if self.leave_seconds:
                with trio.move_on_after(self.leave_seconds, shield=True):
                    await trio.sleep_forever()
            if self.error is not None:
                raise self.error


@attrs.define
class Finisher:
    """An actor that ends by itself, `seconds` after `finish`."""

    seconds: float
    asked: trio.Event = attrs.field(factory=trio.Event)

    async def run(self, task_status: Started) -> str:
        task_status.started()
        await self.asked.wait()
        await trio.sleep(self.seconds)
        return "flushed"


async def start_leavers(call: Supervisor, told: list[tuple[str, float]], leave_seconds: float = 0.0) -> None:
    def make(name: str) -> Callable[[], Leaver]:
        return lambda: Leaver(name, told, leave_seconds)

    for name in ("reader", "dispatcher", "writer"):
        await call.start(name, make(name))


async def test_children_stop_in_reverse_order_when_the_body_ends() -> None:
    log, entries = captured_log()
    told: list[tuple[str, float]] = []
    async with open_supervisor("call", log) as call:
        await start_leavers(call, told, leave_seconds=0.5)
    assert told == [("writer", 0.0), ("dispatcher", 0.5), ("reader", 1.0)]
    assert [exit_.name for exit_ in call.exits] == ["writer", "dispatcher", "reader"]
    assert all(exit_.stopped for exit_ in call.exits)
    assert entries == []


async def test_children_stop_in_reverse_order_when_cancelled_from_outside() -> None:
    log, _ = captured_log()
    told: list[tuple[str, float]] = []
    with trio.move_on_after(7) as scope:
        async with open_supervisor("call", log) as call:
            await start_leavers(call, told, leave_seconds=0.25)
            await call.wait()
    assert scope.cancelled_caught
    assert told == [("writer", 7.0), ("dispatcher", 7.25), ("reader", 7.5)]


async def test_child_that_will_not_stop_is_reported_and_the_next_told_when_its_time_is_over() -> None:
    log, entries = captured_log()
    told: list[tuple[str, float]] = []
    async with open_supervisor("call", log) as call:
        await call.start("polite", lambda: Leaver("polite", told))
        await call.start("stubborn", lambda: Leaver("stubborn", told, leave_seconds=60), stop_seconds=3)
    assert told == [("stubborn", 0.0), ("polite", 3.0)]
    assert entries == [{"event": "actor_would_not_stop", "actor": "stubborn", "after_seconds": 3, "log_level": "error"}]
    assert [exit_.name for exit_ in call.exits] == ["polite", "stubborn"]


async def test_error_is_logged_and_listed_when_it_is_raised_while_being_cancelled() -> None:
    log, entries = captured_log()
    error = ValueError("in the middle of leaving")
    with trio.move_on_after(1):
        async with open_supervisor("call", log) as call:
            await call.start("writer", lambda: Leaver("writer", [], error=error))
            await call.wait()
    assert call.exits == [Exit("writer", error=error)]
    assert [(e["event"], e["exc_info"]) for e in entries] == [("actor_failed", error)]


async def test_child_is_not_restarted_when_it_fails_while_being_stopped() -> None:
    log, entries = captured_log()
    told: list[tuple[str, float]] = []
    async with open_supervisor("call", log) as call:
        await call.start("dispatcher", lambda: Leaver("dispatcher", told, error=ValueError("no")), restart=Restart())
    assert len(told) == 1
    assert [e["event"] for e in entries] == ["actor_failed"]


async def test_child_ends_by_itself_when_it_is_asked_to_finish() -> None:
    log, _ = captured_log()
    told: list[tuple[str, float]] = []
    reporter = Finisher(4.0)
    async with open_supervisor("process", log) as process:
        await process.start("first", lambda: Leaver("first", told))
        await process.start("reporter", lambda: reporter, finish=reporter.asked.set, stop_seconds=5)
    assert told == [("first", 4.0)]
    assert process.exits == [Exit("reporter", result="flushed"), Exit("first", stopped=True)]


async def test_child_is_cancelled_when_it_does_not_finish_in_time() -> None:
    log, entries = captured_log()
    reporter = Finisher(60.0)
    async with open_supervisor("process", log) as process:
        await process.start("reporter", lambda: reporter, finish=reporter.asked.set, stop_seconds=5)
    assert trio.current_time() == 5
    assert process.exits == [Exit("reporter", stopped=True)]
    assert entries == []


async def test_children_have_time_to_finish_when_cancelled_from_outside() -> None:
    log, _ = captured_log()
    reporter = Finisher(4.0)
    with trio.move_on_after(1):
        async with open_supervisor("process", log) as process:
            await process.start("reporter", lambda: reporter, finish=reporter.asked.set, stop_seconds=5)
            await process.wait()
    assert trio.current_time() == 5
    assert process.exits == [Exit("reporter", result="flushed")]


async def test_children_have_stopped_when_the_body_error_comes_out() -> None:
    log, _ = captured_log()
    told: list[tuple[str, float]] = []
    with pytest.raises(KeyError):
        async with open_supervisor("call", log) as call:
            await start_leavers(call, told, leave_seconds=0.5)
            raise KeyError("body")
    assert trio.current_time() == 1.5
    assert len(told) == 3


async def test_supervisor_ends_in_bounded_time_when_every_child_resists() -> None:
    log, entries = captured_log()
    told: list[tuple[str, float]] = []
    async with open_supervisor("call", log) as call:
        await start_leavers(call, told, leave_seconds=1.5)
    assert trio.current_time() == pytest.approx(3.5)  # each child: its second, the last one's half second more
    assert [e["actor"] for e in entries] == ["writer", "dispatcher", "reader"]


async def test_child_is_stopped_at_once_when_it_starts_after_the_end() -> None:
    log, _ = captured_log()
    told: list[tuple[str, float]] = []
    async with open_supervisor("call", log) as call:
        call.end()
        await call.start("late", lambda: Leaver("late", told))
        raise AssertionError("the body was cancelled")
    assert call.exits == [Exit("late", stopped=True)]
    assert trio.current_time() == 0
