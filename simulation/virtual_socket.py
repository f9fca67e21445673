"""TCP in memory, behind Trio's own socket type: what runs on it does not know the difference (simulation/half.py)."""

import errno
import socket as stdlib
import struct
from collections import deque
from collections.abc import Callable
from math import inf
from typing import Any

import attrs
import trio
from trio.socket import SocketType

from simulation.half import Half, News, os_error

Address = tuple[str, int]


@attrs.frozen
class Ports:
    """What a socket needs of its network: to listen, and to connect. ``closing`` hears of every close."""

    listen: Callable[[int, "VirtualSocket"], int]
    connect: Callable[["VirtualSocket", Address], Any]
    closing: Callable[["VirtualSocket"], None]


class VirtualSocket(SocketType):
    """A TCP socket of a virtual network. Mutable, all of it, as a socket is."""

    def __init__(self, ports: Ports, number: int, family: int = stdlib.AF_INET) -> None:
        self._ports = ports
        self._number = number
        self._family = family
        self._options: dict[tuple[int, int], Any] = {}
        self._name: Address = ("127.0.0.1", 0)
        self._peer_name: Address | None = None
        self._shut_down = False
        self.closed = False
        self.half: Half | None = None
        self.backlog: deque[VirtualSocket] | None = None
        self.backlog_size = 0
        self.news = News()

    def __repr__(self) -> str:
        state = "closed" if self.closed else "listening" if self.backlog is not None else f"to {self._peer_name}"
        return f"<virtual socket {self._number} at {self._name[1]}, {state}>"

    @property
    def family(self) -> stdlib.AddressFamily:
        return stdlib.AddressFamily(self._family)

    @property
    def type(self) -> stdlib.SocketKind:
        return stdlib.SOCK_STREAM

    @property
    def proto(self) -> int:
        return stdlib.IPPROTO_TCP

    @property
    def did_shutdown_SHUT_WR(self) -> bool:
        return self._shut_down

    def fileno(self) -> int:
        return -1 if self.closed else self._number

    def getsockname(self) -> Address:
        self._alive()
        return self._name

    def getpeername(self) -> Address:
        self._alive()
        if self._peer_name is None or (self.half is not None and self.half.is_reset()):
            raise os_error(errno.ENOTCONN)
        return self._peer_name

    def getsockopt(self, level: int, optname: int, buflen: int | None = None) -> Any:
        if (level, optname) == (stdlib.SOL_SOCKET, stdlib.SO_ACCEPTCONN):
            return int(self.backlog is not None)
        return self._options.get((level, optname), 0)

    def setsockopt(self, level: int, optname: int, value: Any, optlen: int | None = None) -> None:
        self._alive()
        self._options[level, optname] = value

    @property
    def _send_buffer(self) -> int | None:
        return self._options.get((stdlib.SOL_SOCKET, stdlib.SO_SNDBUF))

    async def bind(self, address: Any) -> None:
        await trio.lowlevel.checkpoint()
        self._alive()
        self._name = (address[0], self._ports.listen(address[1], self))

    def listen(self, backlog: int = 128) -> None:
        self.backlog, self.backlog_size = deque(), backlog

    async def accept(self) -> tuple[SocketType, Address]:
        await trio.lowlevel.checkpoint()
        while True:
            self._alive()
            assert self.backlog is not None, "accept() on a socket that does not listen"
            if self.backlog:
                accepted = self.backlog.popleft()
                assert accepted._peer_name is not None, "only connected sockets wait in a backlog"
                return accepted, accepted._peer_name
            await self.news.wait()

    async def connect(self, address: Any) -> None:
        await trio.lowlevel.checkpoint()
        self._alive()
        await self._ports.connect(self, address)

    def become(self, half: Half, name: Address, peer_name: Address) -> None:
        """This socket is connected from now on."""
        self.half, self._name, self._peer_name = half, name, peer_name

    def recv_now(self, most: int) -> bytes:
        """What has arrived. Raises BlockingIOError when nothing has, and whatever ``recv`` raises."""
        data = self._connected().receive(most)
        if data is None:
            raise os_error(errno.EAGAIN)
        return data

    def send_now(self, data: Any) -> int:
        """How much of it was taken. Raises BlockingIOError when there is no room, and whatever ``send`` raises."""
        count = self._connected().send(bytes(data), self._send_buffer)
        if not count and data:
            raise os_error(errno.EAGAIN)
        return count

    def readable_at(self) -> float:
        """When ``recv_now`` has something to give, as far as is known now."""
        half = self._connected()
        return min(half.inbound.readable_at(), half.reset_at)

    def writable_at(self) -> float:
        """When ``send_now`` finds room, as far as is known now."""
        half = self._connected()
        now = trio.current_time()
        if half.outbound.ends_at < inf or half.outbound.room(now, self._send_buffer):
            return now
        return min(half.outbound.room_at(), half.reset_at)

    async def recv(self, buflen: int, flags: int = 0, /) -> bytes:
        await trio.lowlevel.checkpoint()
        while True:
            half = self._connected()
            data = half.receive(buflen)
            if data is not None:
                return data
            await self._wait(half, min(half.inbound.readable_at(), half.reset_at))

    async def send(self, data: Any, flags: int = 0, /) -> int:
        await trio.lowlevel.checkpoint()
        while True:
            half = self._connected()
            count = half.send(bytes(data), self._send_buffer)
            if count or not data:
                return count
            await self._wait(half, min(half.outbound.room_at(), half.reset_at))

    async def wait_writable(self) -> None:
        await trio.lowlevel.checkpoint()
        while True:
            half = self._connected()
            if half.reset_at <= trio.current_time() or half.outbound.room(trio.current_time(), self._send_buffer):
                return
            await self._wait(half, min(half.outbound.room_at(), half.reset_at))

    async def _wait(self, half: Half, until: float) -> None:
        """Until something may have changed."""
        with trio.move_on_at(until):
            await half.news.wait()

    def is_readable(self) -> bool:
        half = self.half
        now = trio.current_time()
        return half is None or half.inbound.readable_at() <= now or half.reset_at <= now

    def shutdown(self, flag: int) -> None:
        half = self._connected()
        if flag in (stdlib.SHUT_WR, stdlib.SHUT_RDWR):
            self._shut_down = True
            half.shut_down()

    def close(self) -> None:
        linger = self._options.get((stdlib.SOL_SOCKET, stdlib.SO_LINGER))
        self._close(reset=isinstance(linger, bytes) and struct.unpack("ii", linger) == (1, 0))

    def _close(self, *, reset: bool) -> None:
        if self.closed:
            return
        self.closed = True
        self._ports.closing(self)
        for waiting in self.backlog or ():
            waiting._close(reset=True)
        self.news.tell()
        if self.half is not None:
            self.half.close(reset=reset)

    def detach(self) -> int:
        raise NotImplementedError("a virtual socket has no descriptor to give away")

    def _alive(self) -> None:
        if self.closed:
            raise os_error(errno.EBADF)

    def _connected(self) -> Half:
        self._alive()
        if self.half is None:
            raise os_error(errno.ENOTCONN)
        return self.half
