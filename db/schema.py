"""How the tables come into a database: schema.sql, seed.sql and one's own tables. asyncio's, as db.queries is."""

from typing import Final

from db.own_queries import make_missing
from db.queries import Connection
from db.table import BANK, KEPT_BY_US, own_tables

OUR_TABLES: Final = (*(table.name for table in BANK), *KEPT_BY_US)

# One number for everybody who may apply the schema to this database at the same moment.
SCHEMA_LOCK: Final = 0x62637376


def needed_tables() -> tuple[str, ...]:
    """The names of all tables that there must be."""
    return (*OUR_TABLES, *(table.name for table in own_tables()))


async def apply_bank_files(connection: Connection, schema: str, seed: str) -> None:
    """Make the tables if any is missing, and fill the bank if it is empty. What exists is never changed.

    One transaction, one at a time in the whole database. It asks first, because CREATE TABLE IF NOT EXISTS needs
    the right to create even where there is nothing left to do.
    """
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", SCHEMA_LOCK)
        missing = await connection.fetchval(
            "SELECT bool_or(to_regclass(name) IS NULL) FROM unnest($1::text[]) name", OUR_TABLES
        )
        if missing:
            await connection.execute(schema)
        filled = await connection.fetchval(
            "SELECT EXISTS (SELECT FROM users) OR EXISTS (SELECT FROM cards) OR EXISTS (SELECT FROM replacements)"
        )
        if not filled:
            await connection.execute(seed)
        await make_missing(connection, own_tables())
