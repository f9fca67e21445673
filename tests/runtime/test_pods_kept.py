"""A program of `voice pods` in all its lives: started again when it dies, and not when it is told to leave."""

import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import attrs
import pytest
import trio
from structlog.testing import capture_logs

from runtime import limits, pods_program
from runtime.errors import StartError
from runtime.pods_program import Kept, Program


@attrs.define(eq=False)
class Machine:
    """Starts programs that take callers after a second. Mutable: all fields; `started_at`, by Trio's clock."""

    lasts_seconds: float = 10.0
    gets_ready: bool = True
    starts: bool = True
    lives: list[Program] = attrs.field(factory=list)
    started_at: list[float] = attrs.field(factory=list)
    told: list[signal.Signals] = attrs.field(factory=list)

    @asynccontextmanager
    async def open(
        self, name: str, _command: Sequence[str], _settings: Mapping[str, str] | None
    ) -> AsyncIterator[Program]:
        if not self.starts:
            raise StartError(f"{name} cannot be started: no memory")
        process: Any = SimpleNamespace(pid=100 + len(self.lives), send_signal=self._tell)
        program = Program(name, process)
        self.lives.append(program)
        self.started_at.append(trio.current_time())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._live, program)
            yield program
            nursery.cancel_scope.cancel()

    async def _live(self, program: Program) -> None:
        await trio.sleep(1)
        if self.gets_ready:
            program.takes_callers.set()
        await trio.sleep(self.lasts_seconds)
        self._end(program, 1)

    def _end(self, program: Program, code: int) -> None:
        program.code, program.last_words = code, "it says why"
        program.ended.set()

    def _tell(self, number: signal.Signals) -> None:
        self.told.append(number)
        self._end(self.lives[-1], 0)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine()
    monkeypatch.setattr(pods_program, "open_program", made.open)
    return made


def kept(announced: list[str]) -> Kept:
    async def until_ready(program: Program) -> None:
        await program.takes_callers.wait()

    return Kept("pod-1", ["voice"], {}, until_ready, announced.append)


async def test_program_is_started_again_when_it_dies_three_times_in_a_minute_and_then_as_often_as_that(
    machine: Machine,
) -> None:
    machine.lasts_seconds = 0.0
    announced: list[str] = []
    pod = kept(announced)
    with capture_logs() as logs:
        async with trio.open_nursery() as nursery:
            assert await nursery.start(pod.run) is True
            await trio.sleep(600)
            pod.leave()
            await pod.over.wait()
    assert machine.started_at[: limits.RESTARTS + 1] == pytest.approx([0, 1, 2, 3], abs=0.1)
    lives = len(machine.lives)
    assert lives == pytest.approx(600 * limits.RESTARTS / limits.RESTART_PERIOD_SECONDS + limits.RESTARTS, abs=2)
    assert announced[:3] == ["pod-1 100", "gone 100", "pod-1 101"]
    died = [entry for entry in logs if entry["event"] == "pods_program_died"]
    assert len(died) == pytest.approx(lives, abs=1)
    assert died[0]["why"] == "exit code 1: it says why"


async def test_program_is_not_started_again_when_it_was_told_to_leave(machine: Machine) -> None:
    pod = kept([])
    async with trio.open_nursery() as nursery:
        await nursery.start(pod.run)
        pod.leave()
        pod.leave(signal.SIGKILL)
        with trio.fail_after(1):
            await pod.over.wait()
    assert (len(machine.lives), machine.told) == (1, [signal.SIGTERM, signal.SIGKILL])


@pytest.mark.parametrize(
    ("changes", "why", "after_seconds"),
    [
        ({"gets_ready": False}, "exit code 1: it says why", 11.0),
        ({"gets_ready": False, "lasts_seconds": 1e6}, "not ready: it said nothing", limits.POD_START_SECONDS),
        ({"starts": False}, "pod-1 cannot be started: no memory", 0.0),
    ],
)
async def test_program_that_is_not_ready_the_first_time_stays_away(
    machine: Machine, changes: dict[str, Any], why: str, after_seconds: float
) -> None:
    for name, value in changes.items():
        setattr(machine, name, value)
    pod = kept([])
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        assert await nursery.start(pod.run) is False
    assert pod.why == why
    assert trio.current_time() - began == pytest.approx(after_seconds, abs=0.1)
    assert len(machine.lives) <= 1
