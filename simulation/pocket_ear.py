"""The ear that works offline, in two ways that hear the same: in the calling task, or in processes of its own.

In the calling task nothing else runs meanwhile, which is right under a virtual clock. In real time the caller's pacing
must not wait for it: hearing keeps a core busy for a sixtieth to a twentieth of the audio's length.
"""

import multiprocessing
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TypeVar

import attrs
import trio

from simulation.ear import EarError, Heard
from simulation.orphans import end_with_the_parent
from simulation.recogniser import THRESHOLD, the_recogniser

CLOSE_SECONDS = 5.0

T = TypeVar("T")


@attrs.frozen
class EarHere:
    """Hears in the calling task, which stands still meanwhile: no virtual time passes."""

    threshold: float = THRESHOLD

    async def hear(self, pcm: bytes, phrases: Sequence[str]) -> Heard:
        """See :class:`simulation.ear.Ear`."""
        await trio.lowlevel.checkpoint()
        return the_recogniser().decode(pcm, phrases, self.threshold)


@attrs.frozen(eq=False)
class EarBeside:
    """Hears in one of the processes of ``pool``; as many at once as there are processes, the others wait."""

    pool: ProcessPoolExecutor
    threshold: float = THRESHOLD

    async def hear(self, pcm: bytes, phrases: Sequence[str]) -> Heard:
        """See :class:`simulation.ear.Ear`. Cancelled: a decoding that has begun goes on unheeded."""
        try:
            return await _result(self.pool.submit(_decode, pcm, tuple(phrases), self.threshold))
        except BrokenProcessPool as error:
            raise EarError(f"the ear's process has died: {error}; run it again") from error


@asynccontextmanager
async def open_ear(processes: int = 1, threshold: float = THRESHOLD) -> AsyncIterator[EarBeside]:
    """An ear in ``processes`` processes, ready to hear; they end with the block, or with this process.

    Takes real time: under a virtual clock use :class:`EarHere`, which hears the same.

    :raises EarError: the recogniser is missing, or a process does not start.
    """
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(max_workers=processes, mp_context=context, initializer=end_with_the_parent)
    try:
        try:
            for ready in [pool.submit(_load) for _ in range(processes)]:
                await _result(ready)
        except BrokenProcessPool as error:
            raise EarError(f"the ear's process does not start: {error}; use fewer --jobs, or --scripted") from error
        yield EarBeside(pool, threshold)
    finally:
        with trio.move_on_after(CLOSE_SECONDS, shield=True):
            end = partial(pool.shutdown, cancel_futures=True)
            await trio.to_thread.run_sync(end, abandon_on_cancel=True)


async def _result(future: "Future[T]") -> T:
    """Wait for ``future`` without a thread; it is cancelled with the wait."""
    token = trio.lowlevel.current_trio_token()
    done = trio.Event()

    def tell(_: "Future[T]") -> None:
        with suppress(trio.RunFinishedError):
            token.run_sync_soon(done.set)

    future.add_done_callback(tell)
    try:
        await done.wait()
    finally:
        future.cancel()
    return future.result()


def _load() -> None:
    the_recogniser()


def _decode(pcm: bytes, phrases: tuple[str, ...], threshold: float) -> Heard:
    return the_recogniser().decode(pcm, phrases, threshold)
