"""The doors of this process, and what stands behind them: opened here, in this order, closed in reverse.

voice door (callers) · webhook door (Vapi's tool calls) · and behind both: the database, the reporter, VapiCalls.
"""

import errno
import os
import signal
import socket as stdlib_socket
import ssl
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import attrs
import structlog
import trio

from actors.engine_reporter import EngineReporter
from actors.vapi_calls import VapiCalls
from db.door import Database, DatabaseUnavailable
from runtime import limits
from runtime.errors import StartError
from runtime.house import House
from runtime.http_client import open_http_client
from runtime.http_door import HttpDoor
from runtime.record import EventSink
from runtime.settings import Bind, Settings
from runtime.supervisor import Restart, Started, Supervisor, open_supervisor
from runtime.vapi_api import VapiApi
from runtime.voice_door import VoiceDoor
from runtime.webhook import webhook_app
from tools.registry import bank_tools

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger(actor="Doors")


@attrs.frozen(eq=False)
class Doors:
    """Open doors. `voice_url` is what a caller on this machine connects to."""

    voice_url: str
    webhook: str
    house: House
    supervisor: Supervisor


async def _listen(setting: str, bind: Bind) -> list[trio.SocketListener]:
    """Raises StartError in one line when the address cannot be had."""
    try:
        if bind.unix_path is not None:
            return [trio.SocketListener(_unix_socket(bind.unix_path))]
        return await trio.open_tcp_listeners(bind.port, host=bind.host)
    except OSError as exc:
        if exc.errno == errno.EADDRINUSE:
            why = "it is taken by another program; stop that one or choose another"
        else:
            why = exc.strerror or str(exc)
        raise StartError(f"{setting}: cannot listen on {bind}: {why}") from exc


def _unix_socket(path: str) -> trio.socket.SocketType:
    with suppress(FileNotFoundError):
        if stat.S_ISSOCK(os.stat(path).st_mode):
            os.unlink(path)  # left behind by a process that was killed
    sock = trio.socket.socket(stdlib_socket.AF_UNIX, stdlib_socket.SOCK_STREAM)
    stdlib = stdlib_socket.socket(fileno=os.dup(sock.fileno()))
    with stdlib:
        stdlib.bind(path)
    sock.listen(128)
    return sock


def _port(listeners: list[trio.SocketListener]) -> int:
    return int(listeners[0].socket.getsockname()[1])


def _prompt(path: Path) -> str:
    try:
        prompt = path.read_text(encoding="utf-8").strip()
    except OSError as exc:
        line = f"AGENT_DESC: cannot read the assistant's instructions in {path}: {exc.strerror}; create the file"
        raise StartError(line) from exc
    if not prompt:
        raise StartError(f"AGENT_DESC: {path} is empty: write the assistant's instructions there")
    return prompt


def _ssl_context() -> ssl.SSLContext:
    """One context for Vapi's API and its WebSocket alike. `ssl` itself honours SSL_CERT_FILE."""
    named = os.environ.get("SSL_CERT_FILE")
    if named and not Path(named).is_file():
        raise StartError(f"SSL_CERT_FILE={named!r} is not a file")
    return ssl.create_default_context()


async def _webhook_key(settings: Settings, database: Database) -> bytes:
    if settings.webhook_key is not None:
        return settings.webhook_key.encode()
    try:
        with trio.fail_after(limits.DATABASE_START_SECONDS):
            return await database.webhook_key()
    except (DatabaseUnavailable, trio.TooSlowError) as exc:
        # The calls of this process work all the same; only a restart forgets them.
        _log.warning("webhook_key_not_kept", error=str(exc) or "the database did not answer")
        return os.urandom(32)


@asynccontextmanager
async def open_doors(
    settings: Settings, database: Database, sink: EventSink, signals: AsyncIterator[int] | None = None
) -> AsyncIterator[Doors]:
    """Open both doors. With `signals`, the first one ends the body and drains. The body is also cancelled
    when a door falls; `doors.supervisor.exits` then tells why.

    On the way out: no more calls, the running ones finish or are ended, every call at Vapi is ended,
    reports are flushed. Raises SettingsError and StartError, each in one line, before anything is open.
    """
    settings.require_vapi()
    prompt, ssl_context = _prompt(settings.agent_desc), _ssl_context()
    async with AsyncExitStack() as stack:
        voice_listeners = await _listen("PORT", Bind(settings.voice_host, settings.port))
        stack.push_async_callback(_close, voice_listeners)
        webhook_listeners = await _listen("WEBHOOK_BIND", settings.webhook_bind)
        stack.push_async_callback(_close, webhook_listeners)
        webhook = settings.webhook_bind
        if webhook.unix_path is None:
            webhook = attrs.evolve(webhook, port=_port(webhook_listeners))
        http = await stack.enter_async_context(open_http_client(ssl_context))
        reporter = EngineReporter(http, settings.engine_url, settings.simulation_id)
        stack.callback(reporter.drop_rest)
        vapi_calls = VapiCalls(VapiApi(http, settings.vapi_base_url, settings.vapi_api_key), ssl_context)
        process = await stack.enter_async_context(open_supervisor("process", _log))
        house = House(
            settings=settings,
            prompt=prompt,
            public_base_url=settings.public_base_url or f"http://{webhook.seen_from_here}",
            webhook_key=await _webhook_key(settings, database),
            registry=bank_tools(),
            database=database,
            vapi_calls=vapi_calls,
            reporter=reporter,
            sink=sink,
        )
        voice = VoiceDoor(house, voice_listeners)
        if signals is not None:
            watch = SignalWatch(signals, process.end, voice.end_calls_now)
            await process.start("SignalWatch", lambda: watch)
        await _start_all(process, house, voice, HttpDoor(webhook_app(house), webhook_listeners))
        voice_bind = Bind(settings.voice_host, _port(voice_listeners)).seen_from_here
        yield Doors(f"ws://{voice_bind}/voice", str(webhook), house, process)


async def _start_all(process: Supervisor, house: House, voice: VoiceDoor, webhook: HttpDoor) -> None:
    reporter, vapi_calls = house.reporter, house.vapi_calls
    await process.start(
        "EngineReporter",
        lambda: reporter,
        restart=Restart(),
        finish=reporter.close,
        stop_seconds=limits.REPORT_FLUSH_SECONDS,
    )
    await process.start("LedgerPurger", lambda: LedgerPurger(house.database), restart=Restart())
    await process.start(
        "VapiCalls",
        lambda: vapi_calls,
        significant=True,
        finish=vapi_calls.close,
        stop_seconds=limits.ORPHAN_SECONDS + limits.LOST_REPLY_SECONDS,
    )
    await process.start("WebhookDoor", lambda: webhook, significant=True)
    await process.start(
        "VoiceDoor",
        lambda: voice,
        significant=True,
        finish=voice.drain,
        stop_seconds=limits.DRAIN_SECONDS + limits.CALLS_END_SECONDS * 2,
    )


async def _close(listeners: list[trio.SocketListener]) -> None:
    for listener in listeners:
        await trio.aclose_forcefully(listener)


@attrs.define
class LedgerPurger:
    """Forgets answers after a day. Ends: never. Restart: yes. Cancelled: nothing is lost."""

    database: Database

    async def run(self, task_status: Started) -> None:
        task_status.started()
        while True:
            try:
                purged = await self.database.purge_answers()
                if purged:
                    _log.info("answers_purged", answers=purged)
            except DatabaseUnavailable as exc:
                _log.info("purge_postponed", error=str(exc))
            await trio.sleep(limits.LEDGER_PURGE_EVERY_SECONDS)


@attrs.define
class SignalWatch:
    """The first signal drains, a second one ends the calls now. An actor.

    Ends: never. Restart: never. Cancelled: nothing is lost. The first child started, so the last stopped:
    it is still listening while the others drain.
    """

    signals: AsyncIterator[int]
    drain: Callable[[], None]
    hurry: Callable[[], None]

    async def run(self, task_status: Started) -> None:
        task_status.started()
        first = True
        async for signum in self.signals:
            _log.info("draining" if first else "ending_calls_now", signal=signal.Signals(signum).name)
            if first:
                self.drain()
            else:
                self.hurry()
            first = False


async def stay_open(
    settings: Settings, database: Database, sink: EventSink, ready: Callable[[Doors], Awaitable[None]]
) -> bool:
    """Keep the doors open until SIGTERM or SIGINT, then drain; a second signal ends the calls now.

    Returns whether the end was asked for: False when a door fell.
    """
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with open_doors(settings, database, sink, signals) as doors:
            await ready(doors)
            await doors.supervisor.wait()
    return not any(exit_.error for exit_ in doors.supervisor.exits)
