"""`voice serve`, and what the sandbox's entry point shares with it: a database behind the doors."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import structlog

from db.door import BadDatabaseUrl, Database, check_database_url
from db.embedded import EmbeddedServerError, open_embedded_server
from db.pool import open_database
from runtime.doors import Doors, stay_open
from runtime.embedded_folder import embedded_folder
from runtime.errors import SettingsError, StartError
from runtime.logs import logging_sink
from runtime.settings import Settings
from runtime.tunnels.choose import choose_engine

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger(actor="Serve")


@asynccontextmanager
async def open_database_url(settings: Settings) -> AsyncIterator[str]:
    """DATABASE_URL when it is set, else that of an embedded server whose data stays (`embedded_folder`).

    Raises SettingsError and StartError.
    """
    if settings.database_url is not None:
        try:
            check_database_url(settings.database_url)
        except BadDatabaseUrl as exc:
            raise SettingsError(str(exc)) from exc
        _log.info("database", uses="DATABASE_URL")
        yield settings.database_url
        return
    folder = embedded_folder()
    async with AsyncExitStack() as stack:
        try:
            url = await stack.enter_async_context(open_embedded_server(folder))
        except EmbeddedServerError as exc:
            raise StartError(f"DATABASE_URL is not set and no server can be started: {exc}") from exc
        _log.info("database", uses="embedded server", data=str(folder))
        yield url


@asynccontextmanager
async def open_configured_database(settings: Settings) -> AsyncIterator[Database]:
    """At the address of `open_database_url`, which says what is raised.

    A server that is down is not an error: tools answer errors until it is back.
    """
    async with open_database_url(settings) as url, open_database(url) as database:
        yield database


async def serve(settings: Settings, ready: Callable[[Doors], Awaitable[None]]) -> bool:
    """Serve calls until told to stop. Raises SettingsError and StartError, each in one line."""
    settings.require_vapi()
    choose_engine(settings)
    async with open_configured_database(settings) as database:
        return await stay_open(settings, database, logging_sink(), ready)
