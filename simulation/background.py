"""A nursery for servers that live as long as a ``with`` block: cancelled at its end, errors unwrapped."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio


@asynccontextmanager
async def open_background() -> AsyncIterator[trio.Nursery]:
    """A nursery whose tasks are cancelled when the block ends.

    A nursery always raises groups; here an error that is alone comes out as itself, so that whoever wrote the block
    can catch what it raised. Several errors stay a group.
    """
    try:
        async with trio.open_nursery() as nursery:
            yield nursery
            nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        error = sole_cause(group)
        if error is group:
            raise
        raise error from error.__cause__


def sole_cause(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error inside when there is but one, else the group."""
    inner: BaseException = group
    while isinstance(inner, BaseExceptionGroup) and len(inner.exceptions) == 1:
        inner = inner.exceptions[0]
    return inner
