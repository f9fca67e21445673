"""The SQL of tables of one's own, made from the fields of their records. asyncio's: only db.pool and db.work run it.

Names of tables and columns come from classes in db/tables/, quoted; every value is a parameter.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import asyncpg

from db.queries import Connection
from db.table import Table


def _names(columns: tuple[str, ...]) -> str:
    return ", ".join(f'"{column}"' for column in columns)


async def find(
    connection: Connection, table: Table, where: Mapping[str, Any], owner: int | None, lock: bool
) -> list[Any]:
    """Records by primary key. `owner`: of this customer only; None: of everybody."""
    conditions, values = [], []
    for column, value in table.checked(where).items():
        if value is None:
            conditions.append(f'"{column}" IS NULL')
            continue
        values.append(value)
        conditions.append(f'"{column}" = ${len(values)}')
    if owner is not None and table.of_customers:
        values.append(owner)
        conditions.append(f'"user_id" = ${len(values)}')
    statement = f'SELECT {_names(table.columns)} FROM "{table.name}" WHERE {" AND ".join(conditions) or "true"}'
    statement += f' ORDER BY "{table.key}"' + (" FOR UPDATE" if lock else "")
    return [table.record(**row) for row in await connection.fetch(statement, *values)]


async def add(connection: Connection, table: Table, row: Mapping[str, Any]) -> Any:
    places = ", ".join(f"${number}" for number in range(1, len(row) + 1))
    given = f"({_names(tuple(row))}) VALUES ({places})" if row else "DEFAULT VALUES"
    added = await connection.fetchrow(
        f'INSERT INTO "{table.name}" {given} RETURNING {_names(table.columns)}', *row.values()
    )
    return table.record(**added)


async def change(
    connection: Connection, table: Table, key: Any, values: Mapping[str, Any], owner: int | None
) -> Any | None:
    """The row with these values, at least one; None: there is no such row of this owner."""
    sets = ", ".join(f'"{column}" = ${number}' for number, column in enumerate(values, 3))
    row = await connection.fetchrow(
        f'UPDATE "{table.name}" SET {sets} WHERE "{table.key}" = $1 AND {_owned(table)}'
        f" RETURNING {_names(table.columns)}",
        key,
        owner,
        *values.values(),
    )
    return None if row is None else table.record(**row)


async def remove(connection: Connection, table: Table, key: Any, owner: int | None) -> bool:
    """Whether there was such a row of this owner."""
    statement = f'DELETE FROM "{table.name}" WHERE "{table.key}" = $1 AND {_owned(table)}'
    return bool(await connection.execute(statement, key, owner) == "DELETE 1")


def _owned(table: Table) -> str:
    """$2: whose rows; NULL: everybody's."""
    return '($2::integer IS NULL OR "user_id" = $2)' if table.of_customers else "($2::integer IS NULL OR true)"


async def now(connection: Connection) -> datetime:
    moment: datetime = await connection.fetchval("SELECT now()")
    return moment


async def make_missing(connection: Connection, tables: tuple[Table, ...]) -> None:
    """Make and fill those that are not there; of the others, see that they have the columns of their records."""
    for table in tables:
        try:
            await _make(connection, table)
        except asyncpg.PostgresError as error:
            error.args = (f"table {table.name} of db/tables/: {error.args[0]}",)
            raise


async def _make(connection: Connection, table: Table) -> None:
    if await connection.fetchval("SELECT to_regclass($1) IS NULL", f'"{table.name}"'):
        await connection.execute(table.schema)
        if table.rows:
            await connection.execute(table.first_rows_sql())
    await connection.execute(f'SELECT {_names(table.columns)} FROM "{table.name}" LIMIT 0')
