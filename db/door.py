"""What the rest of the program knows of the database: records, errors and two protocols. Nothing here does I/O.

Two implementations stand behind the door, `db.pool` (PostgreSQL) and `db.memory`, and one set of tests runs on both.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import date, datetime
from typing import Any, Final, Literal, Protocol, TypeVar
from urllib.parse import parse_qs, urlsplit

import attrs

Row = TypeVar("Row")
CardKind = Literal["debit", "credit"]
CardStatus = Literal["active", "frozen", "cancelled"]
DeliveryStatus = Literal["requested", "mailed", "delivered"]

# The order in which a replacement travels; it never goes back.
DELIVERY_ORDER: Final[tuple[DeliveryStatus, ...]] = ("requested", "mailed", "delivered")


@attrs.frozen
class User:
    """A customer. The fields are the columns of the table `users`, in its order."""

    user_id: int
    full_name: str
    phone: str
    email: str
    address: str


@attrs.frozen
class Card:
    """A card. `last4` may belong to several cards; `card_id` to one. `expires` is the last day it can be used."""

    card_id: int
    user_id: int
    last4: str
    kind: CardKind
    status: CardStatus
    expires: date


@attrs.frozen
class Replacement:
    """One card sent in place of another of the same customer. Open until `delivered`."""

    replacement_id: int
    user_id: int
    old_card_id: int
    new_card_id: int
    status: DeliveryStatus
    requested_at: datetime
    updated_at: datetime


@attrs.frozen
class CallSession:
    """Whom the caller of one call has proved to be, and how many tries went wrong."""

    user_id: int | None = None
    failed_tries: int = 0


@attrs.frozen
class KnownCall:
    """A call as its pod has told the database.

    `live`: a tool may still be run for it. `over`: none may. Neither: no pod has told of it yet.
    """

    call_id: str
    vapi_call_id: str | None
    live: bool = False
    over: bool = False
    pod_id: str | None = None
    """Who has told of it as live."""


@attrs.frozen
class PoolStatistics:
    """Connections to the server now, and the most that there may be. `last_query_worked`: None before the first."""

    used: int
    idle: int
    most: int
    last_query_worked: bool | None = None


class Refusal(Exception):
    """A business rule said no. `line` is one line meant for the model: no ids of ours, no internals."""

    def __init__(self, line: str) -> None:
        self.line = line
        super().__init__(line)


class RuleViolated(Exception):
    """The schema itself refused a change (constraint or trigger): a tool did not check, or raced past its check."""


class DatabaseUnavailable(Exception):
    """The database cannot be reached, was lost, or did not answer in time. What was asked may be asked again."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"database unavailable: {reason}")


class BadDatabaseUrl(ValueError):
    """DATABASE_URL is malformed. The message is one line, and never quotes the URL: it may hold a password."""


class BadLedgerKey(ValueError):
    """A call id or tool call id that the ledger cannot keep: empty, over 200 characters, or not plain text."""


class LedgerConflict(Exception):
    """The same tool call id came again with another tool or other arguments. Nothing was run."""

    def __init__(self, call_id: str, tool_call_id: str) -> None:
        self.call_id = call_id
        self.tool_call_id = tool_call_id
        super().__init__(f"tool call {tool_call_id!r} of call {call_id!r} came again with other arguments")


@attrs.frozen
class Answer:
    """What a tool call gets. With `error` set it was refused; else `result` is its JSON value (which may be null).

    `stored` is true when it came from the ledger: the tool did not run now.
    """

    result: Any | None
    error: str | None = None
    stored: bool = False

    def __attrs_post_init__(self) -> None:
        if self.error is not None and self.result is not None:
            raise ValueError("an answer holds a result or an error, not both")


class Work(Protocol):
    """One transaction's view of the bank. A `lock_…` keeps its row for this transaction until it ends.

    Every method raises DatabaseUnavailable when the connection is lost, and RuleViolated when the schema refuses.
    Only valid while the effect that received it runs.
    """

    def of_customer(self, user_id: int) -> "Work":
        """The same transaction, in which nothing but this customer's rows is there: others' are neither found, locked
        nor changed, so they cannot be told from rows that do not exist. There is no way back, nor to another customer:
        LookupError, as for a row that is not there."""

    async def lock_session(self) -> CallSession:
        """The session of the call that this transaction belongs to; nobody else changes it until it ends."""

    async def session(self) -> CallSession:
        """As lock_session, without the lock."""

    async def keep_session(self, session: CallSession) -> None: ...

    async def holders(self, last4: str) -> list[User]:
        """The customers who hold a card with these digits, by user id. One query, whatever it finds."""

    async def user(self, user_id: int) -> User | None: ...

    async def cards_of(self, user_id: int) -> list[Card]:
        """A customer's cards, by card id."""

    async def cards_by_last4(self, last4: str) -> list[Card]:
        """Every card with these digits, by card id."""

    async def replacements_of(self, card_id: int) -> list[Replacement]:
        """Every replacement that sends this card away or brings it, by replacement id."""

    async def lock_card(self, card_id: int) -> Card | None: ...

    async def lock_replacements_of(self, card_id: int) -> list[Replacement]:
        """As replacements_of, with the rows locked."""

    async def set_card_status(self, card_id: int, status: CardStatus) -> Card: ...

    async def issue_card(self, old: Card) -> Card:
        """A new active card in the same hands, of the same kind. Its last four digits follow from its id."""

    async def add_replacement(self, old: Card, new: Card) -> Replacement: ...

    async def set_delivery_status(self, replacement_id: int, status: DeliveryStatus) -> Replacement: ...

    # Tables of one's own (db/tables/), by the class of their records. The bank's may be searched as well. In the
    # view of one customer, a table with a `user_id` holds that customer's rows alone.

    async def find(self, record: type[Row], **where: Any) -> list[Row]:
        """The rows whose columns have these values, by primary key."""

    async def lock(self, record: type[Row], **where: Any) -> list[Row]:
        """As find, with the rows locked."""

    async def add(self, record: type[Row], **values: Any) -> Row:
        """A new row. The primary key may be left out, and what has a default in the record."""

    async def change(self, row: Row, **values: Any) -> Row:
        """The same row with these values. LookupError: it is not there."""

    async def remove(self, row: Any) -> None:
        """LookupError: it is not there."""

    async def now(self) -> datetime:
        """The database's time, in UTC. In virtual time it is virtual too, and the same in each run."""


Effect = Callable[[Work], Awaitable[Any]]


class Database(Protocol):
    """The door. Any Trio task of the process may use it, and several at once.

    Every method raises DatabaseUnavailable in bounded time; cancelled, it leaves nothing half done.
    """

    async def run_once(self, call_id: str, tool_call_id: str, fingerprint: str, effect: Effect) -> Answer:
        """Run `effect` once for this id, ever, and keep its answer in the same transaction.

        A second caller waits for the first one's commit and gets its answer; if that rolled back, it runs itself.
        What `effect` returns must be a JSON value once msgspec has turned dates and attrs classes into one.
        A Refusal undoes the effect and is kept as the answer's `error`. Any other exception undoes everything and
        propagates. `effect` may run again after a deadlock, so it must keep no state outside its Work.

        Raises BadLedgerKey, and LedgerConflict when the id was used with another fingerprint.
        Cancelled: rolled back whole, unless the commit was already under way; then it is finished first.
        """

    async def answers(self, call_id: str, tool_call_ids: Sequence[str]) -> dict[str, Answer]:
        """The stored answers of these ids; those never answered are left out."""

    async def keep_call(self, call_id: str, vapi_call_id: str, pod_id: str) -> None:
        """This pod carries this call: other pods on this database may run its tools."""

    async def end_call(self, call_id: str) -> None:
        """No tool is run for it any more. A call that nobody has told of becomes known as over."""

    async def end_calls_of(self, pod_id: str) -> int:
        """A pod that starts has no calls: end those it left behind. How many they were."""

    async def find_call(self, *, call_id: str | None = None, vapi_call_id: str | None = None) -> KnownCall | None:
        """By one of its ids; the newest, should Vapi's be there twice."""

    async def webhook_key(self) -> bytes:
        """32 random bytes, made once and the same for everybody who shares the database."""

    async def purge_answers(self) -> int:
        """Forget answers and calls older than 24 hours; how many answers they were."""

    async def rows(self, table: str, where: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Rows as JSON values, by primary key, whose columns equal the JSON values in `where`.

        `table` is one of db.table.all_tables(). Raises ValueError for a table or column that does not exist.
        """

    async def ping(self) -> None:
        """Return if the database answers and holds the schema."""

    def statistics(self) -> PoolStatistics:
        """How it is used at this moment. Asks the server nothing."""


def check_ledger_key(*ids: str) -> None:
    """Raise BadLedgerKey unless every id is 1 to 200 characters that PostgreSQL can store as text."""
    for text in ids:
        # A lone surrogate, which JSON can carry, is not printable; neither is NUL, which PostgreSQL refuses.
        if not 1 <= len(text) <= 200 or not text.isprintable():
            raise BadLedgerKey("a ledger id must be 1 to 200 printable characters")


def check_database_url(url: str) -> None:
    """Raise BadDatabaseUrl, without connecting, unless `url` can be a PostgreSQL address."""
    expected = "expected postgresql://user:password@host:port/database"
    if "#" in url:  # first: behind it nothing is where it should be
        raise BadDatabaseUrl("DATABASE_URL has a # in it: write it as %23 in a password")
    try:
        parts = urlsplit(url)
        # libpq and asyncpg take several hosts with commas between them; each may carry a port.
        hosts = [urlsplit(f"//{host}") for host in parts.netloc.rpartition("@")[2].split(",")]
        ports = [host.port for host in hosts]
    except ValueError:
        raise BadDatabaseUrl(f"DATABASE_URL has a bad host or port: {expected}") from None
    if parts.scheme not in ("postgresql", "postgres"):
        raise BadDatabaseUrl(f"DATABASE_URL must begin with postgresql://, {expected}")
    if 0 in ports or any(character.isspace() for character in url):
        raise BadDatabaseUrl(f"DATABASE_URL has a port of 0 or a space in it: {expected}")
    if not all(host.hostname for host in hosts) and not parse_qs(parts.query).get("host"):
        raise BadDatabaseUrl(f"DATABASE_URL names no host: {expected}, or ?host=/folder for a socket")
    if "/" in parts.path.removeprefix("/"):
        raise BadDatabaseUrl(f"DATABASE_URL has more than one name behind the host: {expected}")
