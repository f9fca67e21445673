"""WebSocket ends for the simulated parties: trio-websocket over a stream that we own and always close.

trio-websocket's own ``open_websocket`` and ``connect_timeout`` do not bound a handshake against a silent server, and
its ``aclose`` waits for the peer; so the deadlines and the last word are here.
"""

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import cast
from urllib.parse import urlsplit

import attrs
import trio
from trio_websocket import (
    ConnectionClosed,
    ConnectionRejected,
    WebSocketConnection,
    WebSocketRequest,
    wrap_client_stream,
    wrap_server_stream,
)
from wsproto.utilities import LocalProtocolError

from simulation.background import open_background
from simulation.network import Network

HANDSHAKE_SECONDS = 5.0
CLOSE_SECONDS = 2.0
MESSAGE_QUEUE = 4
MAX_MESSAGE_BYTES = 16 * 1024 * 1024
RECEIVE_BYTES = 16 * 1024


class DialError(Exception):
    """The socket could not be opened; one line."""


def public_url(url: str) -> str:
    """``url`` without what may be secret: a user and a password before the host, a query with a token."""
    scheme, slashes, rest = url.partition("?")[0].partition("://")
    authority, slash, path = rest.partition("/")
    return f"{scheme}{slashes}{authority.rpartition('@')[2]}{slash}{path}"


@attrs.frozen
class _Readers:
    """What trio-websocket is given as its nursery. Its reader raises when a ping arrives behind its own close frame
    (the library's issue #184), which is no fault of either side."""

    nursery: trio.Nursery

    def start_soon(self, reader: Callable[[], Awaitable[None]]) -> None:
        self.nursery.start_soon(self._run, reader)

    @staticmethod
    async def _run(reader: Callable[[], Awaitable[None]]) -> None:
        with suppress(LocalProtocolError):
            await reader()


@asynccontextmanager
async def open_client_socket(network: Network, url: str) -> AsyncIterator[WebSocketConnection]:
    """Dial ``ws://`` or ``wss://`` ``url``; on the way out the stream is closed, whatever happened.

    An error of the body comes out as it is, not inside a group.

    :raises DialError: refused, rejected, or no answer within HANDSHAKE_SECONDS.
    """
    stream: trio.abc.Stream | None = None
    try:
        async with open_background() as nursery:
            try:
                with trio.fail_after(HANDSHAKE_SECONDS):
                    stream = await _dial(network, url)
                    connection = await _handshake(nursery, stream, url)
            except (OSError, trio.BrokenResourceError) as error:
                raise DialError(f"{public_url(url)} cannot be reached: {error}") from error
            except trio.TooSlowError as error:
                raise DialError(f"{public_url(url)} did not answer within {HANDSHAKE_SECONDS:g} s") from error
            yield connection
    except ConnectionRejected as error:
        raise DialError(f"{public_url(url)} refused the upgrade with status {error.status_code}") from error
    finally:
        if stream is not None:
            await trio.aclose_forcefully(stream)


async def _dial(network: Network, url: str) -> trio.abc.Stream:
    parts = urlsplit(url)
    if parts.scheme not in ("ws", "wss") or not parts.hostname:
        raise DialError(f"{public_url(url)!r} is not a ws:// or wss:// URL")
    stream = await network.dial(parts.hostname, parts.port or (443 if parts.scheme == "wss" else 80))
    if parts.scheme == "ws":
        return stream
    return trio.SSLStream(stream, ssl.create_default_context(), server_hostname=parts.hostname)


async def _handshake(nursery: trio.Nursery, stream: trio.abc.Stream, url: str) -> WebSocketConnection:
    parts = urlsplit(url)
    resource = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return await wrap_client_stream(
        cast(trio.Nursery, _Readers(nursery)),
        stream,  # type: ignore[arg-type]  # its annotation is narrower than what it uses
        parts.netloc.rpartition("@")[2],
        resource,
        message_queue_size=MESSAGE_QUEUE,
        max_message_size=MAX_MESSAGE_BYTES,
        receive_buffer_size=RECEIVE_BYTES,
    )


async def read_handshake(nursery: trio.Nursery, stream: trio.abc.Stream) -> WebSocketRequest:
    """The client's upgrade request on a server's ``stream``.

    :raises trio.TooSlowError: none came within HANDSHAKE_SECONDS.
    """
    with trio.fail_after(HANDSHAKE_SECONDS):
        return await wrap_server_stream(
            cast(trio.Nursery, _Readers(nursery)),
            stream,
            MESSAGE_QUEUE,
            max_message_size=MAX_MESSAGE_BYTES,
            receive_buffer_size=RECEIVE_BYTES,
        )


ANSWER_TURNS = 10


async def close_socket(connection: WebSocketConnection, code: int, reason: str | None = None) -> None:
    """Send a close frame and wait at most CLOSE_SECONDS for the peer's; never raises but Cancelled."""
    with trio.move_on_after(CLOSE_SECONDS):
        try:
            if connection.closed is not None:
                # The peer was first: the library's reader is answering, and `aclose` does not wait for it.
                for _ in range(ANSWER_TURNS):
                    await trio.lowlevel.checkpoint()
            await connection.aclose(code, reason)
        except ConnectionClosed:
            return
