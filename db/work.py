"""A transaction on PostgreSQL, as the effects of run_once see it."""

from datetime import datetime
from typing import Any

import attrs

from db import own_queries, queries
from db.door import CallSession, Card, CardStatus, DeliveryStatus, Replacement, Row, User
from db.session import Session
from db.table import check_customer, check_owner, new_row, no_row, table_of


@attrs.frozen
class PostgresWork:
    """`Work` on one connection inside its open transaction."""

    _session: Session
    _call_id: str
    _owner: int | None = None

    def of_customer(self, user_id: int) -> "PostgresWork":
        check_customer(self._owner, user_id)
        return attrs.evolve(self, owner=user_id)

    async def session(self) -> CallSession:
        found: CallSession = await self._session.call(queries.session, self._call_id)
        return found

    async def lock_session(self) -> CallSession:
        found: CallSession = await self._session.call(queries.lock_session, self._call_id)
        return found

    async def keep_session(self, session: CallSession) -> None:
        check_customer(self._owner, session.user_id)
        await self._session.call(queries.keep_session, self._call_id, session)

    async def holders(self, last4: str) -> list[User]:
        return await self._list(queries.holders, last4, self._owner)

    async def user(self, user_id: int) -> User | None:
        if self._owner not in (None, user_id):
            return None
        found: User | None = await self._session.call(queries.user, user_id)
        return found

    async def cards_of(self, user_id: int) -> list[Card]:
        return await self._list(queries.cards_of, user_id) if self._owner in (None, user_id) else []

    async def cards_by_last4(self, last4: str) -> list[Card]:
        return await self._list(queries.cards_by_last4, last4, self._owner)

    async def replacements_of(self, card_id: int) -> list[Replacement]:
        return await self._list(queries.replacements_of, card_id, self._owner)

    async def lock_card(self, card_id: int) -> Card | None:
        found: Card | None = await self._session.call(queries.lock_card, card_id, self._owner)
        return found

    async def lock_replacements_of(self, card_id: int) -> list[Replacement]:
        return await self._list(queries.lock_replacements_of, card_id, self._owner)

    async def set_card_status(self, card_id: int, status: CardStatus) -> Card:
        card: Card | None = await self._session.call(queries.set_card_status, card_id, self._owner, status)
        if card is None:
            raise LookupError(f"there is no card {card_id}")
        return card

    async def issue_card(self, old: Card) -> Card:
        check_customer(self._owner, old.user_id)
        card_id = await self._session.call(queries.next_card_id)
        card: Card = await self._session.call(queries.insert_card, card_id, old)
        return card

    async def add_replacement(self, old: Card, new: Card) -> Replacement:
        check_customer(self._owner, old.user_id, new.user_id)
        added: Replacement = await self._session.call(queries.insert_replacement, old, new)
        return added

    async def set_delivery_status(self, replacement_id: int, status: DeliveryStatus) -> Replacement:
        moved: Replacement | None = await self._session.call(
            queries.set_delivery_status, replacement_id, self._owner, status
        )
        if moved is None:
            raise LookupError(f"there is no replacement {replacement_id}")
        return moved

    async def find(self, record: type[Row], **where: Any) -> list[Row]:
        return await self._list(own_queries.find, table_of(record), where, self._owner, False)

    async def lock(self, record: type[Row], **where: Any) -> list[Row]:
        return await self._list(own_queries.find, table_of(record), where, self._owner, True)

    async def add(self, record: type[Row], **values: Any) -> Row:
        table = table_of(record, own=True)
        row = new_row(table, values, self._owner)
        async with self._session.transaction():  # a rule that is violated undoes this alone
            added: Row = await self._session.call(own_queries.add, table, row)
        return added

    async def change(self, row: Row, **values: Any) -> Row:
        table = table_of(type(row), own=True)
        checked, key = table.changes(values), table.key_of(row)
        check_owner(table, self._owner, checked)
        async with self._session.transaction():
            if checked:
                changed: Row | None = await self._session.call(own_queries.change, table, key, checked, self._owner)
            else:
                changed = next(iter(await self.lock(type(row), **{table.key: key})), None)
        if changed is None:
            raise no_row(table, row)
        return changed

    async def remove(self, row: Any) -> None:
        table = table_of(type(row), own=True)
        async with self._session.transaction():
            removed = await self._session.call(own_queries.remove, table, table.key_of(row), self._owner)
        if not removed:
            raise no_row(table, row)

    async def now(self) -> datetime:
        moment: datetime = await self._session.call(own_queries.now)
        return moment

    async def _list(self, query: Any, *keys: Any) -> list[Any]:
        found: list[Any] = await self._session.call(query, *keys)
        return found
