"""What the load process could not do, in one line for whoever asked."""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

T = TypeVar("T")


class LoadFailure(Exception):
    pass


async def all_of(jobs: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """Do them at once. The first error is raised as it is, not in a group; the others are then cancelled and over."""
    tasks = [asyncio.ensure_future(job) for job in jobs]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
