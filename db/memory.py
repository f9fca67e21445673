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
    Answer,
    Database,
    Effect,
    KnownCall,
    LedgerConflict,
    PoolStatistics,
    Refusal,
    check_ledger_key,
)
from db.memory_tables import Bank, Sequences, filled_tables
from db.memory_work import MemoryWork
from db.seed import BankFiles, read_bank_files
from db.table import matching_rows, table_named
from runtime import limits

EPOCH: Final = datetime(2026, 2, 2, 9, 0, tzinfo=UTC)  # when a bank in memory opens; behind every seeded timestamp


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
            bank, begun = self._bank.copy(), self._now()
            try:
                result = await effect(MemoryWork(bank, self._sequences, lambda: begun, call_id))
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
        kept = self._bank.rows(table_named(table, where))
        await trio.lowlevel.checkpoint()
        return matching_rows((record for _, record in sorted(kept.items())), where)

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
    files = files or await read_bank_files()
    opened = trio.current_time()
    yield MemoryDatabase(
        *filled_tables(files.seed),
        webhook_key if webhook_key is not None else secrets.token_bytes(32),
        now or (lambda: EPOCH + timedelta(seconds=trio.current_time() - opened)),
    )
