"""Tests in virtual time: the clock jumps whenever every task waits, so a test takes none of the time it tells of."""

import signal
from collections.abc import Awaitable, Callable, Sequence
from types import FrameType
from typing import Any

import trio
import trio.testing

REAL_SECONDS = 30  # of one test; a deadlock under a virtual clock is a silent loop otherwise


def run_in_virtual_time(
    main: Callable[[], Awaitable[None]], clock: trio.abc.Clock | None = None, instruments: Sequence[Any] = ()
) -> None:
    """As `trio.run`, from time 0 on a clock that jumps; a test that hangs or spins is ended, with its tasks named."""
    watched: list[trio.lowlevel.Task] = []

    async def watch() -> None:
        watched.append(trio.lowlevel.current_root_task() or trio.lowlevel.current_task())
        await main()

    def give_up(_signum: int, _frame: FrameType | None) -> None:
        raise AssertionError(f"the test ran for {REAL_SECONDS} real seconds; tasks: {_tasks(watched)}")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, REAL_SECONDS)
    try:
        trio.run(watch, clock=clock or trio.testing.MockClock(autojump_threshold=0), instruments=instruments)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _tasks(tasks: Sequence[trio.lowlevel.Task]) -> list[str]:
    """The names of `tasks` and all below them."""
    named = []
    for task in tasks:
        named += [task.name, *(name for nursery in task.child_nurseries for name in _tasks(list(nursery.child_tasks)))]
    return named
