"""A table as tools see it: records in, records out. Every module of `db/tables/` brings one; the bank has three.

What is written in `schema` only PostgreSQL enforces: the stand-in in memory knows the columns, and no rules. So a tool
checks what it promises, and the schema's rules are there for what slips through.
"""

import importlib
import math
import pkgutil
import re
import traceback
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from functools import cache
from types import ModuleType
from typing import Any, Final, get_type_hints
from uuid import UUID

import attrs
import msgspec

from db import tables
from db.door import Card, Replacement, User
from runtime.errors import SettingsError

NAME: Final = re.compile(r"[a-z_][a-z0-9_]{0,62}")
KEPT_BY_US: Final = ("tool_answers", "calls", "process_keys")
NOBODY: Final = 0
"""The owner of a view in which no customer's row is; ids begin with 1."""
LITERALS: Final = (str, bool, int, float, Decimal, date, datetime, time, UUID)


class BadTable(SettingsError):
    """A module of db/tables/ does not hold a table. One line that names it and what is wrong."""


@attrs.frozen
class Table:
    """One table. Raises BadTable when it cannot be one.

    record: an attrs class whose fields are the columns, the primary key first; without a value, an integer key is
        made. Values are what the fields' types say, in memory as in PostgreSQL; datetimes know their offset, and come
        back in UTC. A column `user_id` says whose row it is: tools that serve a verified customer see that customer's
        rows and no others.
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
        try:
            self.first_rows_sql()  # what cannot be written is told of now
        except ValueError as exc:
            raise BadTable(f"table {self.name}: its first rows: {exc}") from exc
        if len({self.key_of(row) for row in self.rows}) < len(self.rows):
            raise BadTable(f"table {self.name}: two of its first rows have the same {self.key}")

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

    def checked(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """`values` by column, each as the type of its field. Raises ValueError for what cannot be one, and for a column
        that is not there."""
        hints, found = get_type_hints(self.record, include_extras=True), {}
        self.check_columns(values)
        for name, value in values.items():
            try:
                found[name] = _plain(msgspec.convert(value, hints[name]))
            except (msgspec.ValidationError, ValueError) as exc:
                raise ValueError(f"{self.name}.{name}: {exc}") from exc
        return found

    def check_columns(self, names: Iterable[str]) -> None:
        """Raises ValueError for a column that is not there."""
        for name in names:
            if name not in self.columns:
                expected = f"expected one of {', '.join(self.columns)}"
                raise ValueError(f"table {self.name} has no column {name!r}: {expected}")

    def changes(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """As checked, of a row that is there: its key stays."""
        if self.key in values:
            raise ValueError(f"{self.name}.{self.key}: a row keeps its key")
        return self.checked(values)

    def first_rows(self) -> list[Any]:
        """As the table then holds them."""
        return [self.record(**self.checked({name: getattr(row, name) for name in self.columns})) for row in self.rows]

    def first_rows_sql(self) -> str:
        """What puts `rows` in, and lets the key go on behind them. Empty without rows."""
        if not self.rows:
            return ""
        names = ", ".join(f'"{column}"' for column in self.columns)
        lines = (", ".join(_literal(getattr(row, column)) for column in self.columns) for row in self.first_rows())
        insert = f'INSERT INTO "{self.name}" ({names}) VALUES\n    (' + "),\n    (".join(lines) + ");\n"
        keys = [self.key_of(row) for row in self.rows]
        if not all(isinstance(key, int) for key in keys) or max(keys) < 1:
            return insert
        return f"{insert}SELECT setval(pg_get_serial_sequence('{self.name}', '{self.key}'), {max(keys)});\n"


def _literal(value: Any) -> str:
    if value is None:
        return "NULL"
    if not isinstance(value, LITERALS) or (isinstance(value, float) and not math.isfinite(value)):
        raise BadTable(f"{value!r} is not a text, number, date or time: write it into `schema` as SQL")
    if isinstance(value, bool | int | float | Decimal):
        return str(value).upper()
    return "'" + str(value).replace("'", "''") + "'"


def _plain(value: Any) -> Any:
    """As PostgreSQL gives it back. Raises ValueError for what it does not take."""
    if isinstance(value, str) and "\0" in value:
        raise ValueError("a text cannot hold the character NUL")
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError("a datetime must know its offset: datetime(..., tzinfo=UTC)")
        return value.astimezone(UTC)
    return value


BANK: Final = (Table("users", User), Table("cards", Card), Table("replacements", Replacement))


def import_own(name: str, failure: type[SettingsError]) -> ModuleType:
    """A module that may be somebody's own. Raises `failure`, in one line with the place, if it cannot be imported."""
    try:
        return importlib.import_module(name)
    except SettingsError as exc:
        raise failure(f"{name.replace('.', '/')}.py: {exc}") from exc
    except (SyntaxError, ImportError, NameError, AttributeError, TypeError, ValueError) as exc:
        lines = [frame.lineno for frame in traceback.extract_tb(exc.__traceback__) if frame.name == "<module>"]
        place = exc.lineno if isinstance(exc, SyntaxError) else lines[-1] if lines else None
        why = exc.msg if isinstance(exc, SyntaxError) else exc
        raise failure(f"{name.replace('.', '/')}.py, line {place}: {type(exc).__name__}: {why}") from exc


@cache
def own_tables() -> tuple[Table, ...]:
    """The tables of `db/tables/`, by module. Raises BadTable."""
    found: list[Table] = []
    for module in sorted(found_.name for found_ in pkgutil.iter_modules(tables.__path__)):
        table = getattr(import_own(f"{tables.__name__}.{module}", BadTable), "TABLE", None)
        if not isinstance(table, Table):
            raise BadTable(f"db/tables/{module}.py has no TABLE = Table(...) in it")
        if not table.schema.strip():
            raise BadTable(f"db/tables/{module}.py: the table {table.name} has no schema")
        if table.name in KEPT_BY_US:
            raise BadTable(f"db/tables/{module}.py: {table.name} is a table of this program: choose another name")
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
            table.check_columns(where)
            return table
    raise ValueError(f"no table {name!r}: expected one of {', '.join(table.name for table in all_tables())}")


def new_row(table: Table, values: Mapping[str, Any], owner: int | None) -> dict[str, Any]:
    """The columns of a row to be added: `values`, the record's defaults, and the owner of the view.

    Without an integer key: it is made. Raises ValueError for a column that is not there or not given, and LookupError
    for a row of somebody else.
    """
    row = table.checked(values)
    if owner is not None and table.of_customers:
        row.setdefault("user_id", owner)
        check_owner(table, owner, row)
    for field in attrs.fields(table.record):
        if field.name in row:
            continue
        if field.name == table.key and get_type_hints(table.record)[table.key] is int:
            continue
        if field.default is attrs.NOTHING or isinstance(field.default, attrs.Factory):  # type: ignore[arg-type]
            raise ValueError(f"a new row of {table.name} needs {field.name}")
        row[field.name] = field.default
    return row


def check_owner(table: Table, owner: int | None, values: Mapping[str, Any]) -> None:
    """Raise LookupError when the view is one customer's, `owner`, and these values would make a row another's."""
    if owner is None or not table.of_customers:
        return
    if owner == NOBODY or values.get("user_id", owner) != owner:
        raise LookupError(f"a row of {table.name} for another customer than the verified one")


def check_customer(owner: int | None, *user_ids: int | None) -> None:
    """Raise LookupError when the view is one customer's, `owner`, and one of these is another."""
    if owner is not None and any(user_id not in (None, owner) for user_id in user_ids):
        raise LookupError("another customer than the verified one")


def no_row(table: Table, row: Any) -> LookupError:
    return LookupError(f"{table.name} has no row {table.key_of(row)!r}")


def matching_rows(records: Iterable[Any], where: Mapping[str, Any]) -> list[dict[str, Any]]:
    """`records` as JSON values, those whose columns equal the JSON values in `where`: 7 equals 7, not "7" or true."""
    wanted = {name: msgspec.to_builtins(value) for name, value in where.items()}
    rows = [msgspec.to_builtins(record) for record in records]
    return [row for row in rows if all((type(row[name]), row[name]) == (type(v), v) for name, v in wanted.items())]
