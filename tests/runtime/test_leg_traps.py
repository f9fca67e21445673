"""What the WebSocket library gets wrong or leaves open, a test for each: the leg must not.

The other half of W1, W2, W3 and W6 is in test_websocket_leg.py, W10 in test_heartbeat.py.
"""

import ssl
import struct
from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, Pong, TextMessage

from runtime import limits
from runtime.errors import NoAnswer
from runtime.leg import Audio, Closed, LegStalled, Text
from runtime.ws_handshake import dial_vapi
from tests.fakes import speech
from tests.peers import FRAME, Who, read_head, running_switchboard, served, wired

both_legs = pytest.mark.parametrize("who", ["caller", "vapi"])


async def dial_in_vain(
    serve: Callable[[trio.SocketStream], Awaitable[None]], scheme: str = "ws"
) -> tuple[NoAnswer, float]:
    """The error of a dial that leaves no task and no socket behind, and how long it took."""
    async with (
        served(serve) as (address, network),
        running_switchboard() as switchboard,
        trio.open_nursery() as tasks,
    ):
        with pytest.raises(NoAnswer) as failed:
            async with dial_vapi(f"{scheme}://{address}", ssl.create_default_context(), tasks, switchboard):
                raise AssertionError("it was answered")
        seconds = trio.current_time()
        await trio.testing.wait_all_tasks_blocked()
        assert not tasks.child_tasks
        assert network.links[0].client.closed
    return failed.value, seconds


# W1: the library's `connect_timeout` does not bound a handshake.
@pytest.mark.parametrize("scheme", ["ws", "wss"])
async def test_dialling_is_given_up_when_vapi_is_silent_in_the_handshake(scheme: str) -> None:
    async def say_nothing(stream: trio.SocketStream) -> None:
        await stream.receive_some()

    error, seconds = await dial_in_vain(say_nothing, scheme)
    assert error.cause == "vapi_down"
    assert limits.HANDSHAKE_SECONDS <= seconds <= limits.HANDSHAKE_SECONDS + 0.1


async def leave(stream: trio.SocketStream) -> None:
    await read_head(stream)
    await stream.aclose()


async def reset(stream: trio.SocketStream) -> None:
    await read_head(stream)
    stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, struct.pack("ii", 1, 0))
    await stream.aclose()


async def answer_502_and_leave(stream: trio.SocketStream) -> None:
    await read_head(stream)
    await stream.send_all(b"HTTP/1.1 502 Bad Gateway\r\n\r\n")
    await stream.aclose()


async def answer_502(stream: trio.SocketStream) -> None:
    await read_head(stream)
    await stream.send_all(b"HTTP/1.1 502 Bad Gateway\r\n\r\n")


# W2: the library waits for ever for a server that has left the handshake, and for a 502 whose length is not told.
@pytest.mark.parametrize(
    ("serve", "at_most_seconds"),
    [(leave, 0.1), (reset, 0.1), (answer_502_and_leave, 0.1), (answer_502, limits.HANDSHAKE_SECONDS + 0.1)],
)
async def test_dialling_is_given_up_when_vapi_leaves_the_handshake(
    serve: Callable[[trio.SocketStream], Awaitable[None]], at_most_seconds: float
) -> None:
    error, seconds = await dial_in_vain(serve)
    assert error.cause in ("vapi_down", "vapi_rejected")
    assert seconds <= at_most_seconds


# W3: the library's `aclose` waits for the peer's Close for ever.
@both_legs
async def test_leg_is_closed_by_force_when_the_peer_never_closes(who: Who) -> None:
    async with wired(who) as wires:
        began = trio.current_time()
        assert not await wires.leg.aclose(1000, "call_ended")
        assert trio.current_time() == pytest.approx(began + limits.CLOSE_SECONDS)
        assert wires.socket_closed
        assert await wires.peer.hear_all() == [CloseConnection(1000, "call_ended")]
        assert await wires.no_task_is_left()


# W4: the library leaves the socket open when the connection breaks.
@both_legs
@pytest.mark.parametrize("is_reset", [False, True])
async def test_leg_closes_its_socket_at_once_when_the_connection_breaks(who: Who, is_reset: bool) -> None:
    async with wired(who) as wires:
        if is_reset:
            wires.link.reset()
        else:
            await wires.peer.stream.aclose()
        assert await wires.leg.receive() == Closed(1006)
        await trio.testing.wait_all_tasks_blocked()
        assert wires.socket_closed
        assert await wires.no_task_is_left()


# W5: the library's reader raises when a ping comes while it closes.
@both_legs
async def test_leg_is_closed_in_silence_when_the_peer_pings_while_we_close(who: Who) -> None:
    async with wired(who) as wires, trio.open_nursery() as nursery:

        async def ping_late() -> None:
            assert await wires.peer.hear() == CloseConnection(1000, "call_ended")
            await wires.peer.say_bytes(b"\x89\x80\0\0\0\0" if who == "caller" else b"\x89\x00")

        nursery.start_soon(ping_late)
        began = trio.current_time()
        assert not await wires.leg.aclose(1000, "call_ended")
        assert trio.current_time() <= began + 2 * limits.CLOSE_SECONDS
        assert wires.socket_closed
        assert await wires.no_task_is_left()
        await trio.lowlevel.checkpoint()  # nor is anybody cancelled


# W6: behind half a frame the library would send whatever comes next, its own pongs too.
@both_legs
async def test_frame_that_was_begun_goes_out_whole_when_senders_are_cancelled(who: Who) -> None:
    async with wired(who) as wires, trio.open_nursery() as nursery:
        await wires.leg.send_audio(speech(5))  # more than the buffers hold, to a peer who does not read
        with trio.move_on_after(1) as stopped:
            await wires.leg.send_audio(b"lost")
        assert stopped.cancelled_caught
        await wires.peer.say(Ping(b"there?"))
        nursery.start_soon(wires.peer.live)  # now there is room
        await trio.sleep(5)
        await wires.leg.send_audio(FRAME)
        await trio.sleep(1)
        said = b"".join(event.data for event in wires.peer.heard if isinstance(event, BytesMessage))
        assert said == speech(5) + FRAME
        assert Pong(b"there?") in wires.peer.heard
        nursery.cancel_scope.cancel()


@both_legs
async def test_leg_says_nothing_more_when_a_send_has_stalled(who: Who) -> None:
    stall_seconds = limits.DOWNLINK_STALL_SECONDS if who == "caller" else limits.UPLINK_STALL_SECONDS
    async with wired(who) as wires, trio.open_nursery() as nursery:
        nursery.start_soon(wires.leg.receive)
        await wires.leg.send_audio(speech(5))
        began = trio.current_time()
        with pytest.raises(LegStalled):
            await wires.leg.send_audio(FRAME)
        assert trio.current_time() - began == pytest.approx(stall_seconds)
        assert await wires.refuses_to_send()
        assert not wires.leg.offer(Audio(FRAME))
        assert not await wires.leg.aclose(1000, "call_ended")
        assert trio.current_time() - began == pytest.approx(stall_seconds)
        assert wires.socket_closed
        nursery.cancel_scope.cancel()


# W9: the library closes the call over a message above 1 MiB.
async def test_vapi_is_heard_when_its_message_is_longer_than_a_mebibyte() -> None:
    long = "x" * (3 * 1024 * 1024 // 2)
    async with wired("vapi") as wires, trio.open_nursery() as nursery:
        nursery.start_soon(wires.peer.say, TextMessage(long), BytesMessage(FRAME))
        assert await wires.leg.receive() == Text(long)
        assert await wires.leg.receive() == Audio(FRAME)


MASK = b"\0\0\0\0"
VIOLATIONS: list[tuple[Who, bytes, int, str]] = [
    ("vapi", b"\xc2\x00", 1002, "protocol_error"),  # a reserved bit
    ("vapi", b"\x82\x80" + MASK, 1002, "protocol_error"),  # masked by a server
    ("vapi", b"\x8b\x00", 1002, "protocol_error"),  # an opcode that does not exist
    ("vapi", b"\x88\x01\x03", 1002, "protocol_error"),  # half a close code
    ("vapi", b"\x81\x02\xc3\x28", 1007, "not_utf8"),
    ("caller", b"\xc2\x80" + MASK, 1002, "protocol_error"),
    ("caller", b"\x82\x00", 1002, "protocol_error"),  # not masked by a client
    ("caller", b"\x81\x82" + MASK + b"\xc3\x28", 1007, "not_utf8"),
]


# W11: the library says no Close to a peer that broke the protocol, and a client leaves the socket open.
@pytest.mark.parametrize(("who", "violation", "code", "word"), VIOLATIONS)
async def test_peer_is_told_and_left_when_it_breaks_the_protocol(
    who: Who, violation: bytes, code: int, word: str
) -> None:
    async with wired(who) as wires:
        await wires.peer.say(BytesMessage(FRAME))
        await wires.peer.say_bytes(violation)
        began = trio.current_time()
        assert await wires.leg.receive() == Audio(FRAME)
        closed = await wires.leg.receive()
        assert isinstance(closed, Closed)
        assert closed.code == code
        assert closed.reason  # the library's words for what was wrong
        await trio.testing.wait_all_tasks_blocked()
        assert wires.socket_closed
        assert not await wires.leg.aclose(1000, "call_ended")
        assert trio.current_time() <= began + 0.1
        # The peer's own library checks that a client's frame is masked, and a server's is not.
        assert await wires.peer.hear_all() == [CloseConnection(code, word)]
        assert await wires.no_task_is_left()


# W11: here the library says Close, but leaves the socket open on both sides.
async def test_caller_is_told_and_left_when_his_message_is_too_long() -> None:
    async with wired("caller") as wires:
        await wires.peer.say(BytesMessage(bytes(limits.CALLER_TEXT_BYTES + 2)))
        assert (await wires.end()).code == 1009
        assert [event.code for event in await wires.peer.hear_all() if isinstance(event, CloseConnection)] == [1009]
        await trio.testing.wait_all_tasks_blocked()
        assert wires.socket_closed
        assert not await wires.leg.aclose(1000, "call_ended")
        assert await wires.no_task_is_left()


@both_legs
async def test_leg_answers_a_violation_when_its_own_send_is_under_way(who: Who) -> None:
    heard: list[Event] = []
    async with wired(who) as wires, trio.open_nursery() as nursery:

        async def speak() -> None:
            while not await wires.refuses_to_send():
                pass

        nursery.start_soon(speak)
        await trio.sleep(0.5)  # the buffers are full, and stay so
        await wires.peer.say_bytes(b"\xc2\x00" if who == "vapi" else b"\xc2\x80" + MASK)
        await trio.sleep(0.1)
        heard = await wires.peer.hear_all()
    assert heard[-1] == CloseConnection(1002, "protocol_error")
    assert {type(event) for event in heard[:-1]} <= {BytesMessage, Pong}
