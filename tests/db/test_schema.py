"""schema.sql and seed.sql themselves: what they hold, and what they refuse to anybody."""

from pathlib import Path
from typing import Any

import asyncpg
import pytest
import trio

import db
from db.door import Database, Work
from db.memory import open_memory_database
from db.pool import open_database
from db.table import BANK
from tests.postgres import RunSql, of_database, run_sql_at
from tests.programs import need

FOLDER = Path(db.__file__).parent

REFUSED = {
    "a cancelled card comes back": "UPDATE cards SET status = 'active' WHERE card_id = 8",
    "a card changes hands": "UPDATE cards SET user_id = 4 WHERE card_id = 5",
    "a card changes its number": "UPDATE cards SET last4 = '1111' WHERE card_id = 5",
    "a status is invented": "UPDATE cards SET status = 'stolen' WHERE card_id = 5",
    "a kind is invented": "UPDATE cards SET kind = 'gift' WHERE card_id = 5",
    "last4 has letters": "INSERT INTO cards (user_id, last4, kind, status, expires)"
    " VALUES (3, '12a4', 'debit', 'active', '2030-01-31')",
    "last4 has five digits": "INSERT INTO cards (user_id, last4, kind, status, expires)"
    " VALUES (3, '12345', 'debit', 'active', '2030-01-31')",
    "a card has no customer": "INSERT INTO cards (user_id, last4, kind, status, expires)"
    " VALUES (999, '1234', 'debit', 'active', '2030-01-31')",
    "a card in use is deleted": "DELETE FROM cards WHERE card_id = 8",
    "a customer with cards is deleted": "DELETE FROM users WHERE user_id = 3",
    "a second replacement is open": "WITH sent AS (INSERT INTO cards (user_id, last4, kind, status, expires)"
    " VALUES (5, '1234', 'debit', 'active', '2030-01-31') RETURNING card_id)"
    " INSERT INTO replacements (user_id, old_card_id, new_card_id, status) SELECT 5, 8, card_id, 'requested' FROM sent",
    "a live card is replaced": "INSERT INTO replacements (user_id, old_card_id, new_card_id, status)"
    " VALUES (3, 5, 6, 'requested')",
    "a card goes to another customer": "INSERT INTO replacements (user_id, old_card_id, new_card_id, status)"
    " VALUES (13, 21, 5, 'requested')",
    "a card replaces itself": "INSERT INTO replacements (user_id, old_card_id, new_card_id, status)"
    " VALUES (13, 21, 21, 'requested')",
    "a card is issued twice": "INSERT INTO replacements (user_id, old_card_id, new_card_id, status)"
    " VALUES (8, 13, 14, 'requested')",
    "a delivery goes back": "UPDATE replacements SET status = 'requested' WHERE replacement_id = 2",
    "a delivered card is on its way again": "UPDATE replacements SET status = 'mailed' WHERE replacement_id = 3",
    "a replacement changes its cards": "UPDATE replacements SET new_card_id = 22 WHERE replacement_id = 1",
    "an answer is a result and an error": "INSERT INTO tool_answers (call_id, tool_call_id, fingerprint, result, error)"
    " VALUES ('c', 't', 'f', '1', 'no')",
    "a tool call is answered twice": "INSERT INTO tool_answers (call_id, tool_call_id, fingerprint)"
    " VALUES ('c', 't', 'f'), ('c', 't', 'g')",
    "a key is short": "INSERT INTO process_keys (name, value) VALUES ('webhook', 'abc')",
}


@pytest.fixture(scope="module")
def refusing_url(server_url: str, template: str, names: Any) -> Any:
    """One database for all refused statements: each of them leaves it as it was."""
    name = next(names)
    trio.run(run_sql_at, server_url, f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
    yield of_database(server_url, name)
    trio.run(run_sql_at, server_url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.parametrize("statement", REFUSED.values(), ids=REFUSED.keys())
async def test_schema_refuses_a_statement_when(refusing_url: str, statement: str) -> None:
    with pytest.raises(asyncpg.IntegrityConstraintViolationError):
        await run_sql_at(refusing_url, statement)


async def test_seed_is_the_same_when_read_by_either_side(postgres: Database) -> None:
    async with open_memory_database() as memory:
        for table in (table.name for table in BANK):
            assert await postgres.rows(table, {}) == await memory.rows(table, {})


async def test_seed_holds_what_conversations_need_when_fresh() -> None:
    async with open_memory_database() as bank:
        users, cards = await bank.rows("users", {}), await bank.rows("cards", {})
        assert len(users) >= 20
        assert len(cards) >= 30
        assert (await bank.rows("users", {"user_id": 3}))[0]["full_name"] == "Dana Whitfield"
        card = (await bank.rows("cards", {"card_id": 5}))[0]
        assert card.items() >= {"user_id": 3, "last4": "4242", "kind": "debit", "status": "active"}.items()
        assert not [r for r in await bank.rows("replacements", {}) if 5 in (r["old_card_id"], r["new_card_id"])]
        assert {c["status"] for c in cards} == {"active", "frozen", "cancelled"}
        assert {r["status"] for r in await bank.rows("replacements", {})} == {"requested", "mailed", "delivered"}
        assert len({c["last4"] for c in cards}) < len(cards)


async def test_ids_go_on_behind_the_seed_when_rows_are_added(run_sql: RunSql) -> None:
    (row,) = await run_sql(
        "INSERT INTO users (full_name, phone, email, address)"
        " VALUES ('A B', '+15035550000', 'a@b.c', '') RETURNING user_id"
    )
    assert row["user_id"] == 25


async def test_bank_is_left_alone_when_it_has_rows(url: str, run_sql: RunSql) -> None:
    await run_sql("DELETE FROM replacements")
    await run_sql("DELETE FROM cards WHERE card_id = 5")
    await run_sql("UPDATE users SET full_name = 'Renamed' WHERE user_id = 3")
    async with open_database(url) as again:
        assert await again.rows("cards", {"card_id": 5}) == []
        assert await again.rows("replacements", {}) == []
        assert (await again.rows("users", {"user_id": 3}))[0]["full_name"] == "Renamed"


async def test_files_change_nothing_when_applied_again(url: str, run_sql: RunSql, postgres: Database) -> None:
    before = [await postgres.rows(table, {}) for table in (table.name for table in BANK)]
    await run_scripts(url, "schema.sql", "seed.sql")
    assert [await postgres.rows(table, {}) for table in (table.name for table in BANK)] == before


async def test_door_seeds_when_only_the_schema_was_loaded(server_url: str, names: Any) -> None:
    name = next(names)
    await run_sql_at(server_url, f"CREATE DATABASE {name}")
    url = of_database(server_url, name)
    await run_scripts(url, "schema.sql")
    async with open_database(url) as database:
        assert len(await database.rows("users", {})) == 24
    await run_sql_at(server_url, f"DROP DATABASE {name}")


async def test_schema_is_applied_once_when_many_processes_start_together(server_url: str, names: Any) -> None:
    name = next(names)
    await run_sql_at(server_url, f"CREATE DATABASE {name}")
    url = of_database(server_url, name)

    async def start() -> None:
        async with open_database(url) as database:
            assert len(await database.rows("cards", {})) == 37

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(start)
    await run_sql_at(server_url, f"DROP DATABASE {name} WITH (FORCE)")


async def test_door_makes_its_tables_again_when_the_server_lost_them(run_sql: RunSql, postgres: Database) -> None:
    await postgres.ping()
    await run_sql("DROP TABLE replacements, cards, users, calls, tool_answers, process_keys CASCADE")
    assert await postgres.rows("cards", {"card_id": 5})
    await run_sql("DROP TABLE replacements, cards, users, calls, tool_answers, process_keys CASCADE")

    async def look(work: Work) -> Any:
        return await work.user(3)

    assert (await postgres.run_once("call", "tool", "f", look)).error is None


@pytest.fixture
def psql() -> str:
    return need("psql", "postgresql-client")


async def test_files_load_when_given_to_psql(psql: str, server_url: str, names: Any) -> None:
    name = next(names)
    await run_sql_at(server_url, f"CREATE DATABASE {name}")
    url = of_database(server_url, name)
    for _ in range(2):
        files = [f"--file={FOLDER / file}" for file in ("schema.sql", "seed.sql")]
        with trio.fail_after(10):
            await trio.run_process(
                [psql, url, "--quiet", "--no-psqlrc", "--set=ON_ERROR_STOP=1", *files], capture_stdout=True
            )
    assert len(await run_sql_at(url, "SELECT * FROM cards")) == 37
    await run_sql_at(server_url, f"DROP DATABASE {name}")


async def run_scripts(url: str, *files: str) -> None:
    for file in files:
        await run_sql_at(url, (FOLDER / file).read_text(), script=True)
