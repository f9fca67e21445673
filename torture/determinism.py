"""One number decides a run: scheduler, random sources and clock, so that the same number is the same run anywhere.

Importing hypothesis makes Trio's scheduler deterministic and hands over its random source (Trio's own plugin does it).
What is left of the real world is taken away here: `os.urandom` (keys, ids, WebSocket masks) and `time.monotonic` (the
ages of pooled HTTP connections). For a process of its own: both are changed for everybody.
"""

import hashlib
import os
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import attrs
import hypothesis  # noqa: F401  # switches Trio's scheduler
import trio
from hypothesis.internal.entropy import deterministic_PRNG
from trio.testing import MockClock


@attrs.define(eq=False)
class TraceHash(trio.abc.Instrument):
    """What it is `add`ed, and as an instrument every step of every task with its virtual time, as one number."""

    clock: MockClock
    _hash: Any = attrs.field(factory=lambda: hashlib.blake2b(digest_size=8), repr=False)

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.add(f"{self.clock.current_time():.9f} {task.name}")

    def add(self, what: str) -> None:
        self._hash.update(what.encode())

    def hexdigest(self) -> str:
        return str(self._hash.hexdigest())


def run_decided(seed: int, main: Callable[[TraceHash], Awaitable[Any]], *, traced: bool) -> Any:
    """`trio.run(main)` in virtual time from 0, with everything in it decided by `seed`.

    `traced`: the hash is of every step, which takes a tenth more time; else of what is `add`ed only.
    """
    clock = MockClock(autojump_threshold=0)
    trace = TraceHash(clock)
    rng = random.Random(f"entropy {seed}")
    with (
        deterministic_PRNG(seed),
        _replaced(os, "urandom", rng.randbytes),
        _replaced(random, "_urandom", rng.randbytes),  # what `secrets` asks
        _replaced(time, "monotonic", clock.current_time),
    ):
        return trio.run(main, trace, clock=clock, instruments=[trace] if traced else [])


@contextmanager
def _replaced(module: Any, name: str, by: Any) -> Iterator[None]:
    before = getattr(module, name)
    setattr(module, name, by)
    try:
        yield
    finally:
        setattr(module, name, before)
