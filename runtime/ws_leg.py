"""The legs on trio-websocket: a caller's connection accepted, and Vapi's transport dialled.

trio-websocket keeps the WebSocket protocol; the socket under it is ours, because the library neither
bounds a handshake that falls silent, nor closes the stream after an abnormal end, nor keeps an error of
its reader to itself. So: we open and close the stream, its reader task runs behind the connection
barrier, and every wait on the peer has a deadline.
"""

import socket as stdlib_socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Protocol, cast
from urllib.parse import urlsplit

import attrs
import structlog
import trio
import trio_websocket

from runtime import limits
from runtime.errors import NoAnswer
from runtime.leg import Audio, Closed, LegClosed, LegStalled, Received, Text
from runtime.voice_ws import Framing

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger(actor="leg")


@attrs.define
class LegStream(trio.abc.Stream):
    """The stream between the library and the socket. It sees what the library does not tell:
    that the peer is gone, and that a send was cut with half a frame on the wire.
    """

    inner: trio.abc.Stream
    ended: trio.Event = attrs.field(factory=trio.Event)
    torn: bool = False

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        try:
            data = await self.inner.receive_some(max_bytes)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self.ended.set()
            raise
        if not data:
            self.ended.set()
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()  # cancelled before the first byte: nothing is torn
        whole = False
        try:
            await self.inner.send_all(data)
            whole = True
        finally:
            self.torn = self.torn or not whole

    async def wait_send_all_might_not_block(self) -> None:
        await self.inner.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        self.ended.set()
        await self.inner.aclose()


@attrs.frozen
class _Contained:
    """What trio-websocket is given as its nursery: its reader runs behind the connection barrier."""

    nursery: trio.Nursery
    stream: LegStream
    rejections: list[trio_websocket.ConnectionRejected] = attrs.field(factory=list)

    def as_nursery(self) -> trio.Nursery:
        """All that the library asks of a nursery is `start_soon`."""
        return cast(trio.Nursery, self)

    def start_soon(self, reader: Callable[[], Awaitable[None]]) -> None:
        self.nursery.start_soon(self._run, reader)

    async def _run(self, reader: Callable[[], Awaitable[None]]) -> None:
        try:
            await reader()
        except trio_websocket.ConnectionRejected as exc:
            self.rejections.append(exc)
        except Exception as exc:  # noqa: BLE001  # the connection barrier: the library raises in its reader (its issue #184)
            _log.info("websocket_reader_failed", error=repr(exc))
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


@attrs.define
class WebSocketLeg:
    """A leg (runtime/leg.py) on one trio-websocket connection."""

    _connection: trio_websocket.WebSocketConnection
    _stream: LegStream
    _wire: _Wire
    _stall_seconds: float

    @property
    def torn(self) -> bool:
        return self._stream.torn

    async def receive(self) -> Received:
        try:
            message = await self._connection.get_message()
        except trio_websocket.ConnectionClosed as exc:
            # No reason at all: the library refused what the peer sent, and closed the stream.
            return Closed(exc.reason.code, exc.reason.reason or "") if exc.reason else Closed(1006)
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

    async def aclose(self, code: int, reason: str) -> bool:
        peer_closed = False
        with trio.move_on_after(limits.CLOSE_SECONDS, shield=True):
            if not self._stream.torn:
                with suppress(LegClosed, LegStalled):
                    if self._wire.farewell is not None and not self._connection.closed:
                        await self._send(self._wire.farewell)
                    await self._connection.aclose(code, reason)
                    how = self._connection.closed
                    peer_closed = not self._stream.torn and not (how and how.code == 1006)
        with trio.move_on_after(limits.CLOSE_SECONDS, shield=True):
            await trio.aclose_forcefully(self._stream)
        return peer_closed


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
    stream: LegStream

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
        return WebSocketLeg(connection, self.stream, framing, limits.DOWNLINK_STALL_SECONDS)


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
    leg_stream = LegStream(stream)
    request: trio_websocket.WebSocketRequest | None = None
    async with _handshake_with(leg_stream):
        request = await trio_websocket.wrap_server_stream(
            _Contained(nursery, leg_stream).as_nursery(), leg_stream, max_message_size=limits.CALLER_TEXT_BYTES
        )
    return Upgrade(request, leg_stream) if request is not None else None


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
    contained = _Contained(nursery, stream)
    connection: trio_websocket.WebSocketConnection | None = None
    async with _handshake_with(stream):
        connection = await trio_websocket.wrap_client_stream(
            contained.as_nursery(),
            cast(trio.SocketStream, stream),
            parts.netloc,
            resource,
            max_message_size=limits.VAPI_MESSAGE_BYTES,
        )
    if connection is not None:
        return WebSocketLeg(connection, stream, _VapiWire(), limits.UPLINK_STALL_SECONDS)
    if contained.rejections:
        raise NoAnswer("vapi_rejected", f"Vapi's WebSocket answered {contained.rejections[0].status_code}, not 101")
    raise NoAnswer("vapi_down", "Vapi's WebSocket was reached but did not complete the handshake")
