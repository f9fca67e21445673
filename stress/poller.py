"""Which of thousands of virtual sockets are ready: as simulation/virtual_poller.py, but none is looked at in vain.

What a socket is ready for changes when it is told of news, when it is watched for something else, or when a time comes
that was known before. So only those are looked at of which one of the three is true.
"""

import heapq
import itertools
from collections.abc import Iterator
from functools import partial
from math import inf
from typing import Any

import attrs
import trio

from simulation.virtual_poller import VirtualPlug
from simulation.virtual_socket import VirtualSocket


@attrs.frozen
class _Watch:
    who: Any
    reads: bool
    writes: bool


@attrs.define(eq=False)
class ManyPoller:
    """Mutable, all of it. Level-triggered: who is ready is told again until he is not."""

    _watched: dict[VirtualPlug, _Watch] = attrs.field(factory=dict)
    _news: dict[VirtualPlug, None] = attrs.field(factory=dict)
    """To be looked at, in the order of their news."""
    _later: list[tuple[float, int, VirtualPlug]] = attrs.field(factory=list)
    """A heap: to be looked at from that time on."""
    _order: "itertools.count[int]" = attrs.field(factory=itertools.count)
    _waiting: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot)

    def take(self, socket: trio.socket.SocketType) -> VirtualPlug:
        """The socket, for ``watch``."""
        assert isinstance(socket, VirtualSocket), "a virtual poller polls virtual sockets"
        assert socket.half is not None, "only a connected socket can be watched"
        plug = VirtualPlug(socket)
        socket.half.news.wakes = partial(self._tell, plug)
        return plug

    def watch(self, plug: Any, who: Any, *, reads: bool, writes: bool) -> None:
        """From now on; neither: nothing."""
        if reads or writes:
            self._watched[plug] = _Watch(who, reads, writes)
            self._tell(plug)
        else:
            self._watched.pop(plug, None)

    async def wait(self) -> None:
        """Until something can be read or written."""
        await trio.lowlevel.checkpoint()
        while not self._look():
            with trio.move_on_at(self._later[0][0] if self._later else inf):
                await self._waiting.park()

    def ready(self) -> Iterator[tuple[Any, bool, bool]]:
        """Who is ready now, to be read and to be written."""
        now = trio.current_time()
        self._due(now)
        for plug in tuple(self._news):
            watch = self._watched.get(plug)
            if watch is None or plug.socket.closed:
                self._news.pop(plug, None)
                continue
            reads_at = plug.socket.readable_at() if watch.reads else inf
            writes_at = plug.socket.writable_at() if watch.writes else inf
            if min(reads_at, writes_at) <= now:
                yield watch.who, reads_at <= now, writes_at <= now
            else:
                self._put_off(plug, min(reads_at, writes_at))

    def close(self) -> None:
        """Watch nothing any more."""
        self._watched.clear()
        self._news.clear()
        self._later.clear()

    def _tell(self, plug: VirtualPlug) -> None:
        self._news[plug] = None
        if self._waiting:
            self._waiting.unpark_all()

    def _look(self) -> bool:
        """Whether anybody is ready; those that are not are put off."""
        return any(True for _ in self.ready())

    def _due(self, now: float) -> None:
        while self._later and self._later[0][0] <= now:
            self._news[heapq.heappop(self._later)[2]] = None

    def _put_off(self, plug: VirtualPlug, until: float) -> None:
        self._news.pop(plug, None)
        if until < inf:
            heapq.heappush(self._later, (until, next(self._order), plug))
