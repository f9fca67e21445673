"""A bank of its own for each job of a run, and the same rows again for each conversation; anybody's tables, read."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import attrs
import msgspec

from db.asyncio_loop import AsyncioLoop, open_asyncio_loop
from db.door import DatabaseUnavailable, check_database_url
from db.faults import FOREIGN
from db.schema import apply_bank_files, needed_tables
from db.seed import BankFiles, read_bank_files
from db.table import own_tables

OTHERS_CONNECTED = """
    SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
RESTORE_SECONDS = 5
IMPATIENT = f"SET lock_timeout = '{RESTORE_SECONDS}s'"
LEFT_OPEN = "a transaction that was left open holds its tables; commit it, or connect with autocommit"
CLOSE_SECONDS = 5.0
KEPT = "process_keys"  # the secrets of a process that is running


@attrs.frozen
class TableReader:
    """Reads whole tables of the database at `url`, and changes nothing."""

    url: str
    _loop: AsyncioLoop

    async def rows(self, tables: Iterable[str]) -> dict[str, list[dict[str, Any]]]:
        """All rows of each table, as JSON values; one that cannot be read is left out. Raises DatabaseUnavailable."""
        return dict(await _connected(self._loop, self.url, _read, sorted(tables)))

    async def others_connected(self) -> bool:
        """Whether somebody else has a connection to this database now. Raises DatabaseUnavailable."""
        return bool(await _connected(self._loop, self.url, _count))


async def _read(connection: Any, tables: list[str]) -> dict[str, list[dict[str, Any]]]:
    found = {}
    for table in tables:
        quoted = '"' + table.replace('"', '""') + '"'
        with suppress(asyncpg.UndefinedTableError, asyncpg.InsufficientPrivilegeError):
            rows = await connection.fetch(f"SELECT * FROM {quoted}")
            found[table] = [msgspec.to_builtins(dict(row), enc_hook=str) for row in rows]
    return found


async def _count(connection: Any) -> int:
    return int(await connection.fetchval(OTHERS_CONNECTED))


async def _execute(connection: Any, *statements: str) -> None:
    for statement in statements:
        await connection.execute(statement)


@asynccontextmanager
async def open_table_reader(url: str) -> AsyncIterator[TableReader]:
    """For the body. Raises BadDatabaseUrl for a malformed `url`; the server is first asked when rows are."""
    check_database_url(url)
    async with open_asyncio_loop() as loop:
        yield TableReader(url, loop)


@attrs.frozen
class ScratchBank:
    """A database that may be emptied at any time; `url` is its DATABASE_URL."""

    url: str
    reader: TableReader
    _loop: AsyncioLoop
    _files: BankFiles

    async def restore(self) -> None:
        """The rows of seed.sql, the first rows of one's own tables, and no others.

        Waits for transactions that are under way, for RESTORE_SECONDS. Raises DatabaseUnavailable.
        """
        try:
            await _connected(self._loop, self.url, _execute, IMPATIENT, _emptied(), self._files.seed, *_first_rows())
        except DatabaseUnavailable as error:
            if isinstance(error.__cause__, asyncpg.LockNotAvailableError):
                raise DatabaseUnavailable(f"{self.url} cannot be restored: {LEFT_OPEN}") from error
            raise


def _emptied() -> str:
    names = ", ".join(f'"{name}"' for name in needed_tables() if name != KEPT)
    return f"TRUNCATE {names} RESTART IDENTITY CASCADE"


def _first_rows() -> list[str]:
    return [table.first_rows_sql() for table in own_tables() if table.rows]


@asynccontextmanager
async def open_scratch_bank(server_url: str, name: str) -> AsyncIterator[ScratchBank]:
    """The database `name` of the server, made anew, for the body; it stays behind, since the server does not.

    Raises DatabaseUnavailable.
    """
    parts = urlsplit(server_url)
    url = urlunsplit(parts._replace(path=f"/{name}"))
    files = await read_bank_files()
    async with open_asyncio_loop() as loop:
        await _connected(loop, server_url, _execute, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        await _connected(loop, server_url, _execute, f'CREATE DATABASE "{name}"')
        await _connected(loop, url, apply_bank_files, files.schema, files.seed)
        yield ScratchBank(url, TableReader(url, loop), loop, files)


async def _connected(loop: AsyncioLoop, url: str, use: Callable[..., Awaitable[Any]], *args: Any) -> Any:
    async def used() -> Any:
        connection = await asyncpg.connect(url, loop=loop.loop)
        try:
            return await use(connection, *args)
        finally:
            await connection.close(timeout=CLOSE_SECONDS)  # noqa: ASYNC102  # asyncio's, and bounded

    try:
        return await loop.call(used)
    except FOREIGN as error:
        raise DatabaseUnavailable(f"{type(error).__name__}: {error}") from error
