"""A table of one's own, on both sides of the door: found by its file, made, filled, searched and changed by tools."""

from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import attrs
import pytest

from db import tables
from db.door import Card, Database, DatabaseUnavailable, Refusal, RuleViolated, Work
from db.look import look_at_database
from db.memory import open_memory_database
from db.pool import open_database
from db.scratch import open_scratch_bank, open_table_reader
from db.table import NOBODY, BadTable, Table, own_tables
from simulation.row_checks import _matches
from simulation.scenario import RowExpectation
from tests.own_modules import TABLE, lying_in
from tests.postgres import RunSql, of_database

DANA, TOMAS = 3, 5
RECORD = "import attrs\nfrom db.table import Table\n@attrs.frozen\nclass Row:\n    row_id: int\n"


@pytest.fixture
def visit(tmp_path: Path, template: str) -> Iterator[type[Any]]:
    """The record of a table `planted_visits`; ask for it before a database. The template is made without it."""
    with lying_in(tables, tmp_path, planted_visits=TABLE):
        (table,) = own_tables()
        yield table.record


async def done(database: Database, effect: Callable[[Work], Awaitable[Any]], tool_call_id: str = "tool") -> Any:
    return (await database.run_once("call", tool_call_id, "print", effect)).result


async def test_first_rows_are_there_when_the_table_is_made(visit: type[Any], database: Database) -> None:
    assert await database.rows("planted_visits", {"visit_id": 1}) == [
        {"visit_id": 1, "user_id": 3, "day": "2026-03-02", "note": "it's the knee", "made": "2026-01-01T00:00:00Z"}
    ]
    assert len(await database.rows("planted_visits", {"day": "2026-03-03", "note": None})) == 1


async def test_tool_finds_rows_by_any_column_when_it_asks(visit: type[Any], database: Database) -> None:
    async def effect(work: Work) -> Any:
        by_day = await work.find(visit, day=date(2026, 3, 2))
        by_nothing = await work.lock(visit, note=None)
        of_the_bank = await work.find(Card, user_id=DANA, status="active")
        return [[row.visit_id for row in rows] for rows in (by_day, by_nothing, await work.find(visit))] + [
            [card.card_id for card in of_the_bank]
        ]

    assert await done(database, effect) == [[1], [4], [1, 4], [5, 6]]


async def test_row_goes_through_its_life_when_tools_change_it(visit: type[Any], database: Database) -> None:
    async def add(work: Work) -> Any:
        added = await work.add(visit, user_id=DANA, day=date(2026, 4, 1))
        assert added == visit(5, DANA, date(2026, 4, 1))  # behind the first rows
        return await work.change(added, note="a tooth", day=date(2026, 4, 2))

    async def remove(work: Work) -> Any:
        (row,) = await work.lock(visit, note="a tooth")
        await work.remove(row)
        with pytest.raises(LookupError, match="planted_visits has no row 5"):
            await work.change(row, note="")
        with pytest.raises(LookupError, match="planted_visits has no row 5"):
            await work.remove(row)

    made = await done(database, add)
    assert made == {"visit_id": 5, "user_id": 3, "day": "2026-04-02", "note": "a tooth", "made": "2026-01-01T00:00:00Z"}
    assert await database.rows("planted_visits", {"visit_id": 5}) == [made]
    await done(database, remove, "another")
    assert len(await database.rows("planted_visits", {})) == 2


async def test_nothing_is_kept_when_the_tool_refuses_behind_its_change(visit: type[Any], database: Database) -> None:
    async def effect(work: Work) -> Any:
        await work.add(visit, user_id=DANA, day=date(2026, 4, 1))
        raise Refusal("No.")

    await done(database, effect)
    assert len(await database.rows("planted_visits", {})) == 2


async def test_customer_sees_and_changes_only_their_own_rows(visit: type[Any], database: Database) -> None:
    async def effect(work: Work) -> Any:
        (theirs,) = await work.find(visit, user_id=TOMAS)
        mine = work.of_customer(DANA)
        assert [row.visit_id for row in await mine.find(visit)] == [1]
        assert await mine.lock(visit, visit_id=theirs.visit_id) == []
        assert await mine.find(visit, user_id=TOMAS) == []
        disguised = attrs.evolve(theirs, user_id=DANA)
        for attempt in (mine.change(theirs, note="x"), mine.change(disguised, note="x"), mine.remove(disguised)):
            with pytest.raises(LookupError, match="planted_visits has no row 4"):
                await attempt
        (own,) = await mine.find(visit)
        for attempt in (mine.change(own, user_id=TOMAS), mine.add(visit, user_id=TOMAS, day=date(2026, 4, 1))):
            with pytest.raises(LookupError, match="another customer"):
                await attempt
        return (await mine.add(visit, user_id=DANA, day=date(2026, 4, 1))).user_id

    before = await database.rows("planted_visits", {})
    assert await done(database, effect) == DANA
    assert (await database.rows("planted_visits", {}))[:2] == before


async def test_mistakes_in_a_tool_are_named_when_it_runs(visit: type[Any], database: Database) -> None:
    async def effect(work: Work) -> None:
        with pytest.raises(ValueError, match="planted_visits has no column 'dya': expected one of visit_id, user_id"):
            await work.find(visit, dya=1)
        with pytest.raises(ValueError, match="has no column 'dya'"):
            await work.change((await work.find(visit))[0], dya=1)
        with pytest.raises(ValueError, match="a new row of planted_visits needs day"):
            await work.add(visit, user_id=DANA)
        with pytest.raises(LookupError, match="Table is the record of no table in db/tables/"):
            await work.find(Table)
        with pytest.raises(LookupError, match="the bank's own methods"):
            await work.change((await work.find(Card, card_id=5))[0], status="frozen")

    await done(database, effect)


async def test_tool_hears_the_databases_time_in_utc(database: Database) -> None:
    async def effect(work: Work) -> Any:
        moment = await work.now()
        assert moment.utcoffset() == datetime.now(UTC).utcoffset()
        return moment.year >= 2026

    assert await done(database, effect)


async def test_schemas_rules_hold_in_postgresql(visit: type[Any], postgres: Database) -> None:
    async def effect(work: Work) -> Any:
        await work.add(visit, user_id=999, day=date(2026, 4, 1))

    with pytest.raises(RuleViolated):
        await done(postgres, effect)


async def test_key_is_not_given_twice_in_memory(visit: type[Any]) -> None:
    async def effect(work: Work) -> Any:
        await work.add(visit, visit_id=4, user_id=DANA, day=date(2026, 4, 1))

    async with open_memory_database() as database:
        with pytest.raises(RuleViolated):
            await done(database, effect)


async def test_existing_table_is_left_alone_when_a_process_starts_again(visit: type[Any], url: str) -> None:
    async with open_database(url) as database:
        await done(database, lambda work: work.add(visit, user_id=DANA, day=date(2026, 4, 1)))
    async with open_database(url) as database:
        assert len(await database.rows("planted_visits", {})) == 3


async def test_process_says_what_is_missing_when_the_table_lacks_a_column(
    visit: type[Any], url: str, run_sql: RunSql
) -> None:
    await run_sql("CREATE TABLE planted_visits (visit_id integer)")
    async with open_database(url) as database:
        with pytest.raises(
            DatabaseUnavailable,
            match='UndefinedColumnError: table planted_visits of db/tables/: column "user_id" does not exist',
        ):
            await database.ping()


async def test_doctor_counts_it_as_missing_when_it_was_not_made(visit: type[Any], url: str) -> None:
    assert (await look_at_database(url)).missing == ("planted_visits",)


async def test_scratch_bank_holds_the_first_rows_again_when_restored(
    visit: type[Any], server_url: str, names: Iterator[str], run_sql: RunSql
) -> None:
    name = next(names)
    async with open_scratch_bank(server_url, name) as bank:
        async with open_database(of_database(server_url, name)) as database:
            await done(database, lambda work: work.add(visit, user_id=DANA, day=date(2026, 4, 1)))
        await bank.restore()
        assert [row["visit_id"] for row in (await bank.reader.rows(["planted_visits"]))["planted_visits"]] == [1, 4]
    await run_sql(f"DROP DATABASE {name} WITH (FORCE)")


BAD = {
    "nothing = 1": r"db/tables/own.py has no TABLE = Table\(...\) in it",
    RECORD + "TABLE = Table('own', Row)": "db/tables/own.py: the table own has no schema",
    RECORD + "TABLE = Table('cards', Row, schema='x')": "db/tables/own.py: cards and cards share a name or a record",
    RECORD + "TABLE = Table('Own Table', Row, schema='x')": "table 'Own Table': a name is a small letter",
    RECORD + "TABLE = Table('own', int, schema='x')": "table own: its record must be an attrs class",
    RECORD + "TABLE = Table('own', Row, schema='x', rows=[1])": "table own: its first rows must be of Row",
}


@pytest.mark.parametrize("source", BAD)
async def test_table_is_refused_in_one_line_when(source: str, tmp_path: Path) -> None:
    with lying_in(tables, tmp_path, own=source):
        with pytest.raises(BadTable, match=BAD[source]):
            own_tables()
        with pytest.raises(BadTable, match=BAD[source]):
            async with open_database("postgresql://nobody@127.0.0.1:1/none"):
                pass


async def test_changes_that_cannot_be_are_refused_alike_on_both_sides(visit: type[Any], database: Database) -> None:
    wrong: tuple[tuple[Callable[[Work], Awaitable[Any]], str], ...] = (
        (lambda work: work.find(visit, day="soon"), "planted_visits.day: "),
        (lambda work: work.find(visit, visit_id="7"), "planted_visits.visit_id: Expected `int`"),
        (lambda work: work.find(visit, visit_id=True), "planted_visits.visit_id: Expected `int`"),
        (lambda work: work.add(visit, user_id=DANA, day=date(2026, 4, 1), note="\0"), "the character NUL"),
        (lambda work: work.add(visit, user_id=DANA, day=None), "planted_visits.day: Expected `date`"),
        (lambda work: work.add(visit, visit_id=None, user_id=DANA, day=date(2026, 4, 1)), "visit_id: Expected `int`"),
        (
            lambda work: work.add(visit, user_id=DANA, day=date(2026, 4, 1), made=datetime(2026, 4, 1)),
            "planted_visits.made: a datetime must know its offset",
        ),
    )

    async def effect(work: Work) -> Any:
        (row,) = await work.find(visit, visit_id=1)
        for attempt, words in (*wrong, (lambda work: work.change(row, visit_id=4), "visit_id: a row keeps its key")):
            with pytest.raises(ValueError, match=words):
                await attempt(work)
        return await work.change(row)

    assert (await done(database, effect))["visit_id"] == 1
    assert len(await database.rows("planted_visits", {})) == 2


async def test_values_come_back_as_postgresql_keeps_them(visit: type[Any], database: Database) -> None:
    made = datetime(2026, 4, 1, 12, 0, tzinfo=timezone(timedelta(hours=2)))
    note = '50% of "it\'s" \\n; DROP TABLE users --'

    async def effect(work: Work) -> Any:
        added = await work.add(visit, user_id=DANA, day="2026-04-01", note=note, made=made)
        assert added.made.tzinfo is not None
        assert (added.day, added.note, added.made.isoformat()) == (date(2026, 4, 1), note, "2026-04-01T10:00:00+00:00")
        assert await work.now() == await work.now()
        return len(await work.find(visit, note=note, made=made))

    assert await done(database, effect) == 1


async def test_tool_goes_on_when_a_rule_is_violated_and_it_can_do_without(visit: type[Any], database: Database) -> None:
    async def effect(work: Work) -> Any:
        with pytest.raises(RuleViolated):
            await work.add(visit, visit_id=1, user_id=DANA, day=date(2026, 4, 1))
        return (await work.add(visit, user_id=DANA, day=date(2026, 4, 1))).user_id

    assert await done(database, effect) == DANA


async def test_row_in_a_customers_view_is_that_customers_when_nobody_is_named(
    visit: type[Any], database: Database
) -> None:
    async def effect(work: Work) -> Any:
        with pytest.raises(LookupError, match="another customer"):
            await work.of_customer(NOBODY).add(visit, day=date(2026, 4, 1))
        assert await work.of_customer(NOBODY).find(visit) == []
        with pytest.raises(ValueError, match="needs user_id"):
            await work.add(visit, day=date(2026, 4, 1))
        return (await work.of_customer(DANA).add(visit, day=date(2026, 4, 1))).user_id

    assert await done(database, effect) == DANA


async def test_table_begins_empty_when_it_has_no_first_rows(tmp_path: Path, template: str, fresh: Any) -> None:
    source = RECORD + "TABLE = Table('planted_rows', Row, schema='CREATE TABLE planted_rows (row_id integer)')"
    with lying_in(tables, tmp_path, planted_rows=source):
        async with fresh() as database:
            assert await database.rows("planted_rows", {}) == []


async def test_keys_are_made_from_one_on_when_first_rows_have_none_above_zero(
    tmp_path: Path, template: str, fresh: Any
) -> None:
    identity = "row_id integer GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY"
    table = f"TABLE = Table('planted_rows', Row, schema='CREATE TABLE planted_rows ({identity})', rows=[Row(-1)])"
    with lying_in(tables, tmp_path, planted_rows=RECORD + table):
        async with fresh() as database:
            (own,) = own_tables()
            added = await done(database, lambda work: work.add(own.record))
            assert added == {"row_id": 1}
            assert [row["row_id"] for row in await database.rows("planted_rows", {})] == [-1, 1]


@pytest.mark.parametrize(
    "written", ["2026-01-01T00:00:00Z", "2026-01-01 01:00:00+01:00", datetime(2026, 1, 1, tzinfo=UTC)]
)
async def test_scenario_finds_a_time_however_it_is_written_and_whoever_reads_the_rows(
    visit: type[Any], url: str, postgres: Database, written: Any
) -> None:
    wanted = RowExpectation("planted_visits", {"visit_id": 1, "day": date(2026, 3, 2)}, {"made": written})
    await postgres.ping()
    async with open_table_reader(url) as reader, open_memory_database() as memory:
        for rows in (
            await reader.rows(["planted_visits"]),
            {"planted_visits": await memory.rows("planted_visits", {})},
        ):
            assert is_met(wanted, rows["planted_visits"])
            later = attrs.evolve(wanted, values={"made": "2026-01-01T00:00:01Z"})
            assert not is_met(later, rows["planted_visits"])


def is_met(expected: RowExpectation, rows: list[dict[str, Any]]) -> bool:
    return any(_matches(row, expected.where) and _matches(row, expected.values) for row in rows)
