"""A database per test. PostgreSQL comes from TEST_DATABASE_URL, or from one server of our own per test session."""

import itertools
import os
import queue
import shutil
import tempfile
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
import trio

from db.asyncio_loop import open_asyncio_loop
from db.door import Database
from db.embedded import open_embedded_server
from db.memory import open_memory_database
from db.pool import open_database

TEMPLATE = f"bank_template_{os.getpid()}"

RunSql = Callable[..., Awaitable[list[Any]]]


async def run_sql_at(url: str, sql: str, *args: Any, script: bool = False) -> list[Any]:
    """One statement past the product's door, on a connection of its own; its rows. A script may be several."""

    async def ask() -> list[Any]:
        connection = await asyncpg.connect(url)
        try:
            return [await connection.execute(sql)] if script else await connection.fetch(sql, *args)
        finally:
            await connection.close()

    with trio.fail_after(10):
        async with open_asyncio_loop() as loop:
            rows: list[Any] = await loop.call(ask)
            return rows


def of_database(url: str, name: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


@pytest.fixture(scope="session")
def server_url() -> Iterator[str]:
    """A PostgreSQL where databases may be made. Ours runs under a Trio of its own, in a thread: it outlives tests."""
    if given := os.environ.get("TEST_DATABASE_URL"):
        yield given
        return
    urls: queue.Queue[str | BaseException] = queue.Queue()
    token: list[trio.lowlevel.TrioToken] = []
    finished = trio.Event()

    async def serve() -> None:
        token.append(trio.lowlevel.current_trio_token())
        try:
            async with open_embedded_server() as url:
                urls.put(url)
                await finished.wait()
        except BaseException as error:
            urls.put(error)
            raise

    thread = threading.Thread(target=trio.run, args=(serve,))
    thread.start()
    url = urls.get(timeout=60)
    if isinstance(url, BaseException):
        raise url
    yield url
    token[0].run_sync_soon(finished.set)
    thread.join(timeout=20)
    assert not thread.is_alive()


@pytest.fixture(scope="session")
def template(server_url: str) -> Iterator[str]:
    """A database that holds the schema and the seed, made by the product's own door; its name."""

    async def fill() -> None:
        await run_sql_at(server_url, f"CREATE DATABASE {TEMPLATE}")
        async with open_database(of_database(server_url, TEMPLATE)) as database:
            await database.ping()

    trio.run(fill)
    yield TEMPLATE
    trio.run(run_sql_at, server_url, f"DROP DATABASE {TEMPLATE} WITH (FORCE)")


@pytest.fixture(scope="session")
def names() -> Iterator[str]:
    return (f"bank_{os.getpid()}_{number}" for number in itertools.count(1))


@asynccontextmanager
async def fresh_database(server_url: str, template: str, name: str) -> AsyncIterator[str]:
    await run_sql_at(server_url, f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
    yield of_database(server_url, name)
    await run_sql_at(server_url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def url(server_url: str, template: str, names: Iterator[str]) -> AsyncIterator[str]:
    """A fresh database with the schema and the seed."""
    async with fresh_database(server_url, template, next(names)) as fresh:
        yield fresh


@pytest.fixture
async def postgres(url: str) -> AsyncIterator[Database]:
    async with open_database(url) as opened:
        yield opened


@pytest.fixture
def run_sql(url: str) -> RunSql:
    """Runs one statement in the test's own PostgreSQL database, past the product's door."""

    async def run(sql: str, *args: Any) -> list[Any]:
        return await run_sql_at(url, sql, *args)

    return run


@pytest.fixture(params=["memory", "postgres"])
def fresh(request: pytest.FixtureRequest) -> Any:
    """How to open one side of the door; a server is started only if a test on PostgreSQL is among those chosen."""
    if request.param == "memory":
        return open_memory_database
    server_url, template = request.getfixturevalue("server_url"), request.getfixturevalue("template")
    name = next(request.getfixturevalue("names"))

    @asynccontextmanager
    async def open_fresh() -> AsyncIterator[Database]:
        async with fresh_database(server_url, template, name) as url, open_database(url) as opened:
            yield opened

    return open_fresh


@pytest.fixture
async def database(fresh: Any) -> AsyncIterator[Database]:
    """Both sides of the door, one after the other."""
    async with fresh() as opened:
        yield opened


@pytest.fixture
def lasting_folder() -> Iterator[Path]:
    """A folder for a server's data that the server's user can reach; pytest's own are root's alone, for root."""
    folder = Path(tempfile.mkdtemp(prefix="lasting-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)
