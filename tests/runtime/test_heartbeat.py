"""runtime/heartbeat.py, on both legs: who is found dead, who is not, and that nothing of it stays."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from math import inf

import pytest
import trio
import trio.testing
from wsproto.events import BytesMessage, CloseConnection, Ping

from runtime import limits
from runtime.leg import Audio, Closed, LegClosed, LegStalled
from simulation.network import Weather
from tests.fakes import speech
from tests.peers import FRAME, Who, Wired, wired

NO_PONG = Closed(1006, "no pong within 5 s")
both_legs = pytest.mark.parametrize("who", ["caller", "vapi"])


async def assert_given_up(wires: Wired) -> None:
    """All that a leg owes the call when its peer is dead, at once."""
    found_at = trio.current_time()
    assert wires.socket_closed
    assert await wires.refuses_to_send()
    assert not await wires.leg.aclose(1000, "call_ended")
    assert trio.current_time() == found_at
    assert await wires.no_task_is_left()


@both_legs
@pytest.mark.parametrize("seconds", [0.5, 3.9, 4.02, 7.0])
async def test_peer_is_found_dead_when_it_vanished(who: Who, seconds: float) -> None:
    async with wired(who) as wires, trio.open_nursery() as nursery:
        nursery.start_soon(wires.peer.live)
        await trio.sleep(seconds)
        wires.link.cut()
        vanished_at = trio.current_time()
        assert await wires.end() == NO_PONG
        assert trio.current_time() - vanished_at <= limits.PING_SECONDS + limits.PONG_SECONDS
        await assert_given_up(wires)
        nursery.cancel_scope.cancel()


async def test_caller_is_found_dead_when_he_vanished_while_we_speak() -> None:
    async with wired("caller") as wires, trio.open_nursery() as nursery:
        wires.link.cut()

        async def speak() -> None:  # until the buffers are full
            while not await wires.refuses_to_send():
                await trio.sleep(limits.FRAME_SECONDS)

        nursery.start_soon(speak)
        assert await wires.end() == NO_PONG
        assert trio.current_time() <= limits.PING_SECONDS + limits.PONG_SECONDS + 0.1
        await assert_given_up(wires)


@both_legs
async def test_peer_is_found_dead_when_it_speaks_but_answers_no_ping(who: Who) -> None:
    async with wired(who) as wires, trio.open_nursery() as nursery:
        nursery.start_soon(wires.peer.speak, 60)
        assert await wires.end() == NO_PONG
        assert trio.current_time() <= limits.PING_SECONDS + limits.PONG_SECONDS + 0.5
        await assert_given_up(wires)
        nursery.cancel_scope.cancel()


@both_legs
@pytest.mark.parametrize("seconds", [1.0, 5.0])
async def test_leg_ends_when_its_peer_has_closed_and_takes_nothing(who: Who, seconds: float) -> None:
    async with wired(who) as wires, trio.open_nursery() as nursery:
        wires.link.deafen("client" if wires.side == "server" else "server")

        async def speak() -> None:  # until the buffers are full: then our Close has no way out
            with suppress(LegClosed, LegStalled):
                while True:
                    await wires.leg.send_audio(speech(0.5))

        nursery.start_soon(speak)
        await trio.sleep(seconds)
        await wires.peer.say(CloseConnection(1000))
        closed_at = trio.current_time()
        assert (await wires.end()).code in (1000, 1006)  # 1006 where a send that stalled has torn the leg
        assert trio.current_time() - closed_at <= limits.PING_SECONDS + limits.CLOSE_SECONDS + 0.2
        assert wires.socket_closed


@both_legs
async def test_peer_is_not_found_dead_when_nobody_reads_its_pong(who: Who) -> None:
    async with wired(who) as wires, trio.open_nursery() as nursery:
        await wires.peer.speak(2, in_real_time=False)  # more than the library takes in before we receive
        nursery.start_soon(wires.peer.live)
        await trio.sleep(30)
        for _ in range(100):
            assert await wires.leg.receive() == Audio(FRAME)
        with trio.move_on_after(30) as still_there:
            await wires.leg.receive()
        assert still_there.cancelled_caught
        assert [type(event) for event in wires.peer.heard[:1]] == [Ping]
        nursery.cancel_scope.cancel()


@both_legs
async def test_peer_is_not_found_dead_when_our_audio_is_long_under_way(who: Who) -> None:
    narrow = Weather(bytes_per_second=8_000)  # the ping lies behind 8 s of what we sent before it
    async with wired(who, narrow) as wires, trio.open_nursery() as nursery:
        nursery.start_soon(wires.peer.live)

        async def speak() -> None:
            while True:
                await wires.leg.send_audio(speech(0.1))

        nursery.start_soon(speak)
        with trio.move_on_after(60) as still_there:
            await wires.leg.receive()
        assert still_there.cancelled_caught
        nursery.cancel_scope.cancel()


@both_legs
async def test_peer_is_found_dead_when_it_sends_pings_and_takes_nothing(who: Who) -> None:
    async with wired(who, Weather(buffer_bytes=1024)) as wires, trio.open_nursery() as nursery:
        wires.link.deafen("client" if wires.side == "server" else "server")

        async def send_pings() -> None:
            with suppress(trio.BrokenResourceError):
                while True:
                    await wires.peer.say(Ping(bytes(100)))

        nursery.start_soon(send_pings)
        assert await wires.end() == NO_PONG
        assert trio.current_time() <= limits.PING_SECONDS + limits.PONG_SECONDS + 0.2
        await assert_given_up(wires)
        nursery.cancel_scope.cancel()


@both_legs
@pytest.mark.parametrize("bytes_per_second", [inf, 48_000])  # our sends never wait, or nearly always
async def test_peer_is_not_found_dead_when_nobody_reads_its_pong_and_it_takes_what_we_say(
    who: Who, bytes_per_second: float
) -> None:
    async with wired(who) as wires, trio.open_nursery() as nursery:
        theirs = wires.link.half("client" if wires.side == "server" else "server").inbound
        theirs.weather = Weather(bytes_per_second=bytes_per_second, buffer_bytes=16 * 1024)
        await wires.peer.speak(2, in_real_time=False)  # more than the library takes in before we receive
        nursery.start_soon(wires.peer.live)
        with trio.move_on_after(30):
            while True:
                await wires.leg.send_audio(FRAME)
                await trio.sleep(limits.FRAME_SECONDS / 2)
        for _ in range(100):
            assert await wires.leg.receive() == Audio(FRAME)
        assert not wires.socket_closed
        nursery.cancel_scope.cancel()


@both_legs
async def test_peer_is_not_found_dead_when_it_plays_as_it_reads_far_behind_us(who: Who) -> None:
    behind = Weather(bytes_per_second=48_000, buffer_bytes=400_000)  # 8 s
    async with wired(who, behind) as wires, trio.open_nursery() as nursery:
        nursery.start_soon(wires.peer.live)

        async def speak() -> None:
            while True:
                await wires.leg.send_audio(FRAME)

        nursery.start_soon(speak)
        with trio.move_on_after(60) as still_there:
            await wires.end()
        assert still_there.cancelled_caught
        nursery.cancel_scope.cancel()


@both_legs
async def test_peer_is_not_found_dead_when_our_own_loop_stood_still(who: Who) -> None:
    async with wired(who) as wires, trio.open_nursery() as nursery:
        clock = trio.lowlevel.current_clock()
        assert isinstance(clock, trio.testing.MockClock)

        async def stand_still_before_the_pong_arrives() -> None:
            ping = await wires.peer.hear()
            assert isinstance(ping, Ping)
            await wires.peer.speak(0.8, in_real_time=False)
            await wires.peer.say(ping.response())
            clock.jump(2 * limits.PONG_SECONDS)
            await wires.peer.live()

        nursery.start_soon(stand_still_before_the_pong_arrives)
        with trio.move_on_after(20) as still_there:
            await wires.end()
        assert still_there.cancelled_caught
        assert len(wires.peer.heard) > 1
        nursery.cancel_scope.cancel()


@both_legs
async def test_peer_is_pinged_at_the_pace_of_the_limits_when_it_lives(who: Who) -> None:
    async with wired(who) as wires:
        with trio.move_on_after(30):
            await wires.peer.live()
        assert wires.peer.heard == [Ping(number.to_bytes(4, "big")) for number in range(1, 8)]


async def closes(wires: Wired) -> None:
    await wires.leg.aclose(1000, "call_ended")


async def peer_closes(wires: Wired) -> None:
    await wires.peer.say(CloseConnection(1000))
    await wires.end()


async def peer_leaves(wires: Wired) -> None:
    await wires.peer.stream.aclose()
    await wires.end()


async def peer_is_reset(wires: Wired) -> None:
    wires.link.reset()
    await wires.end()


# W10: a ping in flight never returns when its connection ends.
@both_legs
@pytest.mark.parametrize("pinged", [False, True])
@pytest.mark.parametrize("end", [closes, peer_closes, peer_leaves, peer_is_reset])
async def test_heartbeat_ends_when_its_leg_ends(
    who: Who, pinged: bool, end: Callable[[Wired], Awaitable[None]]
) -> None:
    async with wired(who) as wires:
        await trio.sleep(limits.PING_SECONDS + 0.5 if pinged else 0.5)
        ended_at = trio.current_time()
        await end(wires)
        assert await wires.no_task_is_left()
        assert trio.current_time() <= ended_at + 2 * limits.CLOSE_SECONDS


@both_legs
async def test_no_ping_is_sent_when_a_close_has_gone_out(who: Who) -> None:
    async with wired(who) as wires:
        await trio.sleep(limits.PING_SECONDS - 0.2)
        await wires.leg.aclose(1000, "call_ended")  # which the peer does not answer
        assert trio.current_time() > limits.PING_SECONDS
        assert await wires.peer.hear_all() == [CloseConnection(1000, "call_ended")]


@both_legs
async def test_no_ping_is_sent_when_a_close_has_come_in(who: Who) -> None:
    async with wired(who) as wires:
        await trio.sleep(limits.PING_SECONDS - 0.2)
        await wires.peer.say(BytesMessage(FRAME), CloseConnection(1000))
        assert await wires.end() == Closed(1000)
        await trio.sleep(1)
        assert await wires.peer.hear_all() == [CloseConnection(1000, "")]
