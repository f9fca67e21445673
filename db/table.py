"""A table as tools see it: records in, records out. Every module of `db/tables/` brings one; the bank has three.

What is written in `schema` only PostgreSQL enforces: the stand-in in memory knows the columns, and no rules. So a tool
checks what it promises, and the schema's rules are there for what slips through.
"""

import importlib
import pkgutil
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any, Final

import attrs
import msgspec

from db import tables
from db.door import Card, Replacement, User
from runtime.errors import SettingsError

NAME: Final = re.compile(r"[a-z_][a-z0-9_]{0,62}")


class BadTable(SettingsError):
    """A module of db/tables/ does not hold a table. One line that names it and what is wrong."""


@attrs.frozen
class Table:
    """One table. Raises BadTable when it cannot be one.

    record: an attrs class whose fields are the columns, the primary key first. A column `user_id` says whose row it
        is: tools that serve a verified customer see that customer's rows and no others.
    schema: the SQL that makes it. It is run once, where the table is not there; a table that exists is never changed.
    rows: the first rows, put in when it is made.
    """

    name: str
    record: type[Any]
    schema: str = attrs.field(default="", repr=False)
    rows: Sequence[Any] = attrs.field(default=(), repr=False)

    def __attrs_post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise BadTable(f"table {self.name!r}: a name is a small letter, then small letters, digits and _")
        if not attrs.has(self.record) or not attrs.fields(self.record):
            raise BadTable(f"table {self.name}: its record must be an attrs class with a field for each column")
        for row in self.rows:
            if not isinstance(row, self.record):
                raise BadTable(f"table {self.name}: its first rows must be of {self.record.__name__}")
        self.first_rows_sql()  # what cannot be written is told of now

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(field.name for field in attrs.fields(self.record))

    @property
    def key(self) -> str:
        """The primary key's column."""
        return self.columns[0]

    @property
    def of_customers(self) -> bool:
        """Whether a row belongs to a customer."""
        return "user_id" in self.columns

    def key_of(self, row: Any) -> Any:
        return getattr(row, self.key)

    def first_rows_sql(self) -> str:
        """What puts `rows` in, and lets the key go on behind them. Empty without rows."""
        if not self.rows:
            return ""
        names = ", ".join(f'"{column}"' for column in self.columns)
        lines = (", ".join(_literal(getattr(row, column)) for column in self.columns) for row in self.rows)
        insert = f'INSERT INTO "{self.name}" ({names}) VALUES\n    (' + "),\n    (".join(lines) + ");\n"
        keys = [self.key_of(row) for row in self.rows]
        if not all(isinstance(key, int) for key in keys):
            return insert
        return f"{insert}SELECT setval(pg_get_serial_sequence('{self.name}', '{self.key}'), {max(keys)});\n"


def _literal(value: Any) -> str:
    plain = msgspec.to_builtins(value)
    if plain is None:
        return "NULL"
    if isinstance(plain, bool | int | float):
        return str(plain).upper()
    if not isinstance(plain, str):
        raise BadTable(f"{value!r} is not a text, number, date or time: write it into `schema` as SQL")
    return "'" + plain.replace("'", "''") + "'"


BANK: Final = (Table("users", User), Table("cards", Card), Table("replacements", Replacement))


@cache
def own_tables() -> tuple[Table, ...]:
    """The tables of `db/tables/`, by module. Raises BadTable."""
    found: list[Table] = []
    for module in sorted(found_.name for found_ in pkgutil.iter_modules(tables.__path__)):
        table = getattr(importlib.import_module(f"{tables.__name__}.{module}"), "TABLE", None)
        if not isinstance(table, Table):
            raise BadTable(f"db/tables/{module}.py has no TABLE = Table(...) in it")
        if not table.schema.strip():
            raise BadTable(f"db/tables/{module}.py: the table {table.name} has no schema")
        for other in (*BANK, *found):
            if table.name == other.name or table.record is other.record:
                raise BadTable(f"db/tables/{module}.py: {table.name} and {other.name} share a name or a record")
        found.append(table)
    return tuple(found)


def all_tables() -> tuple[Table, ...]:
    """The bank's and one's own: those a grader may read, and tools may search."""
    return (*BANK, *own_tables())


def table_of(record: type[Any], *, own: bool = False) -> Table:
    """The table whose rows are of `record`. Raises LookupError: there is none, or none of one's `own`."""
    for table in own_tables() if own else all_tables():
        if table.record is record:
            return table
    kept = "; the bank's rows are changed by the bank's own methods" if own else ""
    raise LookupError(f"{record.__name__} is the record of no table in db/tables/{kept}")


def table_named(name: str, where: Mapping[str, Any]) -> Table:
    """The table of that name. Raises ValueError if there is none, or no column of a name in `where`."""
    for table in all_tables():
        if table.name == name:
            check_columns(table, where)
            return table
    raise ValueError(f"no table {name!r}: expected one of {', '.join(table.name for table in all_tables())}")


def check_columns(table: Table, where: Mapping[str, Any]) -> None:
    """Raise ValueError for a column that is not there."""
    for name in where:
        if name not in table.columns:
            raise ValueError(f"table {table.name} has no column {name!r}: expected one of {', '.join(table.columns)}")


def new_row(table: Table, values: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of a row to be added: `values`, and the record's defaults. The key may be missing: it is made.

    Raises ValueError for a column that is not there or not given.
    """
    check_columns(table, values)
    row = dict(values)
    for field in attrs.fields(table.record):
        if field.name in row or field.name == table.key:
            continue
        if field.default is attrs.NOTHING or isinstance(field.default, attrs.Factory):  # type: ignore[arg-type]
            raise ValueError(f"a new row of {table.name} needs {field.name}")
        row[field.name] = field.default
    return row


def check_owner(table: Table, owner: int | None, values: Mapping[str, Any]) -> None:
    """Raise LookupError when the view is one customer's, `owner`, and these values would make a row another's."""
    if owner is not None and table.of_customers and values.get("user_id", owner) != owner:
        raise LookupError(f"a row of {table.name} for another customer than the verified one")


def no_row(table: Table, row: Any) -> LookupError:
    return LookupError(f"{table.name} has no row {table.key_of(row)!r}")


def matching_rows(records: Iterable[Any], where: Mapping[str, Any]) -> list[dict[str, Any]]:
    """`records` as JSON values, those whose columns equal the JSON values in `where`: 7 equals 7, not "7" or true."""
    wanted = {name: msgspec.to_builtins(value) for name, value in where.items()}
    rows = [msgspec.to_builtins(record) for record in records]
    return [row for row in rows if all((type(row[name]), row[name]) == (type(v), v) for name, v in wanted.items())]
