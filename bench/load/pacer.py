"""When each frame is sent: every stream ticks once in 20 ms, at a phase of its own, on a clock of a given grain.

uvloop's timers count whole milliseconds. So on Linux a timerfd wakes the loop (about 30 us late as a rule), and any
grain can be had; elsewhere it is 1 ms at least.
"""

import asyncio
import ctypes
import heapq
import itertools
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Protocol

import attrs

from bench.load.frames import PERIOD_NS

LATE_NS: Final = 2_000_000
_GOLDEN: Final = 0.6180339887498949
_NONBLOCK_CLOEXEC: Final = 0o2004000
_ABSOLUTE: Final = 1


class Alarm(Protocol):
    def set(self, due_ns: int) -> None: ...


class _Spec(ctypes.Structure):
    """`struct itimerspec`, in seconds and nanoseconds."""

    _fields_ = (
        ("interval_s", ctypes.c_long), ("interval_ns", ctypes.c_long), ("s", ctypes.c_long), ("ns", ctypes.c_long),
    )  # fmt: skip


class TimerfdAlarm:
    def __init__(self, ring: Callable[[], None]) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._settime = libc.timerfd_settime
        self._descriptor = libc.timerfd_create(time.CLOCK_MONOTONIC, _NONBLOCK_CLOEXEC)
        if self._descriptor < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        self._spec = _Spec()
        self._pointer = ctypes.byref(self._spec)
        self._ring = ring
        asyncio.get_running_loop().add_reader(self._descriptor, self._readable)

    def set(self, due_ns: int) -> None:
        self._spec.s, self._spec.ns = divmod(max(due_ns, 1), 1_000_000_000)
        self._settime(self._descriptor, _ABSOLUTE, self._pointer, None)

    def _readable(self) -> None:
        with suppress(BlockingIOError):  # set anew since it rang
            os.read(self._descriptor, 8)
        self._ring()


class LoopAlarm:
    def __init__(self, ring: Callable[[], None]) -> None:
        self._ring = ring
        self._loop = asyncio.get_running_loop()
        self._handle: asyncio.TimerHandle | None = None

    def set(self, due_ns: int) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._handle = self._loop.call_later(max(due_ns - time.monotonic_ns(), 0) / 1e9, self._ring)


def _new_alarm(ring: Callable[[], None]) -> Alarm:
    return TimerfdAlarm(ring) if sys.platform == "linux" else LoopAlarm(ring)


@attrs.define(eq=False)
class Rhythm:
    """One stream's ticks. Mutable: `over`, when they shall stop."""

    tick: Callable[[int], None]
    over: bool = False

    def stop(self) -> None:
        self.over = True


@attrs.define(eq=False)
class Pacer:
    """Calls `tick(now_ns)` of each stream every 20 ms, on multiples of `grain_ns`. Mutable.

    A late frame is sent late; none is left out but while `paused`.
    """

    grain_ns: int
    paused: bool = False
    ticks: int = 0
    late_ticks: int = 0
    """Those more than 2 ms behind their time: the load process was not there."""
    _heap: list[tuple[int, int, Rhythm]] = attrs.field(factory=list)
    _order: "itertools.count[int]" = attrs.field(factory=itertools.count)
    _alarm: Alarm | None = None

    def add(self, tick: Callable[[int], None], stream: int) -> Rhythm:
        """From now on, at the phase of the `stream`th stream of all.

        Phases are multiples of the golden ratio: however many streams there are, they lie evenly in the 20 ms.
        """
        if self._alarm is None:
            self._alarm = _new_alarm(self._ring)
        rhythm = Rhythm(tick)
        now = time.monotonic_ns()
        phase = int(stream * _GOLDEN % 1.0 * PERIOD_NS)
        due = now - now % PERIOD_NS + phase - phase % self.grain_ns
        heapq.heappush(self._heap, (due if due > now else due + PERIOD_NS, next(self._order), rhythm))
        self._alarm.set(self._heap[0][0])
        return rhythm

    def _ring(self) -> None:
        heap = self._heap
        while heap:
            now = time.monotonic_ns()
            due, order, rhythm = heap[0]
            if due > now:
                break
            if rhythm.over:
                heapq.heappop(heap)
                continue
            self.ticks += 1
            self.late_ticks += now - due > LATE_NS
            heapq.heapreplace(heap, (due + PERIOD_NS, order, rhythm))
            if not self.paused:
                rhythm.tick(now)
        if heap and self._alarm is not None:
            self._alarm.set(heap[0][0])
