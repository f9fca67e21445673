"""runtime/supervisor.py: how children start, end, fail and are restarted. How they stop: test_supervisor_stops.py."""

from collections.abc import Callable
from typing import Any

import attrs
import pytest
import trio

from runtime import limits
from runtime.errors import VapiLost
from runtime.supervisor import Exit, Restart, Started, StartFailed, Supervisor, open_supervisor
from tests.fakes import captured_log


@attrs.define
class Worker:
    """An actor that does what `work` says, once it is ready."""

    work: Callable[[], Any]
    ready_seconds: float = 0.0

    async def run(self, task_status: Started) -> Any:
        await trio.sleep(self.ready_seconds)
        task_status.started()
        return await self.work()


def worker(work: Callable[[], Any], *, ready_seconds: float = 0.0) -> Callable[[], Worker]:
    return lambda: Worker(work, ready_seconds)


def failing(error: Exception, *, after_seconds: float = 1.0) -> Callable[[], Any]:
    async def work() -> None:
        await trio.sleep(after_seconds)
        raise error

    return work


def returning(result: Any, *, after_seconds: float = 1.0) -> Callable[[], Any]:
    async def work() -> Any:
        await trio.sleep(after_seconds)
        return result

    return work


async def test_supervisor_starts_children_one_after_the_other_when_each_is_ready() -> None:
    log, _ = captured_log()
    ready = []
    async with open_supervisor("call", log) as call:
        for name, seconds in (("slow", 2.0), ("quick", 0.5)):
            await call.start(name, worker(trio.sleep_forever, ready_seconds=seconds))
            ready.append((name, trio.current_time()))
        call.end()
    assert ready == [("slow", 2.0), ("quick", 2.5)]


async def test_start_fails_when_a_child_is_not_ready_in_time() -> None:
    log, _ = captured_log()
    with pytest.raises(StartFailed, match="sleeper was not ready after 5 s"):
        async with open_supervisor("call", log) as call:
            await call.start("sleeper", worker(trio.sleep_forever, ready_seconds=60))
    assert trio.current_time() == limits.CHILD_START_SECONDS
    assert call.exits == [Exit("sleeper", stopped=True)]


async def test_body_is_cancelled_when_a_significant_child_ends() -> None:
    log, entries = captured_log()
    async with open_supervisor("call", log) as call:
        await call.start("other", worker(trio.sleep_forever))
        await call.start("reader", worker(returning("hung up")), significant=True)
        await call.wait()
    assert trio.current_time() == 1
    assert call.exits == [Exit("reader", result="hung up"), Exit("other", stopped=True)]
    assert entries == []


async def test_body_goes_on_when_another_child_ends_well() -> None:
    log, _ = captured_log()
    with trio.move_on_after(30) as scope:
        async with open_supervisor("call", log) as call:
            await call.start("watcher", worker(returning("done")))
            await call.wait()
    assert scope.cancelled_caught
    assert call.exits == [Exit("watcher", result="done")]


@pytest.mark.parametrize("significant", [True, False])
async def test_body_is_cancelled_when_any_child_fails(significant: bool) -> None:
    log, entries = captured_log()
    error = RuntimeError("broken")
    async with open_supervisor("call", log) as call:
        await call.start("writer", worker(failing(error)), significant=significant)
        await call.wait()
    assert call.exits == [Exit("writer", error=error)]
    assert [(e["event"], e["actor"], e["exc_info"]) for e in entries] == [("actor_failed", "writer", error)]


async def test_error_is_one_warning_without_a_traceback_when_it_is_a_call_error() -> None:
    log, entries = captured_log()
    async with open_supervisor("call", log) as call:
        await call.start("writer", worker(failing(VapiLost("Vapi took no audio for 2 s"))))
        await call.wait()
    assert entries == [
        {
            "event": "actor_ended_the_call",
            "actor": "writer",
            "why": "Vapi took no audio for 2 s",
            "log_level": "warning",
        }
    ]


async def test_child_ends_the_call_when_it_fails_before_it_is_ready() -> None:
    async def fail() -> None:
        raise RuntimeError("no")

    log, _ = captured_log()
    began = False
    async with open_supervisor("call", log) as call:
        await call.start("reader", lambda: _Unready(fail), significant=True)
        await trio.lowlevel.checkpoint()
        began = True
    assert not began
    assert isinstance(call.exits[0].error, RuntimeError)


@attrs.define
class _Unready:
    work: Callable[[], Any]

    async def run(self, task_status: Started) -> None:  # noqa: ARG002
        await self.work()


async def test_child_is_made_afresh_when_it_is_restarted_within_its_budget() -> None:
    log, entries = captured_log()
    made: list[Worker] = []

    def make() -> Worker:
        made.append(Worker(failing(RuntimeError("again")) if len(made) < 3 else trio.sleep_forever))
        return made[-1]

    with trio.move_on_after(50):
        async with open_supervisor("call", log) as call:
            await call.start("dispatcher", make, restart=Restart(3, 60.0))
            await call.wait()
    assert len({id(actor) for actor in made}) == 4
    assert call.exits == [Exit("dispatcher", stopped=True)]
    assert [e["restarts"] for e in entries if e["event"] == "actor_restarted"] == [1, 2, 3]


async def test_supervisor_gives_up_when_the_restart_budget_is_spent() -> None:
    log, entries = captured_log()
    async with open_supervisor("call", log) as call:
        await call.start("dispatcher", worker(failing(RuntimeError("again"))), restart=Restart(2, 60.0))
        await call.wait()
    assert trio.current_time() == 3
    assert len(call.exits) == 1
    assert isinstance(call.exits[0].error, RuntimeError)
    assert [e["event"] for e in entries] == ["actor_failed", "actor_restarted"] * 2 + ["actor_failed"]


async def test_supervisor_never_gives_up_when_failures_are_further_apart_than_the_period() -> None:
    log, entries = captured_log()
    with trio.move_on_after(2_000):
        async with open_supervisor("call", log) as call:
            work = failing(RuntimeError("now and then"), after_seconds=21)
            await call.start("dispatcher", worker(work), restart=Restart(2, 42.0))
            await call.wait()
    assert len([e for e in entries if e["event"] == "actor_restarted"]) == 2_000 // 21
    assert call.exits == [Exit("dispatcher", stopped=True)]


async def test_supervisor_gives_up_when_failures_are_a_little_closer_than_the_budget() -> None:
    log, _ = captured_log()
    with trio.move_on_after(2_000):
        async with open_supervisor("call", log) as call:
            work = failing(RuntimeError("too often"), after_seconds=20)
            await call.start("dispatcher", worker(work), restart=Restart(2, 42.0))
            await call.wait()
    assert trio.current_time() == 60


async def test_child_is_not_restarted_when_it_ends_well() -> None:
    log, _ = captured_log()
    with trio.move_on_after(10):
        async with open_supervisor("call", log) as call:
            await call.start("dispatcher", worker(returning(None)), restart=Restart())
            await call.wait()
    assert call.exits == [Exit("dispatcher")]


async def test_supervisor_contains_the_error_when_an_actor_cannot_be_made() -> None:
    def make() -> Worker:
        raise trio.ClosedResourceError("cloning a closed channel")

    log, entries = captured_log()
    async with open_supervisor("call", log) as call:
        await call.start("dispatcher", make)
        await call.wait()
    assert isinstance(call.exits[0].error, trio.ClosedResourceError)
    assert entries[0]["event"] == "actor_failed"


async def test_body_error_comes_out_unwrapped_when_the_children_have_stopped() -> None:
    log, _ = captured_log()
    with pytest.raises(VapiLost, match="gone"):
        async with open_supervisor("call", log) as call:
            await call.start("reader", worker(trio.sleep_forever), significant=True)
            raise VapiLost("gone")
    assert call.exits == [Exit("reader", stopped=True)]


async def test_repr_shows_every_child_and_its_state_when_asked() -> None:
    log, _ = captured_log()
    async with open_supervisor("call c-1", log) as call:
        await call.start("reader", worker(trio.sleep_forever))
        await call.start("watcher", worker(returning(None, after_seconds=0.1)))
        work = failing(RuntimeError("again"), after_seconds=0.3)
        await call.start("dispatcher", worker(work), restart=Restart(5, 60.0))
        await trio.sleep(0.7)
        assert repr(call) == "<call c-1: reader running, watcher ended, dispatcher running (restarts: 2)>"
        call.end()
    assert repr(call).startswith("<call c-1: reader ended, watcher ended")


async def test_repr_shows_a_child_that_starts_or_has_failed(nursery: trio.Nursery) -> None:
    log, _ = captured_log()

    async def look(call: Supervisor) -> None:
        await trio.sleep(0.5)
        assert repr(call) == "<call: writer starting>"

    async with open_supervisor("call", log) as call:
        nursery.start_soon(look, call)
        await call.start("writer", worker(failing(RuntimeError("broken")), ready_seconds=1))
        await call.wait()
    assert repr(call) == "<call: writer failed>"
