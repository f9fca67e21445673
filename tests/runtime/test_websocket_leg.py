"""runtime/ws_leg.py over a stream in memory: what a leg says of its peer, and how it ends."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
import trio.testing
import trio_websocket

from runtime import limits
from runtime.errors import HalfASample
from runtime.leg import Audio, Closed, LegClosed, LegStalled
from runtime.voice_ws import framing_for
from runtime.ws_leg import WebSocketLeg, receive_upgrade
from tests.fakes import speech

FRAME = speech(0.02)


@attrs.define
class Slow(trio.abc.Stream):
    """The server's end of the wire. `send_seconds` a send takes; `stalled`, the peer takes nothing."""

    inner: trio.abc.Stream
    send_seconds: float = 0.0
    stalled: bool = False
    closed: bool = False

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self.inner.receive_some(max_bytes)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await trio.sleep(float("inf") if self.stalled else self.send_seconds)
        await self.inner.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self.inner.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        self.closed = True
        await self.inner.aclose()


@attrs.frozen
class Wired:
    leg: WebSocketLeg
    wire: Slow
    caller: trio_websocket.WebSocketConnection
    callers_stream: trio.testing.MemorySendStream | trio.abc.Stream


@asynccontextmanager
async def connected(protocol: str = "binary") -> AsyncIterator[Wired]:
    """A caller of trio-websocket's own, and our leg to it."""
    theirs, ours = trio.testing.memory_stream_pair()
    wire = Slow(ours)
    legs: list[WebSocketLeg] = []

    async def accept() -> None:
        upgrade = await receive_upgrade(nursery, wire)
        assert upgrade is not None
        legs.append(await upgrade.accept(framing_for("json" if protocol == "json" else "binary")))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(accept)
        caller = await trio_websocket.wrap_client_stream(nursery, theirs, "voice", "/voice")  # type: ignore[arg-type]
        await trio.testing.wait_all_tasks_blocked()
        yield Wired(legs[0], wire, caller, theirs)
        nursery.cancel_scope.cancel()


async def test_leg_carries_audio_both_ways_when_connected() -> None:
    async with connected() as wired:
        await wired.caller.send_message(FRAME)
        assert await wired.leg.receive() == Audio(FRAME)
        await wired.leg.send_audio(FRAME)
        assert await wired.caller.get_message() == FRAME


async def test_leg_gives_code_and_reason_when_the_peer_closes() -> None:
    async with connected() as wired:
        await wired.caller.send_message(FRAME)
        await wired.caller.aclose(4000, "bye")
        assert await wired.leg.receive() == Audio(FRAME)
        assert await wired.leg.receive() == Closed(4000, "bye")
        with pytest.raises(LegClosed):
            await wired.leg.send_audio(FRAME)


async def test_leg_gives_1006_when_the_connection_breaks() -> None:
    async with connected() as wired:
        await trio.aclose_forcefully(wired.callers_stream)
        assert await wired.leg.receive() == Closed(1006)


async def test_leg_raises_the_violation_when_the_caller_breaks_the_protocol() -> None:
    async with connected() as wired:
        await wired.caller.send_message(b"odd")
        with pytest.raises(HalfASample):
            await wired.leg.receive()


@pytest.mark.parametrize("protocol", ["binary", "json"])
async def test_leg_says_goodbye_with_code_and_reason_when_closed(protocol: str) -> None:
    async with connected(protocol) as wired:
        assert await wired.leg.aclose(1011, "vapi_lost")
        if protocol == "json":
            assert await wired.caller.get_message() == '{"type":"end"}'
        with pytest.raises(trio_websocket.ConnectionClosed) as closed:
            await wired.caller.get_message()
        assert closed.value.reason is not None
        assert (closed.value.reason.code, closed.value.reason.reason) == (1011, "vapi_lost")
        assert wired.wire.closed
        assert trio.current_time() == 0


# W3: nor is there a bound on saying Close to a peer that takes nothing.
async def test_leg_closes_by_force_in_bounded_time_when_the_peer_takes_nothing() -> None:
    async with connected() as wired:
        wired.wire.stalled = True
        assert not await wired.leg.aclose(1000, "call_ended")
        assert wired.wire.closed
        assert trio.current_time() <= 2 * limits.CLOSE_SECONDS


# W6: the library goes on sending behind half a frame.
@pytest.mark.parametrize("stop", [True, False])
async def test_leg_is_torn_when_a_send_is_cut_in_the_middle(stop: bool) -> None:
    async with connected() as wired:
        wired.wire.stalled = True
        if stop:
            with trio.move_on_after(1):
                await wired.leg.send_audio(FRAME)
        else:
            with pytest.raises(LegStalled):
                await wired.leg.send_audio(FRAME)
            assert trio.current_time() == limits.DOWNLINK_STALL_SECONDS
        assert wired.leg.torn
        wired.wire.stalled = False
        with pytest.raises(LegClosed):
            await wired.leg.send_audio(FRAME)
        assert not await wired.leg.aclose(1000, "call_ended")
        assert wired.wire.closed


async def test_leg_is_whole_when_a_send_is_cancelled_before_it_began() -> None:
    async with connected() as wired:
        with trio.CancelScope() as scope:
            scope.cancel()
            await wired.leg.send_audio(FRAME)
        assert not wired.leg.torn
        await wired.leg.send_audio(FRAME)


async def beside(wired: Wired, act: Callable[[], Awaitable[None]]) -> None:
    """`act` while the library's reader is in the middle of answering a ping of the peer."""
    wired.wire.send_seconds = 0.1
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wired.caller.ping)
        await trio.sleep(0.05)
        await act()


async def test_leg_sends_audio_when_a_pong_is_being_sent() -> None:
    async with connected() as wired:

        async def speak() -> None:
            await wired.leg.send_audio(FRAME)

        await beside(wired, speak)
        assert await wired.caller.get_message() == FRAME


async def test_leg_says_goodbye_when_a_pong_is_being_sent() -> None:
    async with connected() as wired:

        async def close() -> None:
            assert await wired.leg.aclose(1000, "call_ended")

        await beside(wired, close)


async def test_leg_does_not_know_what_the_peer_heard_when_the_connection_broke() -> None:
    async with connected() as wired:
        await trio.aclose_forcefully(wired.callers_stream)
        assert await wired.leg.receive() == Closed(1006)
        assert not await wired.leg.aclose(1000, "call_ended")


async def test_leg_is_closed_once_when_it_is_closed_twice() -> None:
    async with connected() as wired:
        assert await wired.leg.aclose(1000, "call_ended")
        assert await wired.leg.aclose(1011, "internal_error")
        with pytest.raises(LegClosed):
            await wired.leg.send_audio(FRAME)


# W1: nor does the library bound a handshake that it answers.
@pytest.mark.parametrize("sends", [b"", b"GET /voice HTTP/1.1\r\n"])
async def test_nothing_is_accepted_when_a_caller_says_nothing_or_half_a_request(sends: bytes) -> None:
    theirs, ours = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        await theirs.send_all(sends)
        assert await receive_upgrade(nursery, ours) is None
        assert trio.current_time() == limits.HANDSHAKE_SECONDS
        await theirs.aclose()
        nursery.cancel_scope.cancel()


# W2: nor does it give up a handshake whose caller has left.
async def test_nothing_is_accepted_when_a_caller_leaves_in_the_handshake() -> None:
    theirs, ours = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        await theirs.send_all(b"GET /voice HTTP/1.1\r\n")
        await theirs.aclose()
        assert await receive_upgrade(nursery, ours) is None
        assert trio.current_time() == 0
        nursery.cancel_scope.cancel()
