"""Real sockets whose ends a test can see and break: a caller that only listens, and streams that are tapped."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import attrs
import trio
from trio_websocket import ConnectionClosed

from simulation.background import open_background
from simulation.network import Network, TrioSockets, close_with_reset
from simulation.websockets import open_client_socket
from tests.peers import texts_and_close


@attrs.define(eq=False)
class HeldCall:
    """A call whose caller says nothing and hears everything, pings included. Mutable: all fields."""

    heard_bytes: int = 0
    closed: tuple[int, str | None] | None = None
    over: trio.Event = attrs.field(factory=trio.Event, repr=False)


@asynccontextmanager
async def hold_call(url: str, network: Network | None = None) -> AsyncIterator[HeldCall]:
    """Call `url` and stay on the line for the body. The caller leaves without a close frame."""
    call = HeldCall()
    async with open_client_socket(network or TrioSockets(), url) as connection, open_background() as nursery:

        async def listen() -> None:
            try:
                while True:
                    call.heard_bytes += len(await connection.get_message())
            except ConnectionClosed as exc:
                call.closed = (exc.reason.code, exc.reason.reason) if exc.reason else (1006, None)
            call.over.set()

        nursery.start_soon(listen)
        yield call


@attrs.define(eq=False)
class TappedStream(trio.abc.Stream):
    """Mutable: `received`, every byte that came."""

    inner: trio.SocketStream
    received: bytearray = attrs.field(factory=bytearray, repr=False)

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        data = bytes(await self.inner.receive_some(max_bytes))
        self.received += data
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self.inner.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self.inner.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self.inner.aclose()

    def reset(self) -> None:
        """Close so that the kernel sends RST: what is unread or unsent is lost, and no FIN tells the peer."""
        close_with_reset(self.inner.socket)

    def texts_and_close(self) -> list[str | int]:
        """What the WebSocket client at the other end said beside audio, in order: texts, and its close code."""
        return texts_and_close(bytes(self.received))


@attrs.frozen(eq=False)
class TappedListener(trio.abc.Listener[trio.abc.Stream]):
    inner: trio.SocketListener
    streams: list[TappedStream]

    @property
    def socket(self) -> trio.socket.SocketType:
        return self.inner.socket

    async def accept(self) -> TappedStream:
        self.streams.append(TappedStream(await self.inner.accept()))
        return self.streams[-1]

    async def aclose(self) -> None:
        await self.inner.aclose()


@attrs.frozen(eq=False)
class TappedNetwork:
    """A simulation.network.Network over another: every stream it makes is in `streams`, in order."""

    inner: Network = attrs.field(factory=TrioSockets)
    streams: list[TappedStream] = attrs.field(factory=list)

    async def listen(self, host: str, port: int) -> Sequence[TappedListener]:
        return [TappedListener(listener, self.streams) for listener in await self.inner.listen(host, port)]

    async def dial(self, host: str, port: int) -> TappedStream:
        self.streams.append(TappedStream(await self.inner.dial(host, port)))
        return self.streams[-1]

    def upgraded(self, path_end: str) -> TappedStream:
        """The one whose peer asked for a WebSocket at such a path."""
        (found,) = [s for s in self.streams if s.received.partition(b" HTTP/")[0].endswith(path_end.encode())]
        return found
