"""The tables of the bank in memory (db/memory.py)."""

from typing import Any

import attrs

from db.door import CallSession, Card, Replacement, User
from db.seed import seed_records
from db.table import Table, own_tables


@attrs.define
class Bank:
    """The tables: primary key -> record. A copy shares the records, which are frozen.

    `own`: one's own tables, by name.
    """

    users: dict[int, User]
    cards: dict[int, Card]
    replacements: dict[int, Replacement]
    sessions: dict[str, CallSession] = attrs.field(factory=dict)
    own: dict[str, dict[Any, Any]] = attrs.field(factory=dict)

    def copy(self) -> "Bank":
        own = {name: dict(rows) for name, rows in self.own.items()}
        return Bank(dict(self.users), dict(self.cards), dict(self.replacements), dict(self.sessions), own)

    def rows(self, table: Table) -> dict[Any, Any]:
        """Those of one table; not a copy."""
        if table.name in self.own:
            return self.own[table.name]
        rows: dict[Any, Any] = getattr(self, table.name)
        return rows


@attrs.define
class Sequences:
    """The last id given out per table. As in PostgreSQL, a rolled-back transaction leaves a gap."""

    last: dict[str, int]

    def following(self, table: str) -> int:
        self.last[table] = self.last.get(table, 0) + 1
        return self.last[table]


def filled_tables(seed: str) -> tuple[Bank, Sequences]:
    """The rows of seed.sql, whose text is `seed`, and the first rows of one's own tables."""
    records = seed_records(seed)
    own = {table.name: {table.key_of(row): row for row in table.first_rows()} for table in own_tables()}
    bank = Bank(records["users"], records["cards"], records["replacements"], own=own)
    keys: dict[str, list[Any]] = {"cards": [*bank.cards], "replacements": [*bank.replacements]}
    keys |= {name: [key for key in rows if isinstance(key, int) and key > 0] for name, rows in own.items()}
    return bank, Sequences({name: max(found) for name, found in keys.items() if found})
