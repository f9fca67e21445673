"""The SQL, one function for one statement. These coroutines are asyncio's: only db.pool and db.work run them.

Statements are constants and every value is a parameter, so nothing a caller says can become SQL.
"""

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import asyncpg

from db.door import (
    CallSession,
    Card,
    CardStatus,
    DeliveryStatus,
    KnownCall,
    Replacement,
    User,
)
from db.issuing import issued_last4, renewed
from db.table import Table
from runtime import limits

USER_COLUMNS: Final = "user_id, full_name, phone, email, address"
CARD_COLUMNS: Final = "card_id, user_id, last4, kind, status, expires"
SESSION_COLUMNS: Final = "verified_user_id, failed_tries"
REPLACEMENT_COLUMNS: Final = "replacement_id, user_id, old_card_id, new_card_id, status, requested_at, updated_at"

_OWNED: Final = "($2::integer IS NULL OR user_id = $2)"

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


async def user(connection: Connection, user_id: int) -> User | None:
    row = await connection.fetchrow(f"SELECT {USER_COLUMNS} FROM users WHERE user_id = $1", user_id)
    return None if row is None else User(**row)


async def cards_of(connection: Connection, user_id: int) -> list[Card]:
    rows = await connection.fetch(f"SELECT {CARD_COLUMNS} FROM cards WHERE user_id = $1 ORDER BY card_id", user_id)
    return [Card(**row) for row in rows]


# `owner`: only this customer's rows, or everybody's when it is None. It is part of the search, so that another's row
# is neither locked nor waited for.


async def holders(connection: Connection, last4: str, owner: int | None) -> list[User]:
    rows = await connection.fetch(
        f"SELECT {USER_COLUMNS} FROM users WHERE user_id IN (SELECT user_id FROM cards WHERE last4 = $1) AND {_OWNED}"
        " ORDER BY user_id",
        last4,
        owner,
    )
    return [User(**row) for row in rows]


async def cards_by_last4(connection: Connection, last4: str, owner: int | None) -> list[Card]:
    rows = await connection.fetch(
        f"SELECT {CARD_COLUMNS} FROM cards WHERE last4 = $1 AND {_OWNED} ORDER BY card_id", last4, owner
    )
    return [Card(**row) for row in rows]


async def lock_card(connection: Connection, card_id: int, owner: int | None) -> Card | None:
    row = await connection.fetchrow(
        f"SELECT {CARD_COLUMNS} FROM cards WHERE card_id = $1 AND {_OWNED} FOR UPDATE", card_id, owner
    )
    return None if row is None else Card(**row)


async def replacements_of(connection: Connection, card_id: int, owner: int | None) -> list[Replacement]:
    return await _replacements(connection, card_id, owner, "")


async def lock_replacements_of(connection: Connection, card_id: int, owner: int | None) -> list[Replacement]:
    return await _replacements(connection, card_id, owner, " FOR UPDATE")


async def _replacements(connection: Connection, card_id: int, owner: int | None, lock: str) -> list[Replacement]:
    rows = await connection.fetch(
        f"SELECT {REPLACEMENT_COLUMNS} FROM replacements WHERE $1 IN (old_card_id, new_card_id) AND {_OWNED}"
        f" ORDER BY replacement_id{lock}",
        card_id,
        owner,
    )
    return [Replacement(**row) for row in rows]


async def set_card_status(connection: Connection, card_id: int, owner: int | None, status: CardStatus) -> Card | None:
    row = await connection.fetchrow(
        f"UPDATE cards SET status = $3 WHERE card_id = $1 AND {_OWNED} RETURNING {CARD_COLUMNS}", card_id, owner, status
    )
    return None if row is None else Card(**row)


async def next_card_id(connection: Connection) -> int:
    card_id: int = await connection.fetchval("SELECT nextval(pg_get_serial_sequence('cards', 'card_id'))::integer")
    return card_id


async def insert_card(connection: Connection, card_id: int, old: Card) -> Card:
    row = await connection.fetchrow(
        f"INSERT INTO cards ({CARD_COLUMNS}) VALUES ($1, $2, $3, $4, 'active', $5) RETURNING {CARD_COLUMNS}",
        card_id,
        old.user_id,
        issued_last4(card_id),
        old.kind,
        renewed(old.expires),
    )
    return Card(**row)


async def insert_replacement(connection: Connection, old: Card, new: Card) -> Replacement:
    row = await connection.fetchrow(
        "INSERT INTO replacements (user_id, old_card_id, new_card_id, status) VALUES ($1, $2, $3, 'requested')"
        f" RETURNING {REPLACEMENT_COLUMNS}",
        old.user_id,
        old.card_id,
        new.card_id,
    )
    return Replacement(**row)


async def set_delivery_status(
    connection: Connection, replacement_id: int, owner: int | None, status: DeliveryStatus
) -> Replacement | None:
    row = await connection.fetchrow(
        f"UPDATE replacements SET status = $3, updated_at = now() WHERE replacement_id = $1 AND {_OWNED}"
        f" RETURNING {REPLACEMENT_COLUMNS}",
        replacement_id,
        owner,
        status,
    )
    return None if row is None else Replacement(**row)


async def claim_answer(connection: Connection, call_id: str, tool_call_id: str, fingerprint: str) -> bool:
    """Make this id ours. Waits for another transaction that has claimed it; false if that one committed."""
    claimed = await connection.fetchval(
        "INSERT INTO tool_answers (call_id, tool_call_id, fingerprint) VALUES ($1, $2, $3)"
        " ON CONFLICT DO NOTHING RETURNING true",
        call_id,
        tool_call_id,
        fingerprint,
    )
    return bool(claimed)


async def fill_answer(
    connection: Connection, call_id: str, tool_call_id: str, result: str | None, error: str | None
) -> None:
    await connection.execute(
        "UPDATE tool_answers SET result = $3, error = $4 WHERE call_id = $1 AND tool_call_id = $2",
        call_id,
        tool_call_id,
        result,
        error,
    )


async def stored_answers(connection: Connection, call_id: str, tool_call_ids: Sequence[str]) -> list[Any]:
    """Rows of tool_call_id, fingerprint, result (JSON text or None), error."""
    rows: list[Any] = await connection.fetch(
        "SELECT tool_call_id, fingerprint, result, error FROM tool_answers"
        " WHERE call_id = $1 AND tool_call_id = ANY($2::text[])",
        call_id,
        list(tool_call_ids),
    )
    return rows


async def purge_answers(connection: Connection) -> int:
    await connection.execute("DELETE FROM calls WHERE started_at < now() - interval '24 hours'")
    status = await connection.execute("DELETE FROM tool_answers WHERE answered_at < now() - interval '24 hours'")
    return int(status.rpartition(" ")[2])  # "DELETE 3"


async def keep_webhook_key(connection: Connection, fresh: bytes) -> bytes:
    """The key in the database; `fresh` becomes it if there is none. Two statements, so as to see a rival's row."""
    await connection.execute(
        "INSERT INTO process_keys (name, value) VALUES ('webhook', $1) ON CONFLICT DO NOTHING", fresh
    )
    key: bytes = await connection.fetchval("SELECT value FROM process_keys WHERE name = 'webhook'")
    return key


async def records(connection: Connection, table: Table) -> list[Any]:
    """A whole table by primary key."""
    columns = ", ".join(f'"{column}"' for column in table.columns)
    rows = await connection.fetch(f'SELECT {columns} FROM "{table.name}" ORDER BY 1')
    return [table.record(**row) for row in rows]


async def session(connection: Connection, call_id: str) -> CallSession:
    return _session(await connection.fetchrow(f"SELECT {SESSION_COLUMNS} FROM calls WHERE call_id = $1", call_id))


async def lock_session(connection: Connection, call_id: str) -> CallSession:
    await connection.execute("INSERT INTO calls (call_id) VALUES ($1) ON CONFLICT DO NOTHING", call_id)
    return _session(
        await connection.fetchrow(f"SELECT {SESSION_COLUMNS} FROM calls WHERE call_id = $1 FOR UPDATE", call_id)
    )


def _session(row: Any) -> CallSession:
    return CallSession() if row is None else CallSession(row["verified_user_id"], row["failed_tries"])


async def keep_session(connection: Connection, call_id: str, kept: CallSession) -> None:
    await connection.execute(
        "INSERT INTO calls (call_id, verified_user_id, failed_tries) VALUES ($1, $2, $3) ON CONFLICT (call_id)"
        " DO UPDATE SET verified_user_id = EXCLUDED.verified_user_id, failed_tries = EXCLUDED.failed_tries",
        call_id,
        kept.user_id,
        kept.failed_tries,
    )


async def keep_call(connection: Connection, call_id: str, vapi_call_id: str, pod_id: str) -> None:
    await connection.execute(
        "INSERT INTO calls (call_id, vapi_call_id, pod_id) VALUES ($1, $2, $3) ON CONFLICT (call_id)"
        " DO UPDATE SET vapi_call_id = EXCLUDED.vapi_call_id, pod_id = EXCLUDED.pod_id",
        call_id,
        vapi_call_id,
        pod_id,
    )


async def end_call(connection: Connection, call_id: str) -> None:
    await connection.execute(
        "INSERT INTO calls (call_id, over_at) VALUES ($1, now()) ON CONFLICT (call_id)"
        " DO UPDATE SET over_at = coalesce(calls.over_at, now())",
        call_id,
    )


async def end_calls_of(connection: Connection, pod_id: str) -> int:
    status = await connection.execute("UPDATE calls SET over_at = now() WHERE pod_id = $1 AND over_at IS NULL", pod_id)
    return int(status.rpartition(" ")[2])  # "UPDATE 3"


async def find_call(connection: Connection, call_id: str | None, vapi_call_id: str | None) -> KnownCall | None:
    """Live: carried by a pod, not over, and not older than Vapi lets a call become."""
    row = await connection.fetchrow(
        "SELECT call_id, vapi_call_id, pod_id IS NOT NULL AND NOT over AS live, over, pod_id FROM calls,"
        " LATERAL (SELECT over_at IS NOT NULL OR started_at < now() - make_interval(secs => $3) AS over) ends"
        " WHERE call_id = $1 OR vapi_call_id = $2 ORDER BY started_at DESC LIMIT 1",
        call_id,
        vapi_call_id,
        limits.CALL_MOST_SECONDS + limits.SETUP_SECONDS,
    )
    return None if row is None else KnownCall(**row)


async def ping(connection: Connection) -> None:
    await connection.fetchval("SELECT 1 FROM tool_answers LIMIT 1")
