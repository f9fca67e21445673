"""What is wrong with the database: at the start with a server of our own, and later, in the log."""

import asyncio
import fcntl
import os
from collections.abc import Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import asyncpg
import pytest
import trio

from db import pool, server_binaries
from db.asyncio_loop import AsyncioLoop
from db.door import DatabaseUnavailable
from db.embedded import _Launch, _open
from db.faults import translated
from db.pool import PostgresDatabase
from db.scratch import ScratchBank, TableReader
from db.seed import BankFiles
from db.server_binaries import Binaries, EmbeddedServerError, ServerUser, find_binaries, server_user
from db.session import CommitUnknown, Session, open_session
from tests.docs.symptom import Symptom, in_virtual_time, raised_later, said, said_later, seen

WHY = "it says why"


def own_server(folder: Path) -> Iterator[Symptom]:
    """The line behind `DATABASE_URL is not set and no server can be started: `, and of what starts one beside."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server_binaries, "WHEEL", "no_such_package")
        patch.setattr(server_binaries, "SYSTEM_PATTERNS", ())
        patch.setenv("PATH", str(folder))
        yield seen(said(EmbeddedServerError, find_binaries))
        patch.setattr(os, "geteuid", lambda: 0)
        patch.setattr("pwd.getpwnam", {}.__getitem__)
        yield seen(said(EmbeddedServerError, server_user))
    yield from in_virtual_time(partial(_folders, folder))
    found: list[Symptom] = []
    trio.run(_programs, folder, found)
    yield from found


async def _folders(folder: Path, found: list[Symptom]) -> None:
    no_folder = folder / "a-file" / "data"
    no_folder.parent.touch()
    launch = _Launch(ServerUser(), folder)
    line = await said_later(EmbeddedServerError, lambda: launch._claim(trio.Path(no_folder)))
    found.append(seen(line, folder=no_folder, why="Not a directory"))
    theirs = folder / "theirs"
    theirs.mkdir()
    lock = os.open(theirs / "lock", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for owner in ("", str(os.getpid())):
            os.pwrite(lock, owner.encode(), 0)
            other = _Launch(ServerUser(), folder)
            line = await said_later(EmbeddedServerError, lambda: other._claim(trio.Path(theirs)))  # noqa: B023
            os.close(other._lock or 0)
            found.append(seen(line, folder=theirs, **({"process": owner} if owner else {})))
    finally:
        os.close(lock)


async def _programs(folder: Path, found: list[Symptom]) -> None:
    """With programs of the test's that fail, as PostgreSQL's may."""
    programs = folder / "bin"
    programs.mkdir()
    for name in ("initdb", "postgres"):
        (programs / name).write_text(f"#!/bin/sh\necho {WHY}; exit 1\n")
        (programs / name).chmod(0o755)
    private = folder / "private"
    private.mkdir()
    launch = _Launch(ServerUser(), private, Binaries(programs))
    try:
        await launch.watch()
        for start in (partial(launch._make_data, lasting=False), partial(launch.serve, lasting=False)):
            line = await said_later(EmbeddedServerError, partial(start, folder / "data"))
            found.append(seen(line, what_it_says=WHY))
        gone = folder / "gone"
        line = await said_later(EmbeddedServerError, partial(launch._demand, "w", gone, "what to do"))
        found.append(seen(line, folder=gone, what_to_do="what to do"))
        launch._user = ServerUser("postgres", os.geteuid(), os.getegid())
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ServerUser, "popen_options", lambda _: {})
            line = await said_later(EmbeddedServerError, partial(launch._demand, "w", gone, "what to do"))
        found.append(seen(line, user="postgres'", folder=gone, what_to_do="what to do"))
    finally:
        await launch.stop()
    line = await said_later(EmbeddedServerError, lambda: _open(["/no/such/program"]))
    found.append(seen(line, program="/no/such/program", why="No such file or directory"))


def unavailable(_folder: Path) -> Iterator[Symptom]:
    """The `error` of `database_unavailable`, and of whatever else says that the database is away."""
    server: tuple[BaseException, ...] = (
        ConnectionRefusedError(111, "Connect call failed"),
        asyncpg.InvalidPasswordError("password authentication failed"),
        asyncpg.InvalidCatalogNameError("database does not exist"),
        asyncpg.TooManyConnectionsError("sorry, too many clients already"),
        asyncpg.ReadOnlySQLTransactionError("cannot execute UPDATE in a read-only transaction"),
    )
    for error in server:
        line = str(translated(error))
        yield seen(line, what_the_driver_says=line.partition(": ")[2])
    yield from in_virtual_time(_waits)


@asynccontextmanager
async def _fake_session(*, waits: bool = False, fails: BaseException | None = None) -> Any:
    """In place of a connection."""

    async def call(*_: object) -> Any:
        if waits:
            await trio.sleep_forever()
        if fails is not None:
            raise fails

    yield SimpleNamespace(call=call, transaction=lambda: _fake_session(waits=waits))


async def _waits(found: list[Symptom]) -> None:
    database: Any = PostgresDatabase(AsyncioLoop(), None, BankFiles("", ""), schema_applied=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pool, "open_session", lambda *_: _fake_session(waits=True))
        found.append(seen(await said_later(DatabaseUnavailable, lambda: database.run_once("c", "t", "f", None))))
        found.append(seen(await said_later(DatabaseUnavailable, database.ping)))
        other_tables = asyncpg.DuplicateTableError("what PostgreSQL says")
        patch.setattr(pool, "open_session", lambda *_: _fake_session(fails=other_tables))
        database._schema_applied = False
        line = await said_later(DatabaseUnavailable, database.ping)
        found.append(seen(line, what_it_says=line.partition("applied: ")[2]))
    found.append(seen(await said_later(DatabaseUnavailable, lambda: AsyncioLoop().call(asyncio.sleep, 0))))

    async def never(*_: object) -> None:
        await trio.sleep_forever()

    async def nobody(*_: object) -> None:
        await trio.lowlevel.checkpoint()
        raise ConnectionRefusedError(111, "Connect call failed")

    for call in (never, nobody):
        loop: Any = SimpleNamespace(call=call)
        line = await said_later(DatabaseUnavailable, lambda: open_session(loop, None).__aenter__())  # noqa: B023
        said_by_driver = line.partition(": ")[2].partition(";")[0]
        found.append(seen(line, **({"what_the_driver_says": said_by_driver} if call is nobody else {})))
    await _commits(found)
    await _left_open(found)


async def _commits(found: list[Symptom]) -> None:
    """A COMMIT that is not answered."""

    class Handle:
        async def __aenter__(self) -> None: ...
        async def __aexit__(self, *_: object) -> None:
            await trio.sleep_forever()

    async def called(function: Any, *arguments: Any) -> Any:
        return await function(*arguments)

    loop: Any = SimpleNamespace(call=called)
    connection: Any = SimpleNamespace(is_in_transaction=lambda: False, transaction=lambda **_: Handle())

    async def commit() -> None:
        async with Session(loop, connection).transaction():
            pass

    found.append(seen((await raised_later(CommitUnknown, commit)).reason))


async def _left_open(found: list[Symptom]) -> None:
    """The database of a conversation that is to begin, and somebody has a transaction open."""

    async def locked(*_: object) -> None:
        raise asyncpg.LockNotAvailableError("canceling statement due to lock timeout")

    loop: Any = SimpleNamespace(call=locked)
    url = "postgresql://postgres@/job-1"
    bank = ScratchBank(url, TableReader(url, loop), loop, BankFiles("", ""))
    found.append(seen(await said_later(DatabaseUnavailable, bank.restore), address=url))
