"""How a connection becomes a leg: a caller's that is accepted, and ours to Vapi.

trio-websocket does the handshake; the socket under it is ours, because the library neither bounds a handshake that
falls silent, nor closes the stream after an abnormal end, nor says Close to a peer that broke the protocol, nor notices
one that vanished, nor keeps an error of its reader to itself. So: we open and close the line (runtime/line.py), the
library's reader and the heartbeat (runtime/heartbeat.py) run behind the connection barrier, and every wait on the peer
has a deadline.
"""

import socket as stdlib_socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import cast
from urllib.parse import urlsplit

import attrs
import structlog
import trio
import trio_websocket

from runtime import frames, limits
from runtime.errors import NoAnswer
from runtime.heartbeat import Heartbeat
from runtime.leg import Message
from runtime.leg_stream import LegStream
from runtime.line import Line
from runtime.switchboard import Switchboard
from runtime.tls import Tls
from runtime.voice_ws import Framing
from runtime.ws_leg import WebSocketLeg, Wire

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger(actor="leg")


@attrs.frozen
class _Contained:
    """What trio-websocket is given as its nursery. Its reader and our heartbeat run behind the connection barrier."""

    nursery: trio.Nursery
    stream: LegStream
    rejections: list[trio_websocket.ConnectionRejected] = attrs.field(factory=list)

    def as_nursery(self) -> trio.Nursery:
        """All that the library asks of a nursery is `start_soon`."""
        return cast(trio.Nursery, self)

    def start_soon(self, task: Callable[[], Awaitable[None]]) -> None:
        self.nursery.start_soon(self._run, task)

    async def _run(self, task: Callable[[], Awaitable[None]]) -> None:
        try:
            await task()
        except trio_websocket.ConnectionRejected as exc:
            self.rejections.append(exc)
        except Exception as exc:  # noqa: BLE001  # the connection barrier: the library raises in its reader (its issue #184)
            _log.info("websocket_task_failed", error=repr(exc))
        finally:
            self.stream.ended.set()


class VapiWire:
    """Audio is bare, and nothing is forbidden."""

    farewell: str | None = None

    def decode(self, message: Message) -> Message:
        return message

    def encode(self, pcm: bytes) -> bytes | str:
        return pcm


def _open_leg(
    connection: trio_websocket.WebSocketConnection, tasks: _Contained, wire: Wire, stall_seconds: float
) -> WebSocketLeg:
    stream = tasks.stream
    encoder = frames.ClientFrames() if connection.is_client else frames.ServerFrames()
    leg = WebSocketLeg(connection, stream, wire, encoder, stall_seconds)
    stream.farewell, stream.came, stream.room = leg.farewell, leg.pull, leg.has_room
    stream.line.on_data = leg.on_data
    stream.tap.open()
    leg.pull()
    stream.read_on()
    tasks.start_soon(leg.give_on)
    tasks.start_soon(Heartbeat(stream, leg.ping).run)
    return leg


def tune(stream: trio.SocketStream) -> None:
    """Socket options of audio: no delay, a send buffer that holds about a second, dead peers noticed."""
    stream.setsockopt(stdlib_socket.IPPROTO_TCP, stdlib_socket.TCP_NODELAY, 1)
    stream.setsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_SNDBUF, limits.SOCKET_SEND_BUFFER_BYTES)
    user_timeout = getattr(stdlib_socket, "TCP_USER_TIMEOUT", None)  # Linux only
    if user_timeout is not None:
        stream.setsockopt(stdlib_socket.IPPROTO_TCP, user_timeout, limits.TCP_USER_TIMEOUT_MS)


@attrs.frozen
class Upgrade:
    """A caller's WebSocket request, not yet answered."""

    request: trio_websocket.WebSocketRequest
    _tasks: _Contained

    @property
    def path(self) -> str:
        return str(self.request.path)

    @property
    def headers(self) -> dict[str, str]:
        return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in self.request.headers}

    async def reject(self, status: int, line: str) -> None:
        with trio.move_on_after(limits.CLOSE_SECONDS):
            await self.request.reject(
                status, body=f"{line}\n".encode(), extra_headers=[(b"Content-Type", b"text/plain")]
            )

    async def accept(self, framing: Framing) -> WebSocketLeg:
        with trio.fail_after(limits.HANDSHAKE_SECONDS):
            connection = await self.request.accept()
        return _open_leg(connection, self._tasks, framing, limits.DOWNLINK_STALL_SECONDS)


@asynccontextmanager
async def _handshake_with(stream: LegStream) -> AsyncIterator[None]:
    """Gives the body up after HANDSHAKE_SECONDS, or when the peer is gone: the library would wait for ever."""
    with trio.move_on_after(limits.HANDSHAKE_SECONDS) as scope:
        async with trio.open_nursery() as waiting:

            async def give_up_at_the_end() -> None:
                await stream.ended.wait()
                scope.cancel()

            waiting.start_soon(give_up_at_the_end)
            yield
            waiting.cancel_scope.cancel()


async def receive_upgrade(nursery: trio.Nursery, line: Line) -> Upgrade | None:
    """Read a WebSocket request from `line` within HANDSHAKE_SECONDS; None when there was none."""
    tasks = _Contained(nursery, LegStream.on(line, "server", limits.CALLER_TEXT_BYTES))
    request: trio_websocket.WebSocketRequest | None = None
    async with _handshake_with(tasks.stream):
        request = await trio_websocket.wrap_server_stream(
            tasks.as_nursery(), tasks.stream, max_message_size=limits.CALLER_TEXT_BYTES
        )
    return Upgrade(request, tasks) if request is not None else None


@asynccontextmanager
async def dial_vapi(
    url: str, ssl_context: ssl.SSLContext, nursery: trio.Nursery, switchboard: Switchboard
) -> AsyncIterator[WebSocketLeg]:
    """Dial `websocketCallUrl` once. Raises NoAnswer(vapi_down). The socket is closed on the way out."""
    line = await _connect(url, ssl_context, switchboard)
    try:
        yield await _shake_hands(url, line, nursery)
    finally:
        line.close()


async def _connect(url: str, ssl_context: ssl.SSLContext, switchboard: Switchboard) -> Line:
    try:
        parts = urlsplit(url)
        secure = parts.scheme == "wss"
        port = parts.port or (443 if secure else 80)
        if parts.scheme not in ("ws", "wss") or not parts.hostname:
            raise ValueError
    except ValueError:
        raise NoAnswer("vapi_rejected", "Vapi's websocketCallUrl is not a WebSocket URL") from None
    try:
        with trio.fail_after(limits.HANDSHAKE_SECONDS):
            tls = Tls.towards(parts.hostname, ssl_context) if secure else None
            tcp = await trio.open_tcp_stream(parts.hostname, port)
            tune(tcp)
            line = switchboard.line(tcp.socket, tls)
            try:
                await line.wait_encrypted()
            except BaseException:
                line.close()
                raise
            return line
    except (OSError, ValueError, trio.TooSlowError, trio.BrokenResourceError) as exc:  # ValueError: no host's name
        why = str(exc) if isinstance(exc, trio.BrokenResourceError) else f"{type(exc).__name__}: {exc}"
        raise NoAnswer("vapi_down", f"Vapi's WebSocket at {parts.hostname}:{port} cannot be reached: {why}") from exc


async def _shake_hands(url: str, line: Line, nursery: trio.Nursery) -> WebSocketLeg:
    parts = urlsplit(url)
    resource = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    stream = LegStream.on(line, "client", limits.VAPI_MESSAGE_BYTES)
    tasks = _Contained(nursery, stream)
    connection: trio_websocket.WebSocketConnection | None = None
    async with _handshake_with(stream):
        connection = await trio_websocket.wrap_client_stream(
            tasks.as_nursery(),
            cast(trio.SocketStream, stream),
            parts.netloc,
            resource,
            max_message_size=limits.VAPI_MESSAGE_BYTES,
        )
    if connection is not None:
        return _open_leg(connection, tasks, VapiWire(), limits.UPLINK_STALL_SECONDS)
    if tasks.rejections:
        answered = f"Vapi's WebSocket answered {tasks.rejections[0].status_code}, not 101"
        raise NoAnswer("vapi_rejected", f"{answered}: does a proxy on the way pass WebSockets on?")
    raise NoAnswer("vapi_down", "Vapi's WebSocket was reached but did not complete the handshake")
