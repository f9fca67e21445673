"""Which of a virtual network's sockets are ready: what epoll is to the kernel's.

It has the shape that a program's own poller has which watches many sockets from one task, and imports nothing of it.
"""

from collections.abc import Iterator
from math import inf
from typing import Any

import attrs
import trio

from simulation.virtual_socket import VirtualSocket


@attrs.define(eq=False)
class VirtualPlug:
    """A virtual socket without Trio: it never waits."""

    socket: VirtualSocket

    def fileno(self) -> int:
        """A number that no other socket of the network has."""
        return self.socket.fileno()

    def recv(self, most: int, /) -> bytes:
        """Raises BlockingIOError when nothing has arrived."""
        return self.socket.recv_now(most)

    def send(self, data: bytes | bytearray, /) -> int:
        """Raises BlockingIOError when there is no room."""
        return self.socket.send_now(data)

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()


@attrs.frozen
class _Watch:
    who: Any
    reads: bool
    writes: bool


@attrs.define(eq=False)
class VirtualPoller:
    """Mutable: ``_watched``. Level-triggered, as epoll is by default: who is ready is told again until he is not."""

    _watched: dict[VirtualPlug, _Watch] = attrs.field(factory=dict)
    _news: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot)

    def take(self, socket: trio.socket.SocketType) -> VirtualPlug:
        """The socket, for ``watch``."""
        assert isinstance(socket, VirtualSocket), "a virtual poller polls virtual sockets"
        assert socket.half is not None, "only a connected socket can be watched"
        socket.half.news.wakes = self._news.unpark_all
        return VirtualPlug(socket)

    def watch(self, plug: Any, who: Any, *, reads: bool, writes: bool) -> None:
        """From now on; neither: nothing."""
        if reads or writes:
            self._watched[plug] = _Watch(who, reads, writes)
        else:
            self._watched.pop(plug, None)
        self._news.unpark_all()

    async def wait(self) -> None:
        """Until something can be read or written."""
        await trio.lowlevel.checkpoint()
        while (ready_at := min(map(self._ready_at, self._watched), default=inf)) > trio.current_time():
            with trio.move_on_at(ready_at):
                await self._news.park()

    def ready(self) -> Iterator[tuple[Any, bool, bool]]:
        """Who is ready now, to be read and to be written."""
        now = trio.current_time()
        for plug, watch in list(self._watched.items()):
            if self._watched.get(plug) is watch and not plug.socket.closed:
                reads = watch.reads and plug.socket.readable_at() <= now
                writes = watch.writes and plug.socket.writable_at() <= now
                if reads or writes:
                    yield watch.who, reads, writes

    def close(self) -> None:
        """Watch nothing any more."""
        self._watched.clear()

    def _ready_at(self, plug: VirtualPlug) -> float:
        if plug.socket.closed:
            return inf
        watch = self._watched[plug]
        return min(
            plug.socket.readable_at() if watch.reads else inf,
            plug.socket.writable_at() if watch.writes else inf,
        )
