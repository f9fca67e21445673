"""runtime/ws_leg.py on a network in memory: what a leg says of its peer, what it sends at once, and how it ends."""

from collections.abc import Sequence

import pytest
import trio
import trio.testing
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, Pong, TextMessage

from runtime import limits
from runtime.errors import HalfASample
from runtime.leg import Audio, Closed, LegClosed, Passing, Text
from runtime.ws_handshake import receive_upgrade
from simulation.network import VirtualNetwork, Weather, port_of
from tests.fakes import speech
from tests.peers import FRAME, Who, Wired, running_switchboard, wired


def audio_of(events: Sequence[Event]) -> bytes:
    return b"".join(bytes(event.data) for event in events if isinstance(event, BytesMessage))


both_legs = pytest.mark.parametrize("who", ["caller", "vapi"])


@both_legs
async def test_leg_carries_audio_both_ways_when_connected(who: Who) -> None:
    async with wired(who) as wires:
        await wires.peer.say(BytesMessage(FRAME))
        assert await wires.leg.receive() == Audio(FRAME)
        await wires.leg.send_audio(FRAME)
        assert await wires.peer.hear() == BytesMessage(FRAME)


@both_legs
async def test_leg_gives_code_and_reason_when_the_peer_closes(who: Who) -> None:
    async with wired(who) as wires:
        await wires.peer.say(BytesMessage(FRAME), CloseConnection(4000, "bye"))
        assert await wires.leg.receive() == Audio(FRAME)
        assert await wires.leg.receive() == Closed(4000, "bye")
        assert await wires.leg.receive() == Closed(4000, "bye")
        with pytest.raises(LegClosed):
            await wires.leg.send_audio(FRAME)
        assert not wires.leg.offer(Audio(FRAME))


async def test_leg_raises_the_violation_when_the_caller_breaks_the_protocol() -> None:
    async with wired("caller") as wires:
        await wires.peer.say(BytesMessage(b"odd"))
        with pytest.raises(HalfASample):
            await wires.leg.receive()


@pytest.mark.parametrize("protocol", ["binary", "json"])
async def test_leg_says_goodbye_with_code_and_reason_when_closed(protocol: str) -> None:
    async with wired("caller", protocol=protocol) as wires, trio.open_nursery() as nursery:  # type: ignore[arg-type]
        nursery.start_soon(wires.peer.live)
        began = trio.current_time()
        assert await wires.leg.aclose(1011, "vapi_lost")
        farewell = [TextMessage('{"type":"end"}')] if protocol == "json" else []
        assert wires.peer.heard == [*farewell, CloseConnection(1011, "vapi_lost")]
        assert wires.socket_closed
        assert trio.current_time() - began <= 0.03  # there and back


# W3: nor is there a bound on saying Close to a peer that takes nothing.
@both_legs
async def test_leg_closes_by_force_in_bounded_time_when_the_peer_takes_nothing(who: Who) -> None:
    async with wired(who) as wires:
        await wires.leg.send_audio(speech(5))
        began = trio.current_time()
        assert not await wires.leg.aclose(1000, "call_ended")
        assert wires.socket_closed
        assert trio.current_time() - began <= limits.CLOSE_SECONDS


@both_legs
async def test_nothing_is_sent_when_a_send_is_cancelled_before_it_began(who: Who) -> None:
    async with wired(who) as wires:
        with trio.CancelScope() as scope:
            scope.cancel()
            await wires.leg.send_audio(b"no")
        await wires.leg.send_audio(FRAME)
        assert await wires.peer.hear() == BytesMessage(FRAME)


@both_legs
async def test_nothing_is_lost_when_a_receive_is_cancelled(who: Who) -> None:
    async with wired(who) as wires:
        with trio.move_on_after(0.5):
            await wires.leg.receive()
        await wires.peer.say(BytesMessage(FRAME))
        await trio.sleep(0.5)
        assert await wires.leg.receive() == Audio(FRAME)


async def test_leg_does_not_know_what_the_peer_heard_when_the_connection_broke() -> None:
    async with wired("vapi") as wires:
        wires.link.reset()
        assert await wires.leg.receive() == Closed(1006)
        assert not await wires.leg.aclose(1000, "call_ended")


async def test_leg_is_closed_once_when_it_is_closed_twice() -> None:
    async with wired("caller") as wires, trio.open_nursery() as nursery:
        nursery.start_soon(wires.peer.live)
        assert await wires.leg.aclose(1000, "call_ended")
        assert await wires.leg.aclose(1011, "internal_error")
        with pytest.raises(LegClosed):
            await wires.leg.send_audio(FRAME)


@both_legs
async def test_vapis_last_words_are_heard_when_sending_to_it_has_failed(who: Who) -> None:
    async with wired(who) as wires:
        await wires.peer.say(BytesMessage(FRAME), TextMessage("last"))
        wires.peer.stream.socket.close()
        await trio.sleep(0.1)
        await wires.leg.send_audio(FRAME)
        await trio.sleep(0.1)
        assert await wires.refuses_to_send()
        assert await wires.leg.receive() == Audio(FRAME)
        if who == "vapi":
            assert await wires.leg.receive() == Text("last")


async def receive_for(wires: Wired, seconds: float, at_once: list[bytes], most: int = 1_000) -> list[object]:
    """What `receive` gave, and in `at_once` the audio that passed it."""

    def take(audio: Passing) -> bool:
        took = len(at_once) < most
        if took:
            at_once.append(audio.pcm)
        return took

    received: list[object] = []
    with trio.move_on_after(seconds):
        while True:
            received.append(await wires.leg.receive(take))
    return received


@both_legs
async def test_audio_passes_a_receiver_that_takes_it_at_once_and_text_does_not(who: Who) -> None:
    async with wired(who) as wires:
        if who == "caller":
            await wires.peer.speak(0.1, in_real_time=False)
            passed: list[bytes] = []
            assert await receive_for(wires, 1, passed) == []
            assert passed == [FRAME] * 5
        else:
            await wires.peer.say(BytesMessage(b"one"), TextMessage("between"), BytesMessage(b"two"))
            passed = []
            assert await receive_for(wires, 1, passed) == [Text("between")]
            assert passed == [b"one", b"two"]


@both_legs
async def test_order_is_kept_when_a_receiver_takes_only_some_at_once(who: Who) -> None:
    async with wired(who) as wires:
        passed: list[bytes] = []
        await wires.peer.say(*(BytesMessage(bytes([n, n])) for n in range(6)))
        assert await receive_for(wires, 1, passed, most=3) == [Audio(bytes([n, n])) for n in range(3, 6)]
        assert passed == [bytes([n, n]) for n in range(3)]


@both_legs
async def test_what_a_receiver_raises_at_once_is_raised_in_its_own_task(who: Who) -> None:
    def fail(_audio: Passing) -> bool:
        raise KeyError("a defect")

    async with wired(who) as wires:
        await wires.peer.say(BytesMessage(FRAME))
        with pytest.raises(KeyError, match="a defect"):
            await wires.leg.receive(fail)


@both_legs
async def test_reading_stops_when_nobody_receives(who: Who) -> None:
    async with wired(who) as wires:
        with trio.move_on_after(10) as held_up:
            await wires.peer.speak(60, in_real_time=False)
        assert held_up.cancelled_caught
        held_bytes = wires.link.half(wires.side).inbound.read_bytes
        assert held_bytes <= 2 * 64 * 1024 + 1_000


@both_legs
async def test_audio_is_not_sent_at_once_when_something_waits_before_it(who: Who) -> None:
    async with wired(who) as wires, trio.open_nursery() as nursery:
        assert wires.leg.offer(Audio(FRAME))
        assert wires.leg.offer(Audio(speech(5)))  # more than there is room for: the rest waits
        assert not wires.leg.offer(Audio(FRAME))
        nursery.start_soon(wires.peer.live)
        await trio.sleep(5)
        assert wires.leg.offer(Audio(FRAME))
        await trio.sleep(1)
        assert audio_of(wires.peer.heard) == FRAME + speech(5) + FRAME
        nursery.cancel_scope.cancel()


@both_legs
async def test_pong_goes_out_between_frames_when_the_line_is_full(who: Who) -> None:
    async with wired(who, Weather(bytes_per_second=100_000)) as wires, trio.open_nursery() as nursery:
        await wires.leg.send_audio(speech(3))
        await wires.peer.say(Ping(b"there?"))
        await trio.sleep(0.1)
        nursery.start_soon(wires.peer.live)
        await wires.leg.send_audio(FRAME)
        await trio.sleep(5)
        at = wires.peer.heard.index(Pong(b"there?"))
        assert audio_of(wires.peer.heard[:at]) == speech(3)
        assert audio_of(wires.peer.heard[at:]) == FRAME
        nursery.cancel_scope.cancel()


# W1, W2: nor does the library bound a handshake that it answers, or give it up when the caller has left.
@pytest.mark.parametrize("sends", [b"", b"GET /voice HTTP/1.1\r\n"])
@pytest.mark.parametrize("leaves", [True, False])
async def test_nothing_is_accepted_when_a_caller_says_nothing_or_half_a_request(sends: bytes, leaves: bool) -> None:
    with VirtualNetwork().installed():
        async with running_switchboard() as switchboard, trio.open_nursery() as nursery:
            listener = (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]
            theirs = await trio.open_tcp_stream("127.0.0.1", port_of([listener]))
            line = switchboard.line((await listener.accept()).socket)
            began = trio.current_time()
            await theirs.send_all(sends)
            if leaves:
                await theirs.aclose()
            assert await receive_upgrade(nursery, line) is None
            seconds = trio.current_time() - began
            assert seconds < 0.1 if leaves else seconds == pytest.approx(limits.HANDSHAKE_SECONDS)
            line.close()
            nursery.cancel_scope.cancel()
