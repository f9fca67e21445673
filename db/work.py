"""A transaction on PostgreSQL, as the effects of run_once see it."""

from typing import Any

import attrs

from db import queries
from db.door import Card, CardStatus, DeliveryStatus, Replacement, User
from db.session import Session


@attrs.frozen
class PostgresWork:
    """`Work` on one connection inside its open transaction."""

    _session: Session

    async def user(self, user_id: int) -> User | None:
        found: User | None = await self._session.call(queries.user, user_id)
        return found

    async def cards_of(self, user_id: int) -> list[Card]:
        return await self._list(queries.cards_of, user_id)

    async def cards_by_last4(self, last4: str) -> list[Card]:
        return await self._list(queries.cards_by_last4, last4)

    async def replacements_of(self, card_id: int) -> list[Replacement]:
        return await self._list(queries.replacements_of, card_id)

    async def lock_card(self, card_id: int) -> Card | None:
        found: Card | None = await self._session.call(queries.lock_card, card_id)
        return found

    async def lock_replacements_of(self, card_id: int) -> list[Replacement]:
        return await self._list(queries.lock_replacements_of, card_id)

    async def set_card_status(self, card_id: int, status: CardStatus) -> Card:
        card: Card = await self._session.call(queries.set_card_status, card_id, status)
        return card

    async def issue_card(self, old: Card) -> Card:
        card_id = await self._session.call(queries.next_card_id)
        card: Card = await self._session.call(queries.insert_card, card_id, old)
        return card

    async def add_replacement(self, old: Card, new: Card) -> Replacement:
        added: Replacement = await self._session.call(queries.insert_replacement, old, new)
        return added

    async def set_delivery_status(self, replacement_id: int, status: DeliveryStatus) -> Replacement:
        moved: Replacement = await self._session.call(queries.set_delivery_status, replacement_id, status)
        return moved

    async def _list(self, query: Any, key: int | str) -> list[Any]:
        found: list[Any] = await self._session.call(query, key)
        return found
