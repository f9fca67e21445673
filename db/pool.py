"""PostgreSQL behind the door of db.door: asyncpg's pool, on an asyncio loop that runs inside Trio.

Four rules keep asyncpg whole under Trio's cancellation: an exception handler of our own (db.asyncio_loop);
transactions only through their context manager, and every shielded wait bounded (db.session); `loop=` always explicit.
"""

import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import asyncpg
import attrs
import msgspec
import structlog
import trio

from db import queries
from db.asyncio_loop import AsyncioLoop, open_asyncio_loop
from db.door import (
    Answer,
    Database,
    DatabaseUnavailable,
    Effect,
    KnownCall,
    LedgerConflict,
    PoolStatistics,
    Refusal,
    check_database_url,
    check_ledger_key,
)
from db.faults import Collision, SchemaMissing
from db.schema import apply_bank_files
from db.seed import BankFiles, read_bank_files
from db.session import CommitUnknown, Session, open_session
from db.table import matching_rows, own_tables, table_named
from db.work import PostgresWork
from runtime import limits


@attrs.define
class PostgresDatabase:
    """`Database` on a pool that connects when it is first needed, and again whenever the server comes back."""

    _loop: AsyncioLoop
    _pool: Any
    _files: BankFiles
    _schema_lock: trio.Lock = attrs.field(factory=trio.Lock)
    _schema_applied: bool = False  # reset when a table turns out to be missing: the server lost its data
    _last_query_worked: bool | None = None

    async def run_once(self, call_id: str, tool_call_id: str, fingerprint: str, effect: Effect) -> Answer:
        check_ledger_key(call_id, tool_call_id)
        key = (call_id, tool_call_id, fingerprint)
        with trio.move_on_after(limits.DATABASE_RUN_SECONDS):
            for attempt in range(1, limits.DATABASE_ATTEMPTS):
                with suppress(Collision):
                    return await self._run_settled(*key, effect)
                await trio.sleep(limits.DATABASE_RETRY_SECONDS * attempt)
            return await self._run_settled(*key, effect)
        self._last_query_worked = False
        raise DatabaseUnavailable(f"the transaction took more than {limits.DATABASE_RUN_SECONDS} s")

    async def _run_settled(self, call_id: str, tool_call_id: str, fingerprint: str, effect: Effect) -> Answer:
        try:
            async with self._session() as session, session.transaction():
                return await _claim_and_run(session, call_id, tool_call_id, fingerprint, effect)
        except CommitUnknown as error:
            lost = error
        structlog.get_logger(actor="Database").warning("commit_unknown", call=call_id, tool_call=tool_call_id)
        answer = await self._look_up(call_id, tool_call_id, fingerprint)
        if answer is None:
            raise DatabaseUnavailable(lost.reason) from lost
        return answer

    async def _look_up(self, call_id: str, tool_call_id: str, fingerprint: str) -> Answer | None:
        """What became of a transaction whose COMMIT was lost: its answer, or None if it was rolled back.

        Claiming the same id waits until the server has finished with that transaction, one way or the other.
        A claim that succeeds is undone.
        """
        try:
            async with self._session() as session, session.transaction():
                if await session.call(queries.claim_answer, call_id, tool_call_id, fingerprint):
                    raise _ClaimUndone
                return await _stored(session, call_id, tool_call_id, fingerprint)
        except _ClaimUndone:
            return None

    async def answers(self, call_id: str, tool_call_ids: Sequence[str]) -> dict[str, Answer]:
        check_ledger_key(call_id, *tool_call_ids)
        rows = await self._ask(queries.stored_answers, call_id, tool_call_ids)
        return {row["tool_call_id"]: _answer(row) for row in rows}

    async def keep_call(self, call_id: str, vapi_call_id: str, pod_id: str) -> None:
        check_ledger_key(call_id, vapi_call_id)
        await self._ask(queries.keep_call, call_id, vapi_call_id, pod_id)

    async def end_call(self, call_id: str) -> None:
        await self._ask(queries.end_call, call_id)

    async def end_calls_of(self, pod_id: str) -> int:
        count: int = await self._ask(queries.end_calls_of, pod_id)
        return count

    async def find_call(self, *, call_id: str | None = None, vapi_call_id: str | None = None) -> KnownCall | None:
        check_ledger_key(*(id_ for id_ in (call_id, vapi_call_id) if id_ is not None))
        found: KnownCall | None = await self._ask(queries.find_call, call_id, vapi_call_id)
        return found

    async def webhook_key(self) -> bytes:
        key: bytes = await self._ask(queries.keep_webhook_key, secrets.token_bytes(32))
        return key

    async def purge_answers(self) -> int:
        count: int = await self._ask(queries.purge_answers)
        return count

    async def rows(self, table: str, where: Mapping[str, Any]) -> list[dict[str, Any]]:
        return matching_rows(await self._ask(queries.records, table_named(table, where)), where)

    async def ping(self) -> None:
        await self._ask(queries.ping)

    def statistics(self) -> PoolStatistics:
        size, idle = self._pool.get_size(), self._pool.get_idle_size()
        return PoolStatistics(size - idle, idle, self._pool.get_max_size(), self._last_query_worked)

    async def _ask(self, query: Any, *args: Any) -> Any:
        with trio.move_on_after(limits.DATABASE_QUERY_SECONDS):
            with suppress(Collision):
                return await self._ask_once(query, *args)
            return await self._ask_once(query, *args)
        self._last_query_worked = False
        raise DatabaseUnavailable(f"no answer in {limits.DATABASE_QUERY_SECONDS:g} s")

    async def _ask_once(self, query: Any, *args: Any) -> Any:
        async with self._session() as session:
            return await session.call(query, *args)

    async def _apply_files(self, session: Session) -> None:
        try:
            await session.call(apply_bank_files, self._files.schema, self._files.seed)
        except asyncpg.PostgresError as error:  # other tables by these names, say: mended there, not here
            line = f"the schema cannot be applied: {type(error).__name__}: {error.args[0]}"
            raise DatabaseUnavailable(line) from None

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[Session]:
        """A connection to a database that holds our tables."""
        try:
            async with open_session(self._loop, self._pool) as session:
                await self._apply_schema_once(session)
                yield session
            self._last_query_worked = True
        except SchemaMissing:
            self._schema_applied = False
            raise
        except DatabaseUnavailable as error:
            self._last_query_worked = isinstance(error, Collision)
            raise

    async def _apply_schema_once(self, session: Session) -> None:
        if not self._schema_applied:
            async with self._schema_lock:
                if not self._schema_applied:
                    await self._apply_files(session)
                    self._schema_applied = True


class _ClaimUndone(Exception):
    """Leaves a transaction whose claim succeeded, so that the claim is rolled back."""


async def _claim_and_run(session: Session, call_id: str, tool_call_id: str, fingerprint: str, effect: Effect) -> Answer:
    """Claim the id first, so that a second caller waits here; then run, then keep the answer. One transaction."""
    if not await session.call(queries.claim_answer, call_id, tool_call_id, fingerprint):
        return await _stored(session, call_id, tool_call_id, fingerprint)
    result, error = None, None
    try:
        async with session.transaction():
            result = msgspec.json.encode(await effect(PostgresWork(session, call_id))).decode()
    except Refusal as refusal:
        error = refusal.line
    await session.call(queries.fill_answer, call_id, tool_call_id, result, error)
    return Answer(None if result is None else msgspec.json.decode(result), error)


async def _stored(session: Session, call_id: str, tool_call_id: str, fingerprint: str) -> Answer:
    rows = await session.call(queries.stored_answers, call_id, [tool_call_id])
    if not rows:
        raise Collision("the answer was purged while it was asked for")
    if rows[0]["fingerprint"] != fingerprint:
        raise LedgerConflict(call_id, tool_call_id)
    return _answer(rows[0])


def _answer(row: Mapping[str, Any]) -> Answer:
    result = None if row["result"] is None else msgspec.json.decode(row["result"])
    return Answer(result, row["error"], stored=True)


@asynccontextmanager
async def open_database(url: str) -> AsyncIterator[Database]:
    """The database at `url`, for the body. The server may be down: the first use connects, and applies the schema.

    Raises at once BadDatabaseUrl for a malformed `url`, and BadTable for a module of db/tables/ that holds no table.
    Cancelled: connections are closed in bounded time.
    """
    check_database_url(url)
    own_tables()
    files = await read_bank_files()
    async with open_asyncio_loop() as loop:
        pool = await loop.call(_make_pool, loop.loop, url)
        try:
            yield PostgresDatabase(loop, pool, files)
        finally:
            with trio.move_on_after(limits.DATABASE_CLOSE_SECONDS, shield=True):
                await loop.call(_close_pool, pool)


async def _make_pool(loop: Any, url: str) -> Any:
    pool = asyncpg.create_pool(
        url,
        loop=loop,
        min_size=0,  # nothing is connected before it is needed
        max_size=limits.DATABASE_POOL_CONNECTIONS,
        server_settings={
            "application_name": "voice",
            "lock_timeout": str(limits.DATABASE_LOCK_MILLISECONDS),
            "idle_in_transaction_session_timeout": str(limits.DATABASE_IDLE_IN_TRANSACTION_MILLISECONDS),
        },
    )
    return await pool


async def _close_pool(pool: Any) -> None:
    """Close every connection. A cancellation makes asyncpg terminate what is left, which waits for nothing."""
    await pool.close()
