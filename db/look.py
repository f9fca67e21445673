"""A look at a database from outside, for `voice doctor`: nothing is made or changed there, the tables neither."""

from typing import Any, Final

import asyncpg
import attrs
import trio

from db.asyncio_loop import open_asyncio_loop
from db.door import DatabaseUnavailable, check_database_url
from db.faults import FOREIGN, translated
from db.schema import needed_tables
from runtime import limits

FACTS: Final = """
    SELECT current_database()::text AS name,
           current_setting('server_version') AS version,
           current_setting('server_version_num')::integer AS version_number,
           current_setting('transaction_read_only') = 'on' AS read_only,
           coalesce(has_schema_privilege(current_schema(), 'CREATE'), false) AS may_create,
           array(SELECT name FROM unnest($1::text[]) name WHERE to_regclass(name) IS NULL) AS missing,
           coalesce(has_table_privilege(to_regclass('tool_answers'), 'INSERT')
                    AND has_table_privilege(to_regclass('calls'), 'INSERT'), true) AS may_write
"""


@attrs.frozen
class DatabaseFacts:
    """`version` is the server's, as 18.1; `version_number` the same as 180001."""

    name: str
    version: str
    version_number: int
    read_only: bool
    may_create: bool
    missing: tuple[str, ...]
    """Of our tables, those that are not there; the first use makes them."""
    may_write: bool
    """Whether this user may write what calls write, in tables that are there."""


async def look_at_database(url: str) -> DatabaseFacts:
    """Connect, ask one question, leave. Raises BadDatabaseUrl and DatabaseUnavailable."""
    check_database_url(url)
    async with open_asyncio_loop() as loop:
        with trio.move_on_after(limits.DATABASE_QUERY_SECONDS):
            try:
                return DatabaseFacts(**await loop.call(_ask, url))
            except FOREIGN as error:
                raise translated(error, connection_lost=True) or error from None
    raise DatabaseUnavailable(f"no answer in {limits.DATABASE_QUERY_SECONDS} s")


async def _ask(url: str) -> dict[str, Any]:
    connection = await asyncpg.connect(url, server_settings={"application_name": "voice doctor"})
    try:
        row = await connection.fetchrow(FACTS, needed_tables())
    finally:
        connection.terminate()
    return {**row, "missing": tuple(row["missing"])}
