"""The same bytes played to our leg and to trio-websocket alone, on a network in memory, and what came of it."""

import ssl
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from typing import Literal

import attrs
import trio
import trio_websocket
from wsproto.utilities import generate_accept_token

from runtime import limits
from runtime.leg import Audio, Closed, MaskedAudio, Message, Passing, Text
from runtime.ws_handshake import dial_vapi, receive_upgrade
from simulation.network import VirtualNetwork, port_of
from tests.peers import Who, read_head, running_switchboard
from tests.runtime.rfc6455 import Frame, frames_of

PIECE_SECONDS = 0.001
"""Between two pieces: each is read by itself."""
LAST_SECONDS = 1.0
"""What has not happened so long after the last piece will not."""
LATE_SECONDS = 0.5
Taking = Literal["prompt", "late", "at once", "some at once"]


@attrs.frozen
class Play:
    """`pieces` come behind the handshake, `glued` with its last segment. `ends`: with a FIN; else nothing follows.
    `taking`: how our leg is received from."""

    who: Who
    pieces: list[bytes]
    most: int
    ends: bool = True
    taking: Taking = "prompt"
    glued: bool = False

    @property
    def data(self) -> bytes:
        return b"".join(self.pieces)


@attrs.define
class Outcome:
    """`closed`: the code that the receiver was told; None: he waits. `left`: our side has closed the connection.
    `sent`: by our side, behind the handshake. `raised`: in the library's reader. Mutable, all of it."""

    messages: list[bytes | str] = attrs.field(factory=list)
    closed: int | None = None
    left: bool = False
    sent: bytearray = attrs.field(factory=bytearray)
    raised: list[str] = attrs.field(factory=list)

    def said(self, who: Who) -> list[Frame | None]:
        return list(frames_of(bytes(self.sent), masked=who == "vapi"))


class Transparent:
    """A framing that leaves all as it is."""

    farewell: str | None = None

    def decode(self, message: Message) -> Message:
        return message

    def encode(self, pcm: bytes) -> bytes | str:
        return pcm


Subject = Callable[[Play, Outcome, trio.SocketListener], Awaitable[None]]


async def our_leg(play: Play, outcome: Outcome, listener: trio.SocketListener) -> None:
    async with AsyncExitStack() as stack:
        switchboard = await stack.enter_async_context(running_switchboard())
        tasks = await stack.enter_async_context(trio.open_nursery())
        if play.who == "caller":
            line = switchboard.line((await listener.accept()).socket)
            stack.callback(line.close)
            upgrade = await receive_upgrade(tasks, line)
            assert upgrade is not None
            leg = await upgrade.accept(Transparent())  # type: ignore[arg-type]
        else:
            url = f"ws://vapi:{port_of([listener])}/x"
            leg = await stack.enter_async_context(dial_vapi(url, _NO_TLS, tasks, switchboard))

        def take(audio: Passing) -> bool:
            taken = play.taking == "at once" or (play.taking == "some at once" and len(outcome.messages) % 2 == 0)
            if taken:
                outcome.messages.append(audio.pcm)
            return taken

        await trio.sleep(LATE_SECONDS if play.taking == "late" else 0)
        while not isinstance(received := await leg.receive(take), Closed):
            outcome.messages.append(received.data if isinstance(received, Text) else received.pcm)
        outcome.closed = received.code
        await trio.sleep_forever()


_NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


async def the_library(play: Play, outcome: Outcome, listener: trio.SocketListener) -> None:
    async with trio.open_nursery() as tasks:
        if play.who == "caller":
            stream = await listener.accept()
            request = await trio_websocket.wrap_server_stream(
                _Noting(tasks, outcome), stream, max_message_size=limits.CALLER_TEXT_BYTES
            )
            connection = await request.accept()
        else:
            stream = await trio.open_tcp_stream("vapi", port_of([listener]))
            connection = await trio_websocket.wrap_client_stream(
                _Noting(tasks, outcome), stream, "vapi", "/x", max_message_size=limits.VAPI_MESSAGE_BYTES
            )
        with suppress(trio_websocket.ConnectionClosed):
            while True:
                outcome.messages.append(await connection.get_message())
        outcome.closed = connection.closed.code if connection.closed is not None else 1006
        await trio.sleep_forever()


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
        except Exception as exc:
            self.outcome.raised.append(repr(exc))


async def perform(play: Play, subject: Subject) -> Outcome:
    outcome = Outcome()
    async with AsyncExitStack() as stack:
        stack.enter_context(VirtualNetwork().installed())
        listener = await stack.enter_async_context((await trio.open_tcp_listeners(0, host="127.0.0.1"))[0])
        nursery = await stack.enter_async_context(trio.open_nursery())
        nursery.start_soon(subject, play, outcome, listener)
        if play.who == "caller":
            theirs = await stack.enter_async_context(await trio.open_tcp_stream("127.0.0.1", port_of([listener])))
            head = REQUEST
        else:
            theirs = await stack.enter_async_context(await listener.accept())
            head = agreement(await read_head(theirs))
        nursery.start_soon(_listen, theirs, outcome)
        with suppress(trio.BrokenResourceError):
            glued = play.glued and bool(play.pieces)
            await theirs.send_all(head + play.pieces[0] if glued else head)
            await trio.sleep(HANDSHAKE_SECONDS)
            for piece in play.pieces[glued:]:
                await theirs.send_all(piece)
                await trio.sleep(PIECE_SECONDS)
            if play.ends:
                await theirs.send_eof()
        await trio.sleep(LAST_SECONDS)
        nursery.cancel_scope.cancel()
    if play.who == "caller":
        outcome.sent = outcome.sent.partition(b"\r\n\r\n")[2]
    return outcome


async def _listen(theirs: trio.SocketStream, outcome: Outcome) -> None:
    with suppress(trio.BrokenResourceError):
        while data := await theirs.receive_some():
            outcome.sent += data
    outcome.left = True
