"""A transaction on the bank in memory, as the effects of run_once see it. The rules of schema.sql, a second time."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import attrs
import trio

from db.door import (
    DELIVERY_ORDER,
    CallSession,
    Card,
    CardStatus,
    DeliveryStatus,
    Replacement,
    Row,
    RuleViolated,
    User,
)
from db.issuing import issued_last4, renewed
from db.memory_tables import Bank, Sequences
from db.table import Table, check_customer, check_owner, new_row, no_row, table_of


@attrs.frozen
class MemoryWork:
    """`Work` on a copy of the bank. Each method is a checkpoint, as a query would be. Rows need no locks."""

    _bank: Bank
    _sequences: Sequences
    _now: Callable[[], datetime]
    _call_id: str
    _owner: int | None = None

    def of_customer(self, user_id: int) -> "MemoryWork":
        check_customer(self._owner, user_id)
        return attrs.evolve(self, owner=user_id)

    def _visible(self, row: User | Card | Replacement) -> bool:
        return self._owner in (None, row.user_id)

    async def session(self) -> CallSession:
        await trio.lowlevel.checkpoint()
        return self._bank.sessions.get(self._call_id, CallSession())

    async def lock_session(self) -> CallSession:
        await trio.lowlevel.checkpoint()
        return self._bank.sessions.setdefault(self._call_id, CallSession())

    async def keep_session(self, session: CallSession) -> None:
        await trio.lowlevel.checkpoint()
        check_customer(self._owner, session.user_id)
        if session.user_id is not None and session.user_id not in self._bank.users:
            raise RuleViolated("a session is of a customer who exists")
        self._bank.sessions[self._call_id] = session

    async def holders(self, last4: str) -> list[User]:
        await trio.lowlevel.checkpoint()
        holding = {card.user_id for card in self._bank.cards.values() if card.last4 == last4}
        return [user for id_, user in sorted(self._bank.users.items()) if id_ in holding and self._visible(user)]

    async def user(self, user_id: int) -> User | None:
        await trio.lowlevel.checkpoint()
        return self._bank.users.get(user_id) if self._owner in (None, user_id) else None

    async def cards_of(self, user_id: int) -> list[Card]:
        await trio.lowlevel.checkpoint()
        return [card for _, card in sorted(self._bank.cards.items()) if card.user_id == user_id and self._visible(card)]

    async def cards_by_last4(self, last4: str) -> list[Card]:
        await trio.lowlevel.checkpoint()
        return [card for _, card in sorted(self._bank.cards.items()) if card.last4 == last4 and self._visible(card)]

    async def replacements_of(self, card_id: int) -> list[Replacement]:
        await trio.lowlevel.checkpoint()
        return [
            found
            for _, found in sorted(self._bank.replacements.items())
            if card_id in (found.old_card_id, found.new_card_id) and self._visible(found)
        ]

    async def lock_card(self, card_id: int) -> Card | None:
        await trio.lowlevel.checkpoint()
        card = self._bank.cards.get(card_id)
        return card if card is not None and self._visible(card) else None

    async def lock_replacements_of(self, card_id: int) -> list[Replacement]:
        return await self.replacements_of(card_id)

    async def set_card_status(self, card_id: int, status: CardStatus) -> Card:
        await trio.lowlevel.checkpoint()
        card = self._bank.cards.get(card_id)
        if card is None or not self._visible(card):
            raise LookupError(f"there is no card {card_id}")
        if card.status == "cancelled" and status != "cancelled":
            raise RuleViolated("a cancelled card stays cancelled")
        self._bank.cards[card_id] = attrs.evolve(card, status=status)
        return self._bank.cards[card_id]

    async def issue_card(self, old: Card) -> Card:
        await trio.lowlevel.checkpoint()
        check_customer(self._owner, old.user_id)
        card_id = self._sequences.following("cards")
        card = Card(card_id, old.user_id, issued_last4(card_id), old.kind, "active", renewed(old.expires))
        self._bank.cards[card_id] = card
        return card

    async def add_replacement(self, old: Card, new: Card) -> Replacement:
        await trio.lowlevel.checkpoint()
        check_customer(self._owner, old.user_id, new.user_id)
        replacement_id = self._sequences.following("replacements")
        if self._bank.cards[old.card_id].status != "cancelled":
            raise RuleViolated("a card is cancelled before it is replaced")
        if old.card_id == new.card_id or self._bank.cards[new.card_id].user_id != old.user_id:
            raise RuleViolated("a card is replaced by another card of the same customer")
        for other in self._bank.replacements.values():
            if other.new_card_id == new.card_id:
                raise RuleViolated("a card is issued once")
            if other.old_card_id == old.card_id and other.status != "delivered":
                raise RuleViolated("a card has one open replacement at most")
        at = self._now()
        added = Replacement(replacement_id, old.user_id, old.card_id, new.card_id, "requested", at, at)
        self._bank.replacements[replacement_id] = added
        return added

    async def set_delivery_status(self, replacement_id: int, status: DeliveryStatus) -> Replacement:
        await trio.lowlevel.checkpoint()
        found = self._bank.replacements.get(replacement_id)
        if found is None or not self._visible(found):
            raise LookupError(f"there is no replacement {replacement_id}")
        if DELIVERY_ORDER.index(status) < DELIVERY_ORDER.index(found.status):
            raise RuleViolated("a delivery only moves forward")
        self._bank.replacements[replacement_id] = attrs.evolve(found, status=status, updated_at=self._now())
        return self._bank.replacements[replacement_id]

    async def find(self, record: type[Row], **where: Any) -> list[Row]:
        await trio.lowlevel.checkpoint()
        table = table_of(record)
        wanted = list(table.checked(where).items())
        if self._owner is not None and table.of_customers:
            wanted.append(("user_id", self._owner))
        rows = (row for _, row in sorted(self._bank.rows(table).items()))
        return [row for row in rows if all(getattr(row, column) == value for column, value in wanted)]

    async def lock(self, record: type[Row], **where: Any) -> list[Row]:
        return await self.find(record, **where)

    async def add(self, record: type[Row], **values: Any) -> Row:
        await trio.lowlevel.checkpoint()
        table = table_of(record, own=True)
        made = new_row(table, values, self._owner)
        if table.key not in made:
            made[table.key] = self._sequences.following(table.name)
        row, rows = record(**made), self._bank.rows(table)
        if table.key_of(row) in rows:
            raise RuleViolated(f"{table.name} has a row {table.key_of(row)!r} already")
        rows[table.key_of(row)] = row
        return row

    async def change(self, row: Row, **values: Any) -> Row:
        await trio.lowlevel.checkpoint()
        table = table_of(type(row), own=True)
        checked = table.changes(values)
        check_owner(table, self._owner, checked)
        changed: Row = attrs.evolve(self._kept(table, row), **checked)
        self._bank.rows(table)[table.key_of(changed)] = changed
        return changed

    async def remove(self, row: Any) -> None:
        await trio.lowlevel.checkpoint()
        table = table_of(type(row), own=True)
        self._kept(table, row)
        del self._bank.rows(table)[table.key_of(row)]

    async def now(self) -> datetime:
        await trio.lowlevel.checkpoint()
        return self._now()

    def _kept(self, table: Table, row: Any) -> Any:
        kept = self._bank.rows(table).get(table.key_of(row))
        if kept is None or (table.of_customers and self._owner not in (None, kept.user_id)):
            raise no_row(table, row)
        return kept
