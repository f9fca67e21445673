"""One end of a connection in memory, without a socket's interface: what was sent, what arrived, how it ended.

As Linux does, where a program can tell: a close with unread data sends a reset in place of a FIN, data for a closed
socket is answered with a reset, what arrived before a reset can still be read, what was to arrive after it is lost. A
reset is told once: then reads find the end, and sends a broken pipe.
"""

import errno
import os
from collections.abc import Callable
from math import inf

import attrs
import trio

from simulation.pipe import Pipe


def os_error(code: int) -> OSError:
    """As the operating system would raise it."""
    return OSError(code, os.strerror(code))


class News:
    """That something may have changed at one end of a connection. Mutable: ``wakes``, who is told beside those who
    wait."""

    def __init__(self) -> None:
        self._waiting = trio.lowlevel.ParkingLot()
        self.wakes: Callable[[], object] | None = None

    def tell(self) -> None:
        """Wake whoever waits."""
        self._waiting.unpark_all()
        if self.wakes is not None:
            self.wakes()

    async def wait(self) -> None:
        """Until the next time it is told."""
        await self._waiting.park()


@attrs.define(eq=False)
class Half:
    """One end of a connection. Mutable: ``reset_at`` (when a reset from the other end arrives), ``reset_told``,
    ``closed``, and ``news``, which wakes whoever waits on this end for anything."""

    inbound: Pipe
    outbound: Pipe
    reset_at: float = inf
    reset_told: bool = False
    closed: bool = False
    news: News = attrs.field(factory=News, repr=False)
    peer: "Half" = attrs.field(init=False, repr=False)

    def send(self, data: bytes, send_buffer: int | None) -> int:
        """Bytes taken; 0: no room."""
        now = trio.current_time()
        if now >= self.reset_at:
            raise os_error(errno.ECONNRESET if self._reset_is_news() else errno.EPIPE)
        if self.outbound.ends_at < inf:
            raise os_error(errno.EPIPE)
        count = self.outbound.send(data, now, send_buffer)
        if count and self.peer.closed:
            # Its network answers with a reset, a round trip from now.
            self._reset_from_peer(max(now + self.outbound.weather.latency_seconds, self.outbound.held_until))
        if count:
            self.peer.news.tell()
        return count

    def receive(self, most: int) -> bytes | None:
        """Bytes that have arrived, empty at the end; None: nothing yet."""
        now = trio.current_time()
        data = self.inbound.receive(most, min(now, self.reset_at))
        if data:
            self.peer.news.tell()
        if data is None and now >= self.reset_at:
            if self._reset_is_news():
                raise os_error(errno.ECONNRESET)
            return b""
        return data

    def _reset_is_news(self) -> bool:
        """Whether the owner of this end has heard of nothing yet, neither its reset nor an end before; now he has."""
        told = self.reset_told or max(self.inbound.ends_at, self.inbound.held_until) <= self.reset_at
        self.reset_told = True
        return not told

    def shut_down(self) -> None:
        """No more will be sent."""
        if self.is_reset():
            raise os_error(errno.ENOTCONN)
        self.outbound.finish(trio.current_time())
        self.peer.news.tell()

    def close(self, *, reset: bool = False) -> None:
        """Both directions; a reset in place of a FIN when asked for, or when something was left unread."""
        if self.closed:
            return
        self.closed = True
        now = trio.current_time()
        unread_at = self.inbound.discard()
        if reset or (unread_at is not None and unread_at <= now):
            self.peer.be_reset_at(max(now + self.outbound.weather.latency_seconds, self.outbound.held_until))
        else:
            self.outbound.finish(now)
            if unread_at is not None:
                self.peer._reset_from_peer(unread_at)
        self.news.tell()
        self.peer.news.tell()

    def _reset_from_peer(self, reached_at: float) -> None:
        self.be_reset_at(max(reached_at + self.inbound.weather.latency_seconds, self.inbound.held_until))

    def is_reset(self) -> bool:
        """A reset has arrived."""
        return trio.current_time() >= self.reset_at

    def be_reset_at(self, when: float) -> None:
        self.reset_at = min(self.reset_at, when)
        self.news.tell()
