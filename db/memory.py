"""The bank in memory, for virtual time and for tests without a server. Trio only, and repeatable.

Transactions run one after another under one lock, each on a copy of the tables, which replaces them when it commits.
The rules of schema.sql are written here a second time; the conformance tests hold both to the same behaviour.
"""

import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import attrs
import msgspec
import trio

from db.door import (
    DELIVERY_ORDER,
    Answer,
    CallSession,
    Card,
    CardStatus,
    Database,
    DeliveryStatus,
    Effect,
    KnownCall,
    LedgerConflict,
    PoolStatistics,
    Refusal,
    Replacement,
    RuleViolated,
    User,
    check_columns,
    check_ledger_key,
    matching_rows,
)
from db.issuing import issued_last4, renewed
from db.memory_tables import Bank, Sequences
from db.seed import BankFiles, read_bank_files, seed_records
from runtime import limits

EPOCH: Final = datetime(2026, 2, 2, 9, 0, tzinfo=UTC)  # when a bank in memory opens; behind every seeded timestamp


@attrs.frozen
class MemoryWork:
    """`Work` on a copy of the bank. Each method is a checkpoint, as a query would be. Rows need no locks."""

    _bank: Bank
    _sequences: Sequences
    _now: Callable[[], datetime]
    _call_id: str
    _owner: int | None = None

    def of_customer(self, user_id: int) -> "MemoryWork":
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
        card = self._bank.cards[card_id]
        if card.status == "cancelled" and status != "cancelled":
            raise RuleViolated("a cancelled card stays cancelled")
        self._bank.cards[card_id] = attrs.evolve(card, status=status)
        return self._bank.cards[card_id]

    async def issue_card(self, old: Card) -> Card:
        await trio.lowlevel.checkpoint()
        card_id = self._sequences.following("cards")
        card = Card(card_id, old.user_id, issued_last4(card_id), old.kind, "active", renewed(old.expires))
        self._bank.cards[card_id] = card
        return card

    async def add_replacement(self, old: Card, new: Card) -> Replacement:
        await trio.lowlevel.checkpoint()
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
        found = self._bank.replacements[replacement_id]
        if DELIVERY_ORDER.index(status) < DELIVERY_ORDER.index(found.status):
            raise RuleViolated("a delivery only moves forward")
        self._bank.replacements[replacement_id] = attrs.evolve(found, status=status, updated_at=self._now())
        return self._bank.replacements[replacement_id]


@attrs.frozen
class Entry:
    """One row of the ledger."""

    fingerprint: str
    answer: Answer
    answered_at: datetime


@attrs.frozen
class CallNote:
    """What pods have told of one call."""

    started_at: datetime
    vapi_call_id: str | None = None
    pod_id: str | None = None
    over: bool = False


@attrs.define
class MemoryDatabase:
    """`Database` in memory."""

    _bank: Bank
    _sequences: Sequences
    _key: bytes
    _now: Callable[[], datetime]
    _ledger: dict[tuple[str, str], Entry] = attrs.field(factory=dict)
    _calls: dict[str, CallNote] = attrs.field(factory=dict)
    _transaction: trio.Lock = attrs.field(factory=trio.Lock)

    async def run_once(self, call_id: str, tool_call_id: str, fingerprint: str, effect: Effect) -> Answer:
        check_ledger_key(call_id, tool_call_id)
        async with self._transaction:
            entry = self._ledger.get((call_id, tool_call_id))
            if entry is not None:
                if entry.fingerprint != fingerprint:
                    raise LedgerConflict(call_id, tool_call_id)
                return attrs.evolve(entry.answer, stored=True)
            bank = self._bank.copy()
            try:
                result = await effect(MemoryWork(bank, self._sequences, self._now, call_id))
                answer = Answer(msgspec.json.decode(msgspec.json.encode(result)))
            except Refusal as refusal:
                answer, bank = Answer(None, refusal.line), self._bank
            # The commit: no checkpoint from here on, so a cancellation comes before it or after it.
            self._bank = bank
            self._ledger[call_id, tool_call_id] = Entry(fingerprint, answer, self._now())
            self._calls |= {id_: CallNote(self._now()) for id_ in bank.sessions if id_ not in self._calls}
            return answer

    async def answers(self, call_id: str, tool_call_ids: Sequence[str]) -> dict[str, Answer]:
        check_ledger_key(call_id, *tool_call_ids)
        await trio.lowlevel.checkpoint()
        found = {id_: self._ledger.get((call_id, id_)) for id_ in tool_call_ids}
        return {id_: attrs.evolve(entry.answer, stored=True) for id_, entry in found.items() if entry is not None}

    async def keep_call(self, call_id: str, vapi_call_id: str, pod_id: str) -> None:
        check_ledger_key(call_id, vapi_call_id)
        await trio.lowlevel.checkpoint()
        note = self._calls.get(call_id, CallNote(self._now()))
        self._calls[call_id] = attrs.evolve(note, vapi_call_id=vapi_call_id, pod_id=pod_id)

    async def end_call(self, call_id: str) -> None:
        await trio.lowlevel.checkpoint()
        self._calls[call_id] = attrs.evolve(self._calls.get(call_id, CallNote(self._now())), over=True)

    async def end_calls_of(self, pod_id: str) -> int:
        await trio.lowlevel.checkpoint()
        left = [call_id for call_id, note in self._calls.items() if note.pod_id == pod_id and not note.over]
        self._calls.update({call_id: attrs.evolve(self._calls[call_id], over=True) for call_id in left})
        return len(left)

    async def find_call(self, *, call_id: str | None = None, vapi_call_id: str | None = None) -> KnownCall | None:
        check_ledger_key(*(id_ for id_ in (call_id, vapi_call_id) if id_ is not None))
        await trio.lowlevel.checkpoint()
        oldest = self._now() - timedelta(seconds=limits.CALL_MOST_SECONDS + limits.SETUP_SECONDS)
        for id_, note in sorted(self._calls.items(), key=lambda item: item[1].started_at, reverse=True):
            if id_ == call_id or (vapi_call_id is not None and note.vapi_call_id == vapi_call_id):
                over = note.over or note.started_at < oldest
                return KnownCall(id_, note.vapi_call_id, note.pod_id is not None and not over, over, note.pod_id)
        return None

    async def webhook_key(self) -> bytes:
        await trio.lowlevel.checkpoint()
        return self._key

    async def purge_answers(self) -> int:
        await trio.lowlevel.checkpoint()
        oldest = self._now() - timedelta(hours=limits.LEDGER_HOURS)
        self._calls = {id_: note for id_, note in self._calls.items() if note.started_at >= oldest}
        self._bank.sessions = {id_: kept for id_, kept in self._bank.sessions.items() if id_ in self._calls}
        expired = [key for key, entry in self._ledger.items() if entry.answered_at < oldest]
        for key in expired:
            del self._ledger[key]
        return len(expired)

    async def rows(self, table: str, where: Mapping[str, Any]) -> list[dict[str, Any]]:
        check_columns(table, where)
        await trio.lowlevel.checkpoint()
        return matching_rows((record for _, record in sorted(getattr(self._bank, table).items())), where)

    async def ping(self) -> None:
        await trio.lowlevel.checkpoint()

    def statistics(self) -> PoolStatistics:
        used = int(self._transaction.locked())
        return PoolStatistics(used, 1 - used, 1, last_query_worked=True)


@asynccontextmanager
async def open_memory_database(
    *,
    webhook_key: bytes | None = None,
    now: Callable[[], datetime] | None = None,
    files: BankFiles | None = None,
) -> AsyncIterator[Database]:
    """A bank in memory that holds the rows of seed.sql, for the body.

    `now` tells its wall clock; by default it follows Trio's clock from a fixed date on, so virtual time repeats.
    `webhook_key` is random unless given. `files` are read unless given: reading takes a thread, and a clock that
    jumps does not wait for one.
    """
    records = seed_records((files or await read_bank_files()).seed)
    opened = trio.current_time()
    yield MemoryDatabase(
        Bank(records["users"], records["cards"], records["replacements"]),
        Sequences(max(records["cards"]), max(records["replacements"])),
        webhook_key if webhook_key is not None else secrets.token_bytes(32),
        now or (lambda: EPOCH + timedelta(seconds=trio.current_time() - opened)),
    )
