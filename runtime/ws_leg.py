"""The legs on trio-websocket: a caller's connection accepted, and Vapi's transport dialled.

trio-websocket keeps the WebSocket protocol; the socket under it is ours, because the library neither
bounds a handshake that falls silent, nor closes the stream after an abnormal end, nor says Close to a peer
that broke the protocol, nor notices one that vanished, nor keeps an error of its reader to itself. So: we
open and close the stream (runtime/leg_stream.py), the reader and the heartbeat (runtime/heartbeat.py) run
behind the connection barrier, and every wait on the peer has a deadline.
"""

import socket as stdlib_socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Final, Protocol, cast
from urllib.parse import urlsplit

import attrs
import structlog
import trio
import trio_websocket
from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import CloseConnection

from runtime import limits
from runtime.errors import NoAnswer
from runtime.heartbeat import Heartbeat
from runtime.leg import Audio, Closed, LegClosed, LegStalled, Received, Text
from runtime.leg_stream import LegStream
from runtime.voice_ws import Framing

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger(actor="leg")

# What the peer is told whose frames the library refused in silence. A message too long it refuses aloud, with 1009.
_REFUSED: Final[Mapping[int, str]] = {1002: "protocol_error", 1007: "not_utf8"}
_PEER_DID_NOT_CLOSE: Final = (1002, 1006, 1007, 1009)  # refused, broken, or closed by a peer that understood nothing


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


class _Wire(Protocol):
    """How a leg's audio looks as WebSocket messages."""

    farewell: str | None

    def decode(self, message: bytes | str) -> Received: ...
    def encode(self, pcm: bytes) -> bytes | str: ...


class _VapiWire:
    farewell: str | None = None

    def decode(self, message: bytes | str) -> Received:
        return Text(message) if isinstance(message, str) else Audio(message)

    def encode(self, pcm: bytes) -> bytes | str:
        return pcm


@attrs.define(eq=False)
class WebSocketLeg:
    """A leg (runtime/leg.py) on one trio-websocket connection. Mutable: `_leaving`."""

    _connection: trio_websocket.WebSocketConnection
    _stream: LegStream
    _wire: _Wire
    _stall_seconds: float
    _leaving: bool = False
    """It is we who close: the library still waits for the peer's Close."""

    @property
    def torn(self) -> bool:
        return self._stream.torn

    async def receive(self) -> Received:
        try:
            message = await self._connection.get_message()
        except trio_websocket.ConnectionClosed as exc:
            how = exc.reason
            if how is None or how.code == 1006:  # without a reason: its reader failed
                return Closed(1006, self._stream.given_up)
            return Closed(how.code, how.reason or "")
        return self._wire.decode(message)

    async def send_audio(self, pcm: bytes) -> None:
        await self._send(self._wire.encode(pcm))

    async def send_text(self, data: str) -> None:
        await self._send(data)

    async def _send(self, message: bytes | str) -> None:
        if self._stream.torn:
            raise LegClosed
        try:
            with trio.fail_after(self._stall_seconds):
                await self._connection.send_message(message)
        except trio.TooSlowError:
            raise LegStalled from None
        except trio_websocket.ConnectionClosed:
            raise LegClosed from None

    async def aclose(self, code: int, reason: str, within_seconds: float = limits.CLOSE_SECONDS) -> bool:
        peer_closed = False
        with trio.move_on_after(within_seconds, shield=True):
            if not (self._stream.torn or self._stream.given_up):
                with suppress(LegClosed, LegStalled):
                    if self._wire.farewell is not None and not self._connection.closed:
                        await self._send(self._wire.farewell)
                    self._leaving = self._leaving or self._connection.closed is None
                    await self._connection.aclose(code, reason)
                    peer_closed = not self._stream.torn and self._has_read_a_close()
        with trio.move_on_after(limits.CLOSE_SECONDS, shield=True):
            await trio.aclose_forcefully(self._stream)
        return peer_closed

    def _has_read_a_close(self) -> bool:
        """From a peer that understood us. The library's `closed` does not tell: it is 1000 from the moment our own
        Close goes out, and stays so when the connection breaks before the peer's has come."""
        how = self._connection.closed
        read = self._connection._wsproto.state in (ConnectionState.REMOTE_CLOSING, ConnectionState.CLOSED)
        return read and not (how and how.code in _PEER_DID_NOT_CLOSE)

    async def ping(self, payload: bytes) -> None:
        """Returns with the pong. No ping follows a Close: then it returns when the stream has ended; and a ping whose
        connection ends before the pong never returns."""
        try:
            await self._connection.ping(payload)
        except trio_websocket.ConnectionClosed:
            await self._stream.ended.wait()

    def farewell(self) -> bytes | None:
        """What the stream asks before each read: None while the connection lives, or is closed by us. Else the
        library has done with it, and the peer is still owed this frame, if any."""
        how = self._connection.closed
        if how is None or self._leaving:
            return None
        if self._stream.close_said or how.code not in _REFUSED:
            return b""
        side = ConnectionType.CLIENT if self._connection.is_client else ConnectionType.SERVER
        return Connection(side).send(CloseConnection(how.code, _REFUSED[how.code]))


def _open_leg(
    connection: trio_websocket.WebSocketConnection, tasks: _Contained, wire: _Wire, stall_seconds: float
) -> WebSocketLeg:
    leg = WebSocketLeg(connection, tasks.stream, wire, stall_seconds)
    tasks.stream.farewell = leg.farewell
    tasks.start_soon(Heartbeat(tasks.stream, leg.ping).run)
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


async def receive_upgrade(nursery: trio.Nursery, stream: trio.abc.Stream) -> Upgrade | None:
    """Read a WebSocket request from `stream` within HANDSHAKE_SECONDS; None when there was none."""
    tasks = _Contained(nursery, LegStream(stream))
    request: trio_websocket.WebSocketRequest | None = None
    async with _handshake_with(tasks.stream):
        request = await trio_websocket.wrap_server_stream(
            tasks.as_nursery(), tasks.stream, max_message_size=limits.CALLER_TEXT_BYTES
        )
    return Upgrade(request, tasks) if request is not None else None


@asynccontextmanager
async def dial_vapi(url: str, ssl_context: ssl.SSLContext, nursery: trio.Nursery) -> AsyncIterator[WebSocketLeg]:
    """Dial `websocketCallUrl` once. Raises NoAnswer(vapi_down). The stream is closed on the way out."""
    stream = await _connect(url, ssl_context)
    try:
        yield await _shake_hands(url, stream, nursery)
    finally:
        with trio.move_on_after(limits.CLOSE_SECONDS, shield=True):
            await trio.aclose_forcefully(stream)


async def _connect(url: str, ssl_context: ssl.SSLContext) -> LegStream:
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
            tcp = await trio.open_tcp_stream(parts.hostname, port)
            tune(tcp)
            if not secure:
                return LegStream(tcp)
            tls = trio.SSLStream(tcp, ssl_context, server_hostname=parts.hostname, https_compatible=True)
            try:
                await tls.do_handshake()
            except BaseException:
                await trio.aclose_forcefully(tcp)
                raise
            return LegStream(tls)
    except (OSError, UnicodeError, trio.TooSlowError, trio.BrokenResourceError) as exc:
        cause = exc.__cause__ or exc
        line = f"Vapi's WebSocket at {parts.hostname}:{port} cannot be reached: {type(cause).__name__}: {cause}"
        raise NoAnswer("vapi_down", line) from exc


async def _shake_hands(url: str, stream: LegStream, nursery: trio.Nursery) -> WebSocketLeg:
    parts = urlsplit(url)
    resource = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
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
        return _open_leg(connection, tasks, _VapiWire(), limits.UPLINK_STALL_SECONDS)
    if tasks.rejections:
        raise NoAnswer("vapi_rejected", f"Vapi's WebSocket answered {tasks.rejections[0].status_code}, not 101")
    raise NoAnswer("vapi_down", "Vapi's WebSocket was reached but did not complete the handshake")
