"""One connection out of the pool, for as long as one operation needs it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import asyncpg
import attrs
import structlog
import trio

from db.asyncio_loop import AsyncioLoop
from db.door import DatabaseUnavailable
from db.faults import FOREIGN, Collision, not_connected, translated
from runtime import limits


class CommitUnknown(DatabaseUnavailable):
    """The connection was lost, or fell silent, between sending COMMIT and its answer: it may have been committed."""


@attrs.frozen
class Session:
    """A connection in use. Its errors are already those of db.door."""

    _loop: AsyncioLoop
    _connection: Any

    async def call(self, query: Callable[..., Awaitable[Any]], *args: Any) -> Any:
        """Run `query(connection, *args)`, one of db.queries."""
        return await self._run(query, self._connection, *args)

    async def _run(self, function: Callable[..., Awaitable[Any]], *args: Any) -> Any:
        try:
            return await self._loop.call(function, *args)
        except FOREIGN as error:
            ours = translated(error, connection_lost=self._is_lost())
            if ours is None:
                raise
            # PostgreSQL's own error carries a DETAIL that quotes whole rows: it must not reach a log.
            raise ours from (None if isinstance(error, asyncpg.PostgresError) else error)

    def _is_lost(self) -> bool:
        try:
            return bool(self._connection.is_closed())
        except asyncpg.InterfaceError:  # the pool has taken a broken connection back by itself
            return True

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """A transaction for the body, or a savepoint if one is open.

        Rolled back when the body raises or is cancelled. A commit that has begun is finished before a cancellation
        is seen; raises CommitUnknown when its outcome is not known.
        """
        # READ COMMITTED by name: the loser of a claim must see the winner's row, whatever the server's default is.
        outermost = not self._connection.is_in_transaction()
        handle = self._connection.transaction(isolation="read_committed" if outermost else None)
        # asyncpg survives a storm of cancellations only if start, commit and rollback go through these two methods.
        await self._run(handle.__aenter__)
        try:
            yield
        except BaseException as error:
            # A rollback that fails needs no report: the connection is closed by its release, which undoes as much.
            with trio.move_on_after(limits.DATABASE_ROLLBACK_SECONDS, shield=True), suppress(DatabaseUnavailable):
                await self._run(handle.__aexit__, type(error), error, None)
            raise
        with trio.move_on_after(limits.DATABASE_COMMIT_SECONDS, shield=True) as scope:
            try:
                await self._run(handle.__aexit__, None, None, None)
            except Collision:
                raise
            except DatabaseUnavailable as error:
                raise CommitUnknown(error.reason) from error
        if scope.cancelled_caught:
            raise CommitUnknown(f"no answer to COMMIT in {limits.DATABASE_COMMIT_SECONDS} s")


@asynccontextmanager
async def open_session(loop: AsyncioLoop, pool: Any) -> AsyncIterator[Session]:
    """A connection for the body. Raises DatabaseUnavailable if there is none in limits.DATABASE_ACQUIRE_SECONDS."""

    async def acquire() -> Any:
        return await pool.acquire()

    connection = None
    with trio.move_on_after(limits.DATABASE_ACQUIRE_SECONDS):
        try:
            connection = await loop.call(acquire)
        except FOREIGN as error:
            raise not_connected(error) from error
    if connection is None:
        raise DatabaseUnavailable(f"no connection in {limits.DATABASE_ACQUIRE_SECONDS} s")
    try:
        yield Session(loop, connection)
    finally:
        with trio.move_on_after(limits.DATABASE_HAND_BACK_SECONDS, shield=True):
            await _release(loop, pool, connection)


async def _release(loop: AsyncioLoop, pool: Any, connection: Any) -> None:
    """Give a connection back, without an error: what was done with it is done."""

    async def release() -> None:
        # asyncpg shields this from cancellation, so its own limit is the one that ends it with a stopped server.
        await pool.release(connection, timeout=limits.DATABASE_RELEASE_SECONDS)

    try:
        await loop.call(release)
    except (*FOREIGN, DatabaseUnavailable) as error:
        structlog.get_logger(actor="Database").info("connection_thrown_away", reason=type(error).__name__)
