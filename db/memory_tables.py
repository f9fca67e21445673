"""The tables of the bank in memory (db/memory.py)."""

from typing import Literal

import attrs

from db.door import CallSession, Card, Replacement, User


@attrs.define
class Bank:
    """The tables: primary key -> record. A copy shares the records, which are frozen."""

    users: dict[int, User]
    cards: dict[int, Card]
    replacements: dict[int, Replacement]
    sessions: dict[str, CallSession] = attrs.field(factory=dict)

    def copy(self) -> "Bank":
        return Bank(dict(self.users), dict(self.cards), dict(self.replacements), dict(self.sessions))


@attrs.define
class Sequences:
    """The last id given out per table. As in PostgreSQL, a rolled-back transaction leaves a gap."""

    cards: int
    replacements: int

    def following(self, table: Literal["cards", "replacements"]) -> int:
        value: int = getattr(self, table) + 1
        setattr(self, table, value)
        return value
