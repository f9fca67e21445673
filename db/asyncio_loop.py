"""An asyncio event loop on Trio, for the one library here that speaks asyncio.

trio-asyncio opens its loop around the code that uses it and finds it again by a context variable. Here the loop lives
in a task of its own and is always addressed by name instead, so that any task of the process may call it, and so that
it outlives the cancellation of its user: a rollback needs it.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import attrs
import structlog
import trio
import trio_asyncio

from db.door import DatabaseUnavailable
from runtime import limits


@attrs.define
class AsyncioLoop:
    """Runs asyncio coroutines for Trio tasks. `loop` is None before it is open and after it is closed."""

    loop: asyncio.AbstractEventLoop | None = None
    _opened: trio.Event = attrs.field(factory=trio.Event)
    _closing: trio.Event = attrs.field(factory=trio.Event)
    # The loop is out of reach of cancellation until it is asked to close; from then on it has a deadline.
    _shield: trio.CancelScope = attrs.field(factory=lambda: trio.CancelScope(shield=True))

    async def call(self, function: Callable[..., Awaitable[Any]], *args: Any) -> Any:
        """Await the asyncio coroutine `function(*args)`, and return or raise what it does.

        Cancelled: the coroutine is cancelled asyncio's way and waited for. Raises DatabaseUnavailable once closed.
        """
        if self.loop is None:
            raise DatabaseUnavailable("the database was closed")
        return await self.loop.run_aio_coroutine(function(*args))  # type: ignore[attr-defined]

    async def _run(self) -> None:
        with self._shield:
            async with trio_asyncio.open_loop() as loop:
                # trio-asyncio's own handler raises what asyncpg merely reports, which would end every connection.
                loop.set_exception_handler(_report)
                self.loop = loop
                self._opened.set()
                await self._closing.wait()
                self.loop = None

    def _close(self) -> None:
        self._closing.set()
        self._shield.deadline = trio.current_time() + limits.DATABASE_LOOP_CLOSE_SECONDS


def _report(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    error = context.get("exception")
    structlog.get_logger(actor="Database").debug("asyncio_event", message=context.get("message"), error=repr(error))


@attrs.define
class _Held:
    """Holds its body's error back until the nursery around it has closed, which would wrap it in a group."""

    error: BaseException | None = None

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> bool:
        self.error = error
        return error is not None


@asynccontextmanager
async def open_asyncio_loop() -> AsyncIterator[AsyncioLoop]:
    """A loop for the body. Cancelled: the body ends first, with the loop still there for its clean-up."""
    host = AsyncioLoop()
    held = _Held()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(host._run)
        with held:
            try:
                await host._opened.wait()
                yield host
            finally:
                host._close()
    if held.error is not None:
        raise held.error
