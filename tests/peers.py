"""A leg and its peer on a network in memory. The peer is the test: it says and hears frames, well-formed or not."""

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Literal

import attrs
import trio
import trio.testing
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, TextMessage
from wsproto.utilities import generate_accept_token

from runtime.leg import Closed, LegClosed
from runtime.switchboard import Switchboard
from runtime.voice_ws import framing_for
from runtime.ws_handshake import dial_vapi, receive_upgrade
from runtime.ws_leg import WebSocketLeg
from simulation.network import Link, Side, VirtualNetwork, Weather, port_of
from simulation.virtual_poller import VirtualPoller
from tests.fakes import speech

FRAME = speech(0.02)
Who = Literal["caller", "vapi"]


async def read_head(stream: trio.abc.ReceiveStream) -> bytes:
    """An HTTP message without a body."""
    head = b""
    while b"\r\n\r\n" not in head:
        data = await stream.receive_some()
        assert data, "the stream ended in the handshake"
        head += data
    return head


async def agree(stream: trio.SocketStream) -> None:
    """The server's half of a handshake."""
    head = (await read_head(stream)).decode()
    key = next(line.partition(": ")[2] for line in head.split("\r\n") if line.lower().startswith("sec-websocket-key"))
    token = generate_accept_token(key.encode()).decode()
    await stream.send_all(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + token.encode() + b"\r\n\r\n"
    )


async def ask(stream: trio.SocketStream) -> None:
    """The client's half of a handshake."""
    await stream.send_all(
        b"GET /voice HTTP/1.1\r\nHost: voice\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    await read_head(stream)


def texts_and_close(stream: bytes) -> list[str | int]:
    """What a WebSocket client said beside audio, from its request on."""
    reader = Connection(ConnectionType.SERVER)
    reader.receive_data(stream.partition(b"\r\n\r\n")[2])
    said: list[str | int] = []
    for event in reader.events():
        if isinstance(event, TextMessage):
            said.append(event.data)
        elif isinstance(event, CloseConnection):
            said.append(event.code)
    return said


@attrs.define(eq=False)
class Peer:
    """The other end of a leg. Mutable: `heard`, in order."""

    stream: trio.SocketStream
    frames: Connection
    heard: list[Event] = attrs.field(factory=list)

    @classmethod
    def of(cls, who: Who, stream: trio.SocketStream) -> "Peer":
        return cls(stream, Connection(ConnectionType.CLIENT if who == "caller" else ConnectionType.SERVER))

    async def say(self, *events: Event) -> None:
        for event in events:
            await self.stream.send_all(self.frames.send(event))

    async def say_bytes(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def hear(self) -> Event | None:
        """The next frame; None at the end of the stream. Raises BrokenResourceError on a reset."""
        while (event := next(self.frames.events(), None)) is None:
            if not (data := await self.stream.receive_some()):
                return None
            self.frames.receive_data(data)
        self.heard.append(event)
        return event

    async def hear_all(self) -> list[Event]:
        """Until the end of the stream, without a word; all it ever heard."""
        while await self.hear() is not None:
            pass
        return self.heard

    async def live(self) -> None:
        """Answers pings and the Close, as a peer should, until the end of the stream."""
        while (event := await self.hear()) is not None:
            if isinstance(event, Ping | CloseConnection):
                await self.say(event.response())

    async def speak(self, seconds: float, *, in_real_time: bool = True) -> None:
        """Frames of 20 ms, at their time or all at once."""
        began = trio.current_time()
        for number in range(round(seconds / 0.02)):
            if in_real_time:
                await trio.sleep_until(began + number * 0.02)
            await self.say(BytesMessage(FRAME))


@attrs.frozen
class Wired:
    """`tasks`: the nursery in which the leg's own tasks run. `side`: which end of the link is ours."""

    leg: WebSocketLeg
    peer: Peer
    link: Link
    side: Side
    tasks: trio.Nursery

    @property
    def socket_closed(self) -> bool:
        return (self.link.client if self.side == "client" else self.link.server).closed

    @property
    def sent_bytes(self) -> int:
        return self.link.half(self.side).outbound.sent_bytes

    async def end(self) -> Closed:
        """All that the leg still receives, up to its end."""
        while not isinstance(received := await self.leg.receive(), Closed):
            pass
        return received

    async def refuses_to_send(self) -> bool:
        try:
            await self.leg.send_audio(FRAME)
        except LegClosed:
            return True
        return False

    async def no_task_is_left(self) -> bool:
        await trio.testing.wait_all_tasks_blocked()
        return not self.tasks.child_tasks


@asynccontextmanager
async def running_switchboard() -> AsyncIterator[Switchboard]:
    """Of the network in memory that is installed."""
    switchboard = Switchboard(VirtualPoller())
    async with trio.open_nursery() as nursery:
        await nursery.start(switchboard.run)
        yield switchboard
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def wired(
    who: Who, weather: Weather | None = None, protocol: Literal["binary", "json"] = "binary"
) -> AsyncIterator[Wired]:
    """A leg to a caller or to Vapi. What is not over after 100 s of the test's time never will be."""
    async with AsyncExitStack() as stack:
        network = VirtualNetwork(weather or Weather())
        stack.enter_context(network.installed())
        stack.enter_context(trio.fail_after(100))
        switchboard = await stack.enter_async_context(running_switchboard())
        tasks = await stack.enter_async_context(trio.open_nursery())
        listener = await stack.enter_async_context((await trio.open_tcp_listeners(0, host="127.0.0.1"))[0])
        if who == "caller":
            leg, theirs = await _accepted(listener, tasks, stack, switchboard, protocol)
        else:
            leg, theirs = await _dialled(listener, tasks, stack, switchboard)
        await stack.enter_async_context(theirs)
        yield Wired(leg, Peer.of(who, theirs), network.links[0], "server" if who == "caller" else "client", tasks)
        tasks.cancel_scope.cancel()


async def _accepted(
    listener: trio.SocketListener,
    tasks: trio.Nursery,
    stack: AsyncExitStack,
    switchboard: Switchboard,
    protocol: Literal["binary", "json"],
) -> tuple[WebSocketLeg, trio.SocketStream]:
    legs: list[WebSocketLeg] = []

    async def accept() -> None:
        line = switchboard.line((await listener.accept()).socket)
        stack.callback(line.close)
        upgrade = await receive_upgrade(tasks, line)
        assert upgrade is not None
        legs.append(await upgrade.accept(framing_for(protocol)))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(accept)
        theirs = await trio.open_tcp_stream("127.0.0.1", port_of([listener]))
        await ask(theirs)
    return legs[0], theirs


async def _dialled(
    listener: trio.SocketListener, tasks: trio.Nursery, stack: AsyncExitStack, switchboard: Switchboard
) -> tuple[WebSocketLeg, trio.SocketStream]:
    theirs: list[trio.SocketStream] = []

    async def agree_to_one() -> None:
        theirs.append(await listener.accept())
        await agree(theirs[0])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(agree_to_one)
        url = f"ws://vapi:{port_of([listener])}/x"
        dialling = dial_vapi(url, ssl.create_default_context(), tasks, switchboard)
        leg = await stack.enter_async_context(dialling)
    return leg, theirs[0]


@asynccontextmanager
async def served(serve: Callable[[trio.SocketStream], Awaitable[None]]) -> AsyncIterator[tuple[str, VirtualNetwork]]:
    """A server at `vapi:<port>`, and the network it is on. Whatever `serve` leaves open stays open."""
    network = VirtualNetwork()
    with network.installed(), trio.fail_after(100):
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")

        async def keep_open(stream: trio.SocketStream) -> None:
            await serve(stream)
            await trio.sleep_forever()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.serve_listeners, keep_open, listeners)
            yield f"vapi:{port_of(listeners)}/x", network
            nursery.cancel_scope.cancel()
