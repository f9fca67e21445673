"""The same bytes played to our leg and to trio-websocket alone, on a network in memory, and what came of it."""

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from math import inf
from typing import Literal, cast
from unittest import mock

import attrs
import trio
import trio_websocket
from wsproto.utilities import generate_accept_token

from runtime import limits
from runtime.leg import Closed, Passing, Text
from runtime.voice_ws import Framing
from runtime.ws_handshake import VapiWire, dial_vapi, receive_upgrade
from runtime.ws_leg import WebSocketLeg
from simulation.network import VirtualNetwork, Weather, port_of
from tests.peers import Who, read_head, running_switchboard
from tests.runtime.rfc6455 import Frame, frames_of
from tests.virtual_time import run_in_virtual_time

# Powers of two, so that what is to happen at the same time does.
LATENCY_SECONDS = 2**-7
PIECE_SECONDS = 2**-10
"""Between two pieces: each is read by itself."""
FIRST_PIECE_SECONDS = 0.25
LATE_SECONDS = 1.0
LAST_SECONDS = 1.75
"""What has not happened so long after the last piece will not. The first ping of a heartbeat comes later."""
Taking = Literal["prompt", "late", "at once", "some at once", "never"]

REQUEST = (
    b"GET /voice HTTP/1.1\r\nHost: voice\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
_NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@attrs.frozen
class Play:
    """What a peer says behind the handshake, a piece at a time; `glued`: the first together with the handshake.

    `ends`: with a FIN; else nothing follows. `most`: bytes of a message. `taking`: how one receives.
    `leaves_at`: when, counted from the arrival of the first piece, we stop receiving and close.
    """

    who: Who
    pieces: list[bytes]
    most: int
    ends: bool = False
    taking: Taking = "prompt"
    glued: bool = False
    leaves_at: float | None = None

    @property
    def data(self) -> bytes:
        return b"".join(self.pieces)


@attrs.define
class Outcome:
    """`closed`: the code that the receiver was told; None: he waits. `sent`: by our side, behind the handshake.
    `left`: our side has closed the connection. `raised`: by the library's reader. `in_order`: what `aclose` returned.
    Mutable, all of it."""

    messages: list[bytes | str] = attrs.field(factory=list)
    closed: int | None = None
    sent: bytearray = attrs.field(factory=bytearray)
    left: bool = False
    raised: list[str] = attrs.field(factory=list)
    in_order: bool | None = None

    def said(self, who: Who) -> list[Frame]:
        """All that our side sent. Raises Violation, and on half a frame AssertionError."""
        said = list(frames_of(bytes(self.sent), masked=who == "vapi"))
        assert None not in said
        return cast(list[Frame], said)


Subject = Callable[[Play, Outcome, trio.SocketListener], Awaitable[None]]


async def our_leg(play: Play, outcome: Outcome, listener: trio.SocketListener) -> None:
    def take(audio: Passing) -> bool:
        taken = play.taking == "at once" or (play.taking == "some at once" and len(outcome.messages) % 2 == 0)
        if taken:
            outcome.messages.append(audio.pcm)
        return taken

    async with _opened(play, listener) as leg:
        with _until_we_leave(play):
            await _wait_to_take(play)
            while not isinstance(received := await leg.receive(take), Closed):
                outcome.messages.append(received.data if isinstance(received, Text) else received.pcm)
            outcome.closed = received.code
        if play.leaves_at is not None:
            outcome.in_order = await leg.aclose(1000, "call_ended")
        await trio.sleep_forever()


@asynccontextmanager
async def _opened(play: Play, listener: trio.SocketListener) -> AsyncIterator[WebSocketLeg]:
    async with running_switchboard() as switchboard, trio.open_nursery() as tasks:
        if play.who == "caller":
            line = switchboard.line((await listener.accept()).socket)
            upgrade = await receive_upgrade(tasks, line)
            assert upgrade is not None
            yield await upgrade.accept(cast(Framing, VapiWire()))
        else:
            async with dial_vapi(f"ws://vapi:{port_of([listener])}/x", _NO_TLS, tasks, switchboard) as leg:
                yield leg


async def the_library(play: Play, outcome: Outcome, listener: trio.SocketListener) -> None:
    async with trio.open_nursery() as nursery:
        tasks = cast(trio.Nursery, _Noting(nursery, outcome))
        if play.who == "caller":
            stream = await listener.accept()
            request = await trio_websocket.wrap_server_stream(tasks, stream, max_message_size=play.most)
            connection = await request.accept()
        else:
            stream = await trio.open_tcp_stream("vapi", port_of([listener]))
            connection = await trio_websocket.wrap_client_stream(
                tasks, stream, "vapi", "/x", max_message_size=play.most
            )
        with suppress(trio_websocket.ConnectionClosed), _until_we_leave(play):
            await _wait_to_take(play)
            while True:
                outcome.messages.append(await connection.get_message())
        if play.leaves_at is not None:
            await connection.aclose(1000, "call_ended")
            outcome.in_order = True
        outcome.closed = connection.closed.code if connection.closed is not None else None
        await trio.sleep_forever()


async def _wait_to_take(play: Play) -> None:
    await trio.sleep({"late": LATE_SECONDS, "never": inf}.get(play.taking, 0))


def _until_we_leave(play: Play) -> trio.CancelScope:
    if play.leaves_at is None:
        return trio.move_on_at(inf)
    return trio.move_on_at(FIRST_PIECE_SECONDS + LATENCY_SECONDS + play.leaves_at)


@attrs.frozen
class _Noting:
    """A nursery for the library, which notes what its reader raises."""

    nursery: trio.Nursery
    outcome: Outcome

    def start_soon(self, task: Callable[[], Awaitable[None]]) -> None:
        self.nursery.start_soon(self._run, task)

    async def _run(self, task: Callable[[], Awaitable[None]]) -> None:
        try:
            await task()
        except Exception as exc:  # noqa: BLE001  # not swallowed: what it was is part of the outcome
            self.outcome.raised.append(repr(exc))


def outcome_of(play: Play, subject: Subject) -> Outcome:
    outcome = Outcome()

    async def main() -> None:
        await _perform(play, subject, outcome)

    with mock.patch.multiple(limits, CALLER_TEXT_BYTES=play.most, VAPI_MESSAGE_BYTES=play.most):
        run_in_virtual_time(main)
    if play.who == "caller":  # its answer to our request
        outcome.sent = outcome.sent.partition(b"\r\n\r\n")[2]
    return outcome


async def _perform(play: Play, subject: Subject, outcome: Outcome) -> None:
    async with AsyncExitStack() as stack:
        stack.enter_context(VirtualNetwork(Weather(latency_seconds=LATENCY_SECONDS)).installed())
        listener = await stack.enter_async_context((await trio.open_tcp_listeners(0, host="127.0.0.1"))[0])
        nursery = await stack.enter_async_context(trio.open_nursery())
        nursery.start_soon(subject, play, outcome, listener)
        if play.who == "caller":
            theirs = await stack.enter_async_context(await trio.open_tcp_stream("127.0.0.1", port_of([listener])))
            head = REQUEST
        else:
            theirs = await stack.enter_async_context(await listener.accept())
            head = _agreement(await read_head(theirs))
        nursery.start_soon(_hear, theirs, outcome)
        # It may leave before all was said; the library may stay, and read no more.
        with suppress(trio.BrokenResourceError), trio.move_on_after(LAST_SECONDS):
            await _say(play, head, theirs)
        await trio.sleep(LAST_SECONDS)
        nursery.cancel_scope.cancel()


async def _say(play: Play, head: bytes, theirs: trio.SocketStream) -> None:
    glued = 1 if play.glued and play.pieces else 0
    await theirs.send_all(b"".join((head, *play.pieces[:glued])))
    if not play.glued:
        await trio.sleep_until(FIRST_PIECE_SECONDS)
    for piece in play.pieces[glued:]:
        await theirs.send_all(piece)
        await trio.sleep(PIECE_SECONDS)
    if play.ends:
        await theirs.send_eof()


async def _hear(theirs: trio.SocketStream, outcome: Outcome) -> None:
    with suppress(trio.BrokenResourceError):
        while data := await theirs.receive_some():
            outcome.sent += data
    outcome.left = True


def _agreement(request: bytes) -> bytes:
    """The server's half of a handshake."""
    fields = [line.partition(b": ") for line in request.split(b"\r\n")]
    key = next(value for name, _, value in fields if name.lower() == b"sec-websocket-key")
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + generate_accept_token(key) + b"\r\n\r\n"
    )
