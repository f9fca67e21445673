"""Work spread over processes: a run changes `os` and `time`, so each has its own, and none outlives its parent."""

import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import TypeVar

from simulation.orphans import end_with_the_parent

T = TypeVar("T")
R = TypeVar("R")


def in_processes(work: Callable[[T], R], pieces: Iterable[T], jobs: int) -> Iterator[R]:
    """What `work` made of each piece, as they come, which is not their order. What it raises ends all."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=jobs, mp_context=context, initializer=end_with_the_parent) as workers:
        running = [workers.submit(work, piece) for piece in pieces]
        try:
            for done in as_completed(running):
                yield done.result()
        except BaseException:
            workers.shutdown(wait=False, cancel_futures=True)
            raise
