"""The bank's tables and first rows, read from the two SQL files beside this module."""

import ast
import re
from pathlib import Path
from typing import Any

import attrs
import msgspec
import trio

from db.table import BANK


@attrs.frozen
class BankFiles:
    """The text of schema.sql and of seed.sql."""

    schema: str
    seed: str


async def read_bank_files() -> BankFiles:
    folder = trio.Path(Path(__file__).parent)
    return BankFiles(await (folder / "schema.sql").read_text(), await (folder / "seed.sql").read_text())


def seed_records(seed: str) -> dict[str, dict[int, Any]]:
    """The rows of seed.sql: table -> primary key -> record.

    It reads what that file promises, one row a line in literals common to SQL and Python, and no SQL beyond that.
    """
    kinds = {table.name: table.record for table in BANK}
    records: dict[str, dict[int, Any]] = {}
    for table, columns, body in re.findall(r"INSERT INTO (\w+) \(([^)]*)\) VALUES\n(.*?)\nON CONFLICT", seed, re.S):
        names = columns.split(", ")
        rows = [ast.literal_eval(line.strip().removesuffix(",")) for line in body.splitlines()]
        records[table] = {
            row[0]: msgspec.convert(dict(zip(names, row, strict=True)), kinds[table], strict=False) for row in rows
        }
    return records
