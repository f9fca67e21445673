"""How long the steps of Trio's tasks take, and the turns of its loop: while one lasts, no frame of any call moves."""

import gc
import sys
import time
import traceback
from collections.abc import Mapping
from contextlib import suppress
from threading import Thread, get_ident
from typing import Any, Final

import attrs
import trio

LOOK_SECONDS: Final = 0.002
LONG_SECONDS: Final = 0.008
GRAIN_SECONDS: Final = 0.001
STACK_LINES: Final = 6


@attrs.define(eq=False)
class LoopMeter(trio.abc.Instrument):
    """Mutable. In seconds since `take`: the longest step by the CPU time of the thread, and by the clock, in which
    other processes' use of the core is too; the longest turn of the loop, in which every task that is ready has a
    step, and the longest garbage collection, which is in somebody's step; both CPU time. `blames`: where a long step
    was seen to be, when somebody looks."""

    longest_cpu: float = 0.0
    longest_turn: float = 0.0
    longest_collection: float = 0.0
    longest_wall: float = 0.0
    slowest: str = ""
    steps: int = 0
    long_steps: int = 0
    blames: dict[str, int] = attrs.field(factory=dict)
    _wall: float = 0.0
    _cpu: float = 0.0
    not_of: tuple[str, ...] = ()
    """Names of tasks begin so, whose steps do not count."""
    _turn_wall: float = 0.0
    _turn_cpu: float = 0.0
    _asked: float = -1.0
    _cpu_asked: float = 0.0
    _collection: float = 0.0
    _running: bool = False
    _thread: int = attrs.field(factory=get_ident)

    def before_run(self) -> None:
        gc.callbacks.append(self._on_collection)

    def after_run(self) -> None:
        with suppress(ValueError):  # it was added when the run was on
            gc.callbacks.remove(self._on_collection)

    def _on_collection(self, phase: str, _info: Mapping[str, int]) -> None:
        if phase == "start":
            self._collection = time.thread_time()
        else:
            self.longest_collection = max(self.longest_collection, time.thread_time() - self._collection)

    def after_io_wait(self, timeout: float) -> None:  # noqa: ARG002  # Trio's
        self._turn_wall = time.perf_counter()
        self._turn_cpu = self._cpu_at(self._turn_wall)

    def before_io_wait(self, timeout: float) -> None:  # noqa: ARG002  # Trio's
        if self._turn_wall and (wall := time.perf_counter() - self._turn_wall) > self.longest_turn:
            self.longest_turn = max(self.longest_turn, min(wall, time.thread_time() - self._turn_cpu))

    def before_task_step(self, task: trio.lowlevel.Task) -> None:  # noqa: ARG002  # Trio's
        self._wall, self._running = time.perf_counter(), True
        self._cpu = self._cpu_at(self._wall)

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if not self._running:
            return  # the step that added us
        wall = time.perf_counter() - self._wall
        self._running = False
        self.steps += 1
        self.longest_wall = max(self.longest_wall, wall)
        if wall <= min(self.longest_cpu, LONG_SECONDS) or task.name.startswith(self.not_of):
            return
        cpu = min(wall, time.thread_time() - self._cpu)
        self.long_steps += cpu > LONG_SECONDS
        if cpu > self.longest_cpu:
            self.longest_cpu, self.slowest = cpu, task.name

    def _cpu_at(self, wall: float) -> float:
        """CPU time, up to GRAIN_SECONDS old: to ask for it is a system call, and dear on some machines."""
        if wall - self._asked > GRAIN_SECONDS:
            self._asked, self._cpu_asked = wall, time.thread_time()
        return self._cpu_asked

    def take(self) -> Mapping[str, Any]:
        """What was measured since the last time."""
        taken = {
            "step_cpu_ms": round(self.longest_cpu * 1e3, 2), "step_wall_ms": round(self.longest_wall * 1e3, 2),
            "turn_cpu_ms": round(self.longest_turn * 1e3, 2), "gc_cpu_ms": round(self.longest_collection * 1e3, 2),
            "slowest": self.slowest, "steps": self.steps, "long_steps": self.long_steps,
            "blames": sorted(self.blames.items(), key=lambda blame: -blame[1])[:5],
        }  # fmt: skip
        self.longest_cpu = self.longest_wall = self.longest_turn = self.longest_collection = 0.0
        self.steps = self.long_steps = 0
        self.slowest, self.blames = "", {}
        return taken

    def look(self) -> None:
        """From a thread of its own: note where long steps are."""
        Thread(target=self._look, daemon=True).start()

    def _look(self) -> None:
        while True:
            time.sleep(LOOK_SECONDS)
            if self._running and time.perf_counter() - self._wall > LONG_SECONDS:
                frame = sys._current_frames().get(self._thread)
                lines = traceback.extract_stack(frame)[-STACK_LINES:]
                where = " < ".join(
                    f"{line.filename.rpartition('/')[2]}:{line.lineno} {line.name}" for line in reversed(lines)
                )
                self.blames[where] = self.blames.get(where, 0) + 1
