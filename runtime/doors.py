"""The doors of this process, and what stands behind them: opened here, in this order, closed in reverse.

console door (the operator) · webhook door (Vapi's tool calls) · voice door (callers) · and behind them: the database,
the reporter, VapiCalls.
"""

import os
import secrets
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import attrs
import structlog
import trio

from actors.call_register import CallRegister
from actors.engine_reporter import EngineReporter
from actors.gateway_registrar import GatewayRegistrar
from actors.vapi_calls import VapiCalls
from console.app import Demo, console_app
from console.guard import ConsoleGuard
from console.view import Process
from db.door import Database, DatabaseUnavailable
from runtime import limits
from runtime.asgi_guard import Guard
from runtime.errors import StartError, StoppedAtStart
from runtime.garbage import ShortCollections
from runtime.house import House
from runtime.http_client import open_http_client
from runtime.http_door import HttpDoor
from runtime.ledger_purger import LedgerPurger
from runtime.listeners import Listeners, bound, listen_on_all
from runtime.metrics_collector import HouseCollector
from runtime.poller import Poller, kernel_poller
from runtime.pulse import Pulse
from runtime.record import EventSink
from runtime.recorder import Recorder
from runtime.recording_folder import RecordingFolder
from runtime.setting_values import Bind
from runtime.settings import Settings
from runtime.signal_watch import SignalWatch
from runtime.supervisor import Restart, Supervisor, open_supervisor
from runtime.switchboard import Switchboard
from runtime.tls import trusting
from runtime.tunnels.choose import choose_engine
from runtime.tunnels.tunnel import Tunnel
from runtime.tunnels.way_in import FixedAddress
from runtime.vapi_api import VapiApi
from runtime.vapi_slots import VapiSlots
from runtime.voice_door import VoiceDoor
from runtime.webhook import webhook_app
from tools.policy import prompt_under, tools_under

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger(actor="Doors")


@attrs.frozen(eq=False)
class Doors:
    """Open doors. `voice_url` is what a caller on this machine connects to."""

    voice_url: str
    webhook: str
    house: House
    supervisor: Supervisor
    console_url: str = ""
    """Empty where there is none."""


def _prompt(path: Path) -> str:
    try:
        prompt = path.read_text(encoding="utf-8").strip()
    except OSError as exc:
        line = f"AGENT_DESC: cannot read the assistant's instructions in {path}: {exc.strerror}; create the file"
        raise StartError(line) from exc
    except UnicodeDecodeError as exc:
        raise StartError(f"AGENT_DESC: {path} is not UTF-8 text: save it as UTF-8") from exc
    if not prompt:
        raise StartError(f"AGENT_DESC: {path} is empty: write the assistant's instructions there")
    return prompt


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
    settings: Settings,
    database: Database,
    sink: EventSink,
    signals: AsyncIterator[int] | None = None,
    poller: Poller | None = None,
    demo: Demo | None = None,
) -> AsyncIterator[Doors]:
    """Open the doors. With `signals`, the first one ends the body and drains. The body is also cancelled
    when a door falls; `doors.supervisor.exits` then tells why. `poller`: of the network that the doors are on; this
    machine's by default. `demo`: what the console's page may begin.

    On the way out: no more calls, the running ones finish or are ended, every call at Vapi is ended,
    reports are flushed. Raises SettingsError, StartError and StoppedAtStart, with nothing left open.
    """
    settings.require_vapi()
    engine = choose_engine(settings)
    prompt, ssl_context = _prompt(settings.agent_desc), trusting(settings.ssl_cert_file)
    registry = tools_under(settings.tool_policy, settings.tools)  # what is wrong with it is told before a port is open
    opened = False
    async with AsyncExitStack() as stack:
        listeners = await listen_on_all(settings, stack)
        http = await stack.enter_async_context(open_http_client(ssl_context))
        vapi = VapiApi(http, settings.vapi_base_url, settings.vapi_api_key)
        reporter = EngineReporter(http, settings.engine_url, settings.simulation_id)
        stack.callback(reporter.drop_rest)
        process = await stack.enter_async_context(open_supervisor("process", _log))
        watch = SignalWatch(signals, process.end)
        await process.start("SignalWatch", lambda: watch)
        switchboard = await _start_switchboard(process, poller or kernel_poller())
        webhook, nonce = bound(settings.webhook_bind, listeners.webhook), secrets.token_hex(8)
        tunnel = Tunnel(engine, settings, webhook.seen_from_here, http, nonce) if engine else None
        house = House(
            settings=settings,
            prompt=prompt_under(settings.tool_policy, prompt),
            way_in=tunnel or FixedAddress(settings.public_base_url or f"http://{webhook.seen_from_here}"),
            nonce=nonce,
            webhook_key=await _webhook_key(settings, database),
            registry=registry,
            database=database,
            vapi_calls=VapiCalls(vapi, ssl_context, switchboard, VapiSlots(settings.vapi_slots)),
            reporter=reporter,
            register=CallRegister(database, settings.pod_id),
            gateway=GatewayRegistrar(settings.haproxy_socket, settings.pod_id) if settings.haproxy_socket else None,
            recorder=Recorder(RecordingFolder(settings.recordings)) if settings.record_calls else None,
            sink=sink,
        )
        house.vapi_calls.on_created = house.created_at_vapi
        house.metrics.include(HouseCollector(house))
        voice = VoiceDoor(house, listeners.voice, switchboard)
        watch.hurry = voice.end_calls_now
        at = bound(Bind(settings.voice_host), listeners.voice).seen_from_here
        doors = Doors(f"ws://{at}/voice", str(webhook), house, process, _console_url(settings, listeners))
        if listeners.console:
            await _start_console(doors, listeners.console, switchboard, demo)
        await _start_recorder(process, house)
        await _start_all(process, house, tunnel, HttpDoor(webhook_app(house), listeners.webhook), voice)
        opened = True
        yield doors
    if not opened:  # the supervisor's end has cancelled the opening, and its scope has taken the cancellation
        raise _not_opened(process)


def _not_opened(process: Supervisor) -> StartError | StoppedAtStart:
    if any(exit_.error for exit_ in process.exits):
        return StartError("a door failed while it was being opened; the log says why")
    return StoppedAtStart()


async def _start_switchboard(process: Supervisor, poller: Poller) -> Switchboard:
    switchboard = Switchboard(poller)
    await process.start("Switchboard", lambda: switchboard, significant=True)
    return switchboard


def _console_url(settings: Settings, listeners: Listeners) -> str:
    if settings.console_bind is None:
        return ""
    at = bound(settings.console_bind, listeners.console).seen_from_here
    return str(at) if at.unix_path else f"http://{at}/"


async def _start_console(
    doors: Doors, listeners: list[trio.SocketListener], switchboard: Switchboard, demo: Demo | None
) -> None:
    """First of the doors, and closed last: it shows the others' way up, and how they drain."""
    house, process = doors.house, doors.supervisor
    pulse = Pulse(house.metrics.loop_lag)
    switchboard.observe = house.metrics.switchboard_turn
    await process.start("Pulse", lambda: pulse, restart=Restart())
    await process.start("Readiness", lambda: house.readiness, restart=Restart())
    app = console_app(Process(house, process, pulse, doors.voice_url), demo)
    door = HttpDoor(
        app,
        listeners,
        guard=lambda inner: ConsoleGuard(Guard(inner), house.settings.console_hosts),
        most=limits.CONSOLE_CONNECTIONS,
        idle_seconds=None,
    )
    await process.start("ConsoleDoor", lambda: door, significant=True)


async def _start_recorder(process: Supervisor, house: House) -> None:
    if (recorder := house.recorder) is not None:
        await process.start(
            "Recorder",
            lambda: recorder,
            restart=Restart(),
            finish=recorder.close,
            stop_seconds=limits.RECORD_STOP_SECONDS,
        )


async def _start_all(
    process: Supervisor, house: House, tunnel: Tunnel | None, webhook: HttpDoor, voice: VoiceDoor
) -> None:
    reporter, vapi_calls = house.reporter, house.vapi_calls
    await process.start(
        "EngineReporter",
        lambda: reporter,
        restart=Restart(),
        finish=reporter.close,
        stop_seconds=limits.REPORT_FLUSH_SECONDS,
    )
    await process.start(
        "CallRegister",
        lambda: house.register,
        restart=Restart(),
        finish=house.register.close,
        stop_seconds=limits.REGISTER_FLUSH_SECONDS,
    )
    if (gateway := house.gateway) is not None:
        await process.start("GatewayRegistrar", lambda: gateway, restart=Restart())
    await process.start("LedgerPurger", lambda: LedgerPurger(house.database), restart=Restart())
    await process.start(
        "VapiCalls",
        lambda: vapi_calls,
        significant=True,
        finish=vapi_calls.close,
        stop_seconds=limits.ORPHAN_SECONDS + limits.LOST_REPLY_SECONDS,
    )
    await process.start("WebhookDoor", lambda: webhook, significant=True)
    if tunnel is not None:
        await process.start("Tunnel", lambda: tunnel, restart=Restart(), stop_seconds=limits.TUNNEL_END_SECONDS)
    await process.start(
        "VoiceDoor",
        lambda: voice,
        significant=True,
        finish=voice.drain,
        stop_seconds=house.settings.drain_seconds + limits.CALLS_END_SECONDS + limits.CHILD_STOP_SECONDS,
    )


async def stay_open(
    settings: Settings, database: Database, sink: EventSink, ready: Callable[[Doors], Awaitable[None]]
) -> bool:
    """Keep the doors open until SIGTERM or SIGINT, then drain; a second signal ends the calls now.

    Returns whether the end was asked for: False when a door fell.
    """
    try:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async with open_doors(settings, database, sink, signals) as doors:
                ShortCollections().begin()
                await ready(doors)
                await doors.supervisor.wait()
    except StoppedAtStart:
        return True
    return not any(exit_.error for exit_ in doors.supervisor.exits)
