"""Where answers are kept: DATABASE_URL's server, looked at without changing it, or one of our own that could start."""

import fcntl
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import trio

from db.door import BadDatabaseUrl, DatabaseUnavailable
from db.look import DatabaseFacts, look_at_database
from db.server_binaries import EmbeddedServerError, find_binaries, server_user
from runtime.doctor.finding import Finding, one_line
from runtime.doctor.machine import folder_finding
from runtime.embedded_folder import embedded_folder
from runtime.settings import Reading

OLDEST_SERVER: Final = 150_000  # schema.sql is written for PostgreSQL 15 and later
# The server is there and says no: a matter of what DATABASE_URL says.
REFUSALS: Final = re.compile(r"InvalidPassword|InvalidAuthorization|InvalidCatalogName|ClientConfiguration")


async def look_at_store(reading: Reading) -> Sequence[Finding]:
    url = reading.settings.database_url
    if url is None:
        return await trio.to_thread.run_sync(_embedded, abandon_on_cancel=True)
    try:
        return [facts_finding(await look_at_database(url))]
    except BadDatabaseUrl as exc:
        return [Finding("wrong", "database", str(exc), "correct DATABASE_URL, or unset it for a server of our own")]
    except DatabaseUnavailable as exc:
        return [refused_finding(exc.reason)]


def facts_finding(facts: DatabaseFacts) -> Finding:
    said = f"PostgreSQL {facts.version}, database {facts.name!r}"
    if facts.version_number < OLDEST_SERVER:
        return Finding("wrong", "database", f"{said} is too old", f"use {OLDEST_SERVER // 10_000} or newer")
    if facts.read_only:
        advice = "let DATABASE_URL name the primary, or turn default_transaction_read_only off for this user"
        return Finding("wrong", "database", f"{said} takes no changes: a standby, or a read-only user", advice)
    if facts.missing and not facts.may_create:
        line = f"{said} has no table {', '.join(facts.missing)}, and this user may not create them"
        return Finding("wrong", "database", line, "GRANT CREATE ON SCHEMA …, or apply db/schema.sql as their owner")
    if not facts.may_write:
        line = f"{said}: this user may not write to tool_answers and calls"
        return Finding("wrong", "database", line, "GRANT SELECT, INSERT, UPDATE, DELETE on all tables of db/schema.sql")
    if facts.missing:
        return Finding("ok", "database", f"{said}; its tables are made with the first use")
    return Finding("ok", "database", f"{said}, with all tables")


def refused_finding(reason: str) -> Finding:
    if REFUSALS.match(reason):
        return Finding("wrong", "database", one_line(reason), "correct user, password and database in DATABASE_URL")
    advice = (
        "start the server, or correct host and port in DATABASE_URL; calls go on meanwhile, and tools answer errors"
    )
    return Finding("unreachable", "database", one_line(reason), advice)


def _embedded() -> Sequence[Finding]:
    try:
        server_user()
        programs = find_binaries().folder
        folder = embedded_folder()
    except EmbeddedServerError as exc:
        return [Finding("wrong", "database", one_line(exc), "set DATABASE_URL, or do as it says")]
    except OSError as exc:
        line = f"no folder for a server of our own: {one_line(exc)}"
        return [Finding("wrong", "database", line, "set DATABASE_URL, or run where this user may write")]
    room = folder_finding("disk", "DATABASE_URL, or run elsewhere", folder)
    if owner := _in_use_by(folder / "lock"):
        line = f"a server of our own, in {folder}, is in use by process {owner}"
        advice = "if that is the `voice serve` you mean, nothing; to start another, stop it or set DATABASE_URL"
        return [Finding("warning", "database", line, advice), room]
    line = f"DATABASE_URL is not set: a server of our own can start ({programs}), data in {folder}"
    return [Finding("ok", "database", line), room]


def _in_use_by(lock: Path) -> str:
    """The id of the process whose lock it is; empty when nobody's. A server that starts meanwhile tries again."""
    try:
        with lock.open() as held:
            try:
                fcntl.flock(held, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return held.read(20).strip() or "unknown"
    except OSError:
        pass  # there is none yet
    return ""
