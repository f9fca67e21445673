"""Where the simulated parties listen and dial: real sockets unless a test brings its own network."""

from collections.abc import Sequence
from typing import Protocol

import trio


class Network(Protocol):
    """Listening and dialling; what it hands out must behave like Trio's TCP streams."""

    async def listen(self, host: str, port: int) -> Sequence[trio.SocketListener]:
        """Listeners on ``host:port``; port 0 picks one. Raises OSError when the port is taken."""

    async def dial(self, host: str, port: int) -> trio.SocketStream:
        """A connected stream. Raises OSError when nobody answers; the caller sets the deadline."""


class TrioSockets:
    """Whatever ``trio.socket`` makes: the host's TCP, or what a custom socket factory puts in its place."""

    async def listen(self, host: str, port: int) -> Sequence[trio.SocketListener]:
        """See :class:`Network`."""
        return await trio.open_tcp_listeners(port, host=host)

    async def dial(self, host: str, port: int) -> trio.SocketStream:
        """See :class:`Network`."""
        return await trio.open_tcp_stream(host, port)


def port_of(listeners: Sequence[trio.SocketListener]) -> int:
    """The port the listeners are bound to."""
    return int(listeners[0].socket.getsockname()[1])
