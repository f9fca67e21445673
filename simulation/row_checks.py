"""What the database held before and after a call, against what a scenario says."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from simulation.check import Check, named_values, shown, without
from simulation.evidence import Evidence
from simulation.scenario import RowExpectation, Scenario

SHOWN_ROWS = 3

Row = Mapping[str, Any]


def tables_of(scenario: Scenario) -> set[str]:
    """The tables that must be read whole before the call and after it."""
    return {expected.table for expected in scenario.expect.rows} | set(scenario.expect.unchanged)


def row_checks(scenario: Scenario, evidence: Evidence) -> list[Check]:
    """One for each expected row, and one for each table that must stay as it was."""
    rows = [_row(expected, evidence) for expected in scenario.expect.rows]
    return rows + [_unchanged(table, evidence) for table in scenario.expect.unchanged]


def _row(expected: RowExpectation, evidence: Evidence) -> Check:
    where = ", ".join(f"{column} = {value}" for column, value in expected.where.items())
    wanted = ", ".join(f"{column} = {value}" for column, value in expected.values.items())
    name = f"{expected.table} where {where}: {'no such row' if expected.absent else wanted}"
    if evidence.rows is None or expected.table not in evidence.rows:
        return without(name, evidence, "database", f"the table {expected.table} could not be read")
    rows = evidence.rows[expected.table]
    # Nothing matches a column that is not there: a misspelt one must not pass for a row that is absent.
    unknown = [column for column in (*expected.where, *expected.values) if rows and column not in rows[0]]
    if unknown:
        return Check(name, False, f"{expected.table} has no column {', '.join(unknown)}")
    found = [row for row in rows if _matches(row, expected.where)]
    if expected.absent:
        return Check(name, not found, _listed([named_values(row) for row in found]) or "none of " + str(len(rows)))
    if not found:
        return Check(name, False, "no such row")
    wrong = [row for row in found if not _matches(row, expected.values)]
    got = [named_values({column: row[column] for column in expected.values}) for row in wrong]
    return Check(name, not wrong, f"got {_listed(got)}" if wrong else f"{len(found)} row(s)")


def _matches(row: Row, wanted: Row) -> bool:
    return all(column in row and _is(row[column], value) for column, value in wanted.items())


def _is(got: Any, wanted: Any) -> bool:
    """Equal as values, as text, or as a moment: a scenario writes dates, times, numbers and ids as YAML can."""
    if got == wanted or str(got) == str(wanted):
        return True
    moments = [_moment(value) for value in (got, wanted)]
    return None not in moments and moments[0] == moments[1]


def _moment(value: Any) -> datetime | None:
    """A time with its offset; None for a date, and for what is no time."""
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else None


def _unchanged(table: str, evidence: Evidence) -> Check:
    name = f"{table} as before the call"
    if evidence.rows_before is None or table not in evidence.rows_before:
        return without(name, evidence, "database", f"the table {table} was not read before the call")
    if evidence.rows is None or table not in evidence.rows:
        return without(name, evidence, "database", f"the table {table} could not be read")
    changes = _changes(evidence.rows_before[table], evidence.rows[table])
    return Check(name, not changes, _listed(changes) or f"{len(evidence.rows[table])} row(s)")


def _changes(before: Sequence[Row], after: Sequence[Row]) -> list[str]:
    """What is gone, new or other, in words; rows that begin with the same value are the same row. Any order will do."""
    gone, new = _rest(before, after), _rest(after, before)
    changes = []
    for row in gone:
        other = next((one for one in new if _key(one) == _key(row) and one.keys() == row.keys()), None)
        if other is None:
            changes.append(f"gone: {named_values(row)}")
            continue
        new.remove(other)
        differing = [column for column in row if row[column] != other[column]]
        what = ", ".join(f"{column} was {shown(row[column])}, is {shown(other[column])}" for column in differing)
        changes.append(f"{_key(row)}: {what}")
    return changes + [f"new: {named_values(row)}" for row in new]


def _rest(rows: Sequence[Row], others: Sequence[Row]) -> list[Row]:
    """Those of ``rows`` that have no equal among ``others``, each of which equals one."""
    left = Counter(_text(row) for row in others)
    rest = []
    for row in rows:
        if left[_text(row)]:
            left[_text(row)] -= 1
        else:
            rest.append(row)
    return rest


def _text(row: Row) -> str:
    return repr(sorted(row.items(), key=lambda item: item[0]))


def _key(row: Row) -> str:
    return next((f"{column} {shown(value)}" for column, value in row.items()), "")


def _listed(changes: Sequence[str]) -> str:
    more = f"; and {len(changes) - SHOWN_ROWS} more" if len(changes) > SHOWN_ROWS else ""
    return "; ".join(changes[:SHOWN_ROWS]) + more
