"""Where the simulated parties listen and dial: real sockets, or a network in memory that everybody is on.

A `VirtualNetwork` puts itself behind Trio's public hooks, so that servers and clients, the product's as well as the
simulation's, run on it unmodified, in virtual time. Hosts do not matter on it, ports do: it is one machine.
"""

import errno
import itertools
import random
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import inf
from typing import Any, Literal, Protocol

import attrs
import trio

from simulation.half import Half, os_error
from simulation.pipe import Pipe, Weather
from simulation.virtual_socket import Address, Ports, VirtualSocket

__all__ = ["Link", "Network", "TrioSockets", "VirtualNetwork", "Weather", "close_with_reset", "port_of"]

FIRST_PORT = 20_000
FIRST_CLIENT_PORT = 40_000
FIRST_NUMBER = 1_000_000
"""Descriptor numbers begin far above those of the operating system."""
CONNECT_AGAIN_SECONDS = 1.0
"""A connect that finds the backlog full is tried again: after this long, then after twice as long, and so on."""


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


def close_with_reset(socket: trio.socket.SocketType) -> None:
    """Close so that the peer is sent a reset and no FIN, and what is unread or unsent is lost."""
    socket.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, struct.pack("ii", 1, 0))
    socket.close()


Side = Literal["client", "server"]


@attrs.frozen(eq=False)
class Link:
    """One connection, and what can happen to it. ``port`` is the server's."""

    port: int
    client: VirtualSocket
    server: VirtualSocket
    opened_at: float
    client_address: str
    """host:port of the client's end, also when that is closed."""

    def half(self, side: Side) -> Half:
        """One end of it."""
        half = (self.client if side == "client" else self.server).half
        assert half is not None, "a link is made of connected sockets"
        return half

    def deafen(self, side: Side, seconds: float = inf) -> None:
        """Nothing reaches ``side`` for so long, its peer's close included: to the peer, it reads nothing."""
        half = self.half(side)
        half.inbound.held_until = trio.current_time() + seconds
        half.news.tell()

    def cut(self) -> None:
        """The cable is pulled: nothing arrives any more on either side, and nobody is told."""
        self.deafen("client")
        self.deafen("server")

    def reset(self) -> None:
        """Something on the way sends both ends a reset."""
        for half in (self.half("client"), self.half("server")):
            half.be_reset_at(trio.current_time() + half.inbound.weather.latency_seconds)

    @property
    def open(self) -> bool:
        """Either end has not been closed by its owner."""
        return not (self.client.closed and self.server.closed)


@attrs.define(eq=False)
class VirtualNetwork(trio.abc.SocketFactory, trio.abc.HostnameResolver):
    """Mutable: ``weather`` (of links made from now on; ``weather_at`` overrides it for a server's port), ``refused``
    (ports that answer a connect with a refusal), ``silent`` (ports that never answer one), ``on_link``.

    Use it as ``with network.installed():`` inside a Trio run; then every Trio socket of that run is on it.
    """

    weather: Weather = attrs.field(factory=Weather)
    rng: random.Random = attrs.field(factory=lambda: random.Random(0), repr=False)
    weather_at: dict[int, Weather] = attrs.field(factory=dict)
    refused: set[int] = attrs.field(factory=set)
    silent: set[int] = attrs.field(factory=set)
    on_link: Callable[[Link], None] | None = None
    """Called with every connection that is made, before a byte has passed."""
    links: list[Link] = attrs.field(factory=list, repr=False)
    """Every connection that was ever made, in order."""
    open_sockets: set[VirtualSocket] = attrs.field(factory=set)
    _listeners: dict[int, VirtualSocket] = attrs.field(factory=dict)
    _numbers: Iterator[int] = attrs.field(factory=lambda: itertools.count(FIRST_NUMBER), repr=False)
    _ports: Iterator[int] = attrs.field(factory=lambda: itertools.count(FIRST_PORT), repr=False)
    _client_ports: Iterator[int] = attrs.field(factory=lambda: itertools.count(FIRST_CLIENT_PORT), repr=False)

    @contextmanager
    def installed(self) -> Iterator["VirtualNetwork"]:
        """Take the place of the host's network in this Trio run, for the body."""
        factory = trio.socket.set_custom_socket_factory(self)
        resolver = trio.socket.set_custom_hostname_resolver(self)
        try:
            yield self
        finally:
            trio.socket.set_custom_socket_factory(factory)
            trio.socket.set_custom_hostname_resolver(resolver)

    def socket(self, family: int = 0, type: int = 0, proto: int = 0) -> VirtualSocket:
        """Trio's hook: a new socket."""
        made = VirtualSocket(Ports(self._listen, self._connect, self._closing), next(self._numbers), family)
        self.open_sockets.add(made)
        return made

    async def getaddrinfo(
        self, host: Any, port: Any, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0
    ) -> list[Any]:
        """Trio's hook: every name is this machine."""
        await trio.lowlevel.checkpoint()
        return [(trio.socket.AF_INET, trio.socket.SOCK_STREAM, trio.socket.IPPROTO_TCP, "", ("127.0.0.1", int(port)))]

    async def getnameinfo(self, sockaddr: Any, flags: int) -> tuple[str, str]:
        """Trio's hook: addresses have no other names."""
        await trio.lowlevel.checkpoint()
        return str(sockaddr[0]), str(sockaddr[1])

    async def listen(self, host: str, port: int) -> Sequence[trio.SocketListener]:
        """See :class:`Network`; the network must be installed."""
        return await TrioSockets().listen(host, port)

    async def dial(self, host: str, port: int) -> trio.SocketStream:
        """See :class:`Network`; the network must be installed."""
        return await TrioSockets().dial(host, port)

    def links_to(self, port: int) -> list[Link]:
        """The connections that were made to a server's port, in order."""
        return [link for link in self.links if link.port == port]

    def _listen(self, port: int, socket: VirtualSocket) -> int:
        if port in self._listeners:
            raise os_error(errno.EADDRINUSE)
        port = port or next(number for number in self._ports if number not in self._listeners)
        self._listeners[port] = socket
        return port

    async def _connect(self, client: VirtualSocket, address: Address) -> None:
        port = int(address[1])
        weather = self.weather_at.get(port, self.weather)
        await trio.sleep(weather.latency_seconds)
        if port in self.silent:
            await trio.sleep_forever()
        listener = await self._room_at(port)
        if listener is None or listener.backlog is None:
            await trio.sleep(weather.latency_seconds)
            raise os_error(errno.ECONNREFUSED)
        server = self.socket(client.family)
        link = self._link(client, server, port, weather)
        listener.backlog.append(server)
        listener.news.tell()
        if self.on_link is not None:
            self.on_link(link)
        await trio.sleep(weather.latency_seconds)

    async def _room_at(self, port: int) -> VirtualSocket | None:
        """The socket that listens, once there is room in its backlog; None: refused."""
        again_seconds = CONNECT_AGAIN_SECONDS
        while True:
            listener = self._listeners.get(port)
            if port in self.refused or listener is None or listener.backlog is None:
                return None
            if len(listener.backlog) < listener.backlog_size:
                return listener
            await trio.sleep(again_seconds)
            again_seconds *= 2

    def _link(self, client: VirtualSocket, server: VirtualSocket, port: int, weather: Weather) -> Link:
        up, down = Pipe(weather, self.rng), Pipe(weather, self.rng)
        here, there = Half(inbound=down, outbound=up), Half(inbound=up, outbound=down)
        here.peer, there.peer = there, here
        name = ("127.0.0.1", next(self._client_ports))
        client.become(here, name, ("127.0.0.1", port))
        server.become(there, ("127.0.0.1", port), name)
        link = Link(port, client, server, trio.current_time(), f"{name[0]}:{name[1]}")
        self.links.append(link)
        return link

    def _closing(self, socket: VirtualSocket) -> None:
        self.open_sockets.discard(socket)
        for port, listener in list(self._listeners.items()):
            if listener is socket:
                del self._listeners[port]
