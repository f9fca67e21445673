"""How the database is used at this moment, on both sides of the door."""

from typing import Any

import pytest
import trio

from db.door import Database, DatabaseUnavailable, PoolStatistics, Refusal
from db.pool import open_database
from tests.postgres import RunSql


async def test_connection_counts_as_used_only_while_a_tool_runs(database: Database) -> None:
    within: list[PoolStatistics] = []

    async def effect(_work: Any) -> None:
        within.append(database.statistics())

    await database.run_once("call", "tool", "f", effect)
    (busy,), idle = within, database.statistics()
    assert (busy.used, idle.used) == (1, 0)
    assert busy.used + busy.idle <= busy.most
    assert idle.idle == 1
    assert idle.last_query_worked


async def test_database_works_when_it_said_no(database: Database) -> None:
    async def effect(_work: Any) -> None:
        raise Refusal("no")

    await database.run_once("call", "tool", "f", effect)
    assert database.statistics().last_query_worked


async def test_last_query_is_unknown_and_then_failed_when_no_server_listens() -> None:
    with trio.socket.socket() as taken:
        await taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        async with open_database(f"postgresql://u:p@127.0.0.1:{port}/bank") as database:
            assert database.statistics() == PoolStatistics(0, 0, 10, None)
            with pytest.raises(DatabaseUnavailable):
                await database.ping()
            assert database.statistics() == PoolStatistics(0, 0, 10, last_query_worked=False)


async def test_last_query_worked_again_when_the_server_is_back(postgres: Database, run_sql: RunSql) -> None:
    await postgres.ping()

    async def effect(_work: Any) -> None:
        await run_sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'voice'")
        await _work.user(1)

    with pytest.raises(DatabaseUnavailable):
        await postgres.run_once("call", "tool", "f", effect)
    assert postgres.statistics().last_query_worked is False
    await postgres.ping()
    assert postgres.statistics().last_query_worked
