"""The one table that turns what asyncpg and the system raise into the errors of db.door."""

import asyncio
from typing import Final

import asyncpg

from db.door import DatabaseUnavailable, RuleViolated


class Collision(DatabaseUnavailable):
    """Two transactions got in each other's way, and this one was rolled back whole: it may simply run again."""


class SchemaMissing(Collision):
    """A table is not there: the database was replaced by an empty one. The next attempt applies the schema again."""


# What the driver may raise. asyncio.CancelledError is among them because asyncpg cancels its own futures when a
# connection is lost; trio-asyncio has already turned a cancellation of ours into trio.Cancelled.
FOREIGN: Final = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncio.CancelledError,
    OSError,
    TimeoutError,
)

# First match wins, so the narrow classes come first.
_MEANINGS: Final[tuple[tuple[type[BaseException], type[Exception]], ...]] = (
    (asyncpg.SerializationError, Collision),
    (asyncpg.DeadlockDetectedError, Collision),
    (asyncpg.IntegrityConstraintViolationError, RuleViolated),
    (asyncpg.UndefinedTableError, SchemaMissing),
    (asyncpg.PostgresConnectionError, DatabaseUnavailable),
    (
        asyncpg.OperatorInterventionError,
        DatabaseUnavailable,
    ),  # shut down, crashed, starting up, cancelled by an operator
    (asyncpg.InsufficientResourcesError, DatabaseUnavailable),  # too many connections, disk full
    (asyncpg.InvalidAuthorizationSpecificationError, DatabaseUnavailable),
    (asyncpg.InvalidCatalogNameError, DatabaseUnavailable),
    (asyncpg.InsufficientPrivilegeError, DatabaseUnavailable),  # mended by a GRANT, not by this process
    (asyncpg.LockNotAvailableError, DatabaseUnavailable),
    (asyncpg.IdleInTransactionSessionTimeoutError, DatabaseUnavailable),
    (asyncpg.ReadOnlySQLTransactionError, DatabaseUnavailable),  # a standby, during a failover
    (asyncpg.ClientConfigurationError, DatabaseUnavailable),
    (asyncpg.InternalClientError, DatabaseUnavailable),
    (asyncio.CancelledError, DatabaseUnavailable),
    (OSError, DatabaseUnavailable),  # TimeoutError is one
)


def not_connected(error: BaseException) -> BaseException:
    """What `error`, met while a connection was made, means. If nobody answered, it asks whether the server is there."""
    meant = translated(error, connection_lost=True) or error
    if isinstance(error, OSError) and isinstance(meant, DatabaseUnavailable):
        return DatabaseUnavailable(f"{meant.reason}; is the server of DATABASE_URL up?")
    return meant


def translated(error: BaseException, *, connection_lost: bool = False) -> Exception | None:
    """The error of ours that `error` means, or None if it is a mistake in our own use of the driver.

    With `connection_lost`, the InterfaceError for working on a closed connection counts as a lost database too.
    """
    if isinstance(error, DatabaseUnavailable | RuleViolated):
        return error
    # The server's DETAIL quotes whole rows, customers' data among them; its message does not.
    text = str(error.args[0]) if isinstance(error, asyncpg.PostgresError) and error.args else str(error)
    reason = f"{type(error).__name__}: {' '.join(text.split())}".rstrip(": ")
    for foreign, ours in _MEANINGS:
        if isinstance(error, foreign):
            return ours(reason)
    if connection_lost:
        return DatabaseUnavailable(reason)
    return None
