"""Which of many sockets can be read or written now: what the switchboard (runtime/switchboard.py) asks.

A poller is handed sockets of Trio's and works on what is under them: a `recv` and a `send` that never wait. This one
asks the kernel; a network in memory brings its own, so that what runs in virtual time is the same path.
"""

import select
import selectors
import socket as stdlib_socket
from collections.abc import Iterator
from typing import Final, Protocol

import attrs
import trio


class Plug(Protocol):
    """A connected socket that never waits. What it cannot do at once raises BlockingIOError; a broken connection is
    an OSError. It is a `socket.socket` or behaves like one."""

    def fileno(self) -> int: ...
    def recv(self, most_bytes: int, /) -> bytes: ...
    def send(self, data: bytes | bytearray, /) -> int: ...
    def close(self) -> None: ...


class Watched(Protocol):
    """Whoever is told that its socket is ready, or that this has made it fail."""

    def on_readable(self) -> None: ...
    def on_writable(self) -> None: ...
    def fail(self) -> None: ...


class Poller(Protocol):
    def take(self, socket: trio.socket.SocketType) -> Plug:
        """The socket without Trio; it is the taker's to close, and `socket` is of no use any more."""

    def watch(self, plug: Plug, who: Watched, *, reads: bool, writes: bool) -> None:
        """From now on, and in place of what was watched before; neither: nothing. The one task that waits may be
        waiting already."""

    async def wait(self) -> None:
        """Until somebody is ready; he may be so no longer when `ready` is asked."""

    def ready(self) -> Iterator[tuple[Watched, int, int]]:
        """Who is ready now, to be read and to be written: not 0."""

    def close(self) -> None: ...


_NOT_IN: Final = ~0x001  # EPOLLIN and EPOLLOUT, which not every machine's `select` knows
_NOT_OUT: Final = ~0x004


def _plug(socket: trio.socket.SocketType) -> stdlib_socket.socket:
    plug = stdlib_socket.socket(socket.family, socket.type, socket.proto, fileno=socket.detach())
    plug.setblocking(False)
    return plug


@attrs.define(eq=False)
class EpollPoller:
    """The sockets of this machine, on Linux. Mutable: what is watched.

    An epoll can be waited for as a socket can, so one Trio task waits for all that it watches.
    """

    _epoll: "select.epoll" = attrs.field(factory=lambda: select.epoll())
    _watched: dict[int, Watched] = attrs.field(factory=dict)

    def take(self, socket: trio.socket.SocketType) -> stdlib_socket.socket:
        return _plug(socket)

    def watch(self, plug: Plug, who: Watched, *, reads: bool, writes: bool) -> None:
        number = plug.fileno()
        events = select.EPOLLIN * reads | select.EPOLLOUT * writes
        if number in self._watched:
            if events:
                self._epoll.modify(number, events)
            else:
                self._epoll.unregister(number)
                del self._watched[number]
        elif events:
            self._epoll.register(number, events)
            self._watched[number] = who

    async def wait(self) -> None:
        await trio.lowlevel.wait_readable(self._epoll.fileno())

    def ready(self) -> Iterator[tuple[Watched, int, int]]:
        for number, events in self._epoll.poll(0):
            who = self._watched.get(number)
            if who is not None:  # else it was closed a moment ago
                # An error or the peer's end shows in both: the one that looks finds out.
                yield who, events & _NOT_OUT, events & _NOT_IN

    def close(self) -> None:
        self._epoll.close()


@attrs.define(eq=False)
class SelectorPoller:
    """The same where there is no epoll, with what Python has for the machine: kqueue on macOS."""

    _selector: selectors.BaseSelector = attrs.field(factory=selectors.DefaultSelector)

    def take(self, socket: trio.socket.SocketType) -> stdlib_socket.socket:
        return _plug(socket)

    def watch(self, plug: Plug, who: Watched, *, reads: bool, writes: bool) -> None:
        known = plug in self._selector.get_map()
        events = selectors.EVENT_READ * reads | selectors.EVENT_WRITE * writes
        if not events:
            if known:
                self._selector.unregister(plug)
        elif known:
            self._selector.modify(plug, events, who)
        else:
            self._selector.register(plug, events, who)

    async def wait(self) -> None:
        await trio.lowlevel.wait_readable(self._selector.fileno())  # type: ignore[attr-defined]

    def ready(self) -> Iterator[tuple[Watched, int, int]]:
        for key, events in self._selector.select(0):
            yield key.data, events & selectors.EVENT_READ, events & selectors.EVENT_WRITE

    def close(self) -> None:
        self._selector.close()


def kernel_poller() -> Poller:
    """The one for this machine."""
    return EpollPoller() if hasattr(select, "epoll") else SelectorPoller()
