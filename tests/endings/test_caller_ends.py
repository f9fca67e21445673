"""Endings that the caller makes: he hangs up, is cut off, vanishes, or does not listen any more."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import attrs
import pytest
import trio

from runtime import limits
from simulation.network import Link, Weather, close_with_reset
from simulation.scenario import AgentTurn
from simulation.websockets import close_socket
from tests.endings.stage import (
    ANSWERED_A_PING_SECONDS,
    AT_ONCE_SECONDS,
    END_CALL,
    GREETING,
    NOTICED_SECONDS,
    HeldCall,
    open_stage,
    words,
)

HangsUp = Callable[[HeldCall], Awaitable[None]]


async def closes(call: HeldCall) -> None:
    await close_socket(call.connection, 1000)


async def says_end(call: HeldCall) -> None:
    await call.connection.send_message('{"type":"end"}')


async def leaves(call: HeldCall) -> None:
    """A FIN and no close frame, as a program that has ended."""
    call.link.client.close()


async def half_closes(call: HeldCall) -> None:
    """A FIN, and still listening."""
    call.link.half("client").shut_down()


async def resets(call: HeldCall) -> None:
    close_with_reset(call.link.client)


async def hang_up(call: HeldCall, act: HangsUp) -> float:
    """What every hang-up comes to; returns how long it took."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(act, call)
        took = await call.gone(AT_ONCE_SECONDS)
    await call.vapi_saw(END_CALL, 1000)
    assert call.at_vapi.ended_by == "client"
    assert call.record.ending is not None
    assert (call.record.ending.by, call.record.ending.reason) == ("caller", "call_ended")
    return took


WAYS = pytest.mark.parametrize("act", [closes, leaves, half_closes, resets])


@WAYS
async def test_caller_hangs_up_when_he_speaks(act: HangsUp) -> None:
    async with open_stage() as stage, stage.live_call(speaks=True) as call:
        await trio.sleep(1.005)
        await hang_up(call, act)


@WAYS
async def test_caller_hangs_up_when_the_assistant_speaks(act: HangsUp) -> None:
    async with open_stage() as stage:
        stage.world.cloud.agent = (attrs.evolve(GREETING, say=words(4)),)
        async with stage.live_call() as call:
            await trio.sleep(2)
            await hang_up(call, act)
            assert call.heard_bytes > 0


@WAYS
@pytest.mark.parametrize("mode", ["burst", "paced"])
async def test_caller_hangs_up_when_a_tail_is_sent(act: HangsUp, mode: str) -> None:
    async with open_stage(TAIL_MODE=mode) as stage, stage.live_call() as call:
        await stage.world.until(lambda: call.record.counts["tail_bytes"])
        await hang_up(call, act)


@pytest.mark.parametrize("act", [says_end, closes, leaves, resets])
async def test_caller_hangs_up_when_he_uses_json(act: HangsUp) -> None:
    async with open_stage() as stage, stage.live_call("json", speaks=True) as call:
        await trio.sleep(1)
        await hang_up(call, act)


SMALL_BUFFERS = Weather(buffer_bytes=8 * 1024)


@asynccontextmanager
async def deaf_vapi(waiting_seconds: float) -> AsyncIterator[HeldCall]:
    """A live call whose Vapi has stopped reading, and so much of the caller's speech that waits for it."""
    async with open_stage() as stage:
        stage.network.weather_at[stage.world.cloud.transport_port] = SMALL_BUFFERS
        async with stage.live_call(speaks=True) as call:
            call.vapi_link.deafen("server", 5)
            await stage.world.until(lambda: call.waiting_bytes >= waiting_seconds * limits.AUDIO_BYTES_PER_SECOND)
            yield call


@WAYS
async def test_what_waits_for_vapi_is_dropped_and_counted_when_the_caller_hangs_up(act: HangsUp) -> None:
    async with deaf_vapi(0.2) as call, trio.open_nursery() as nursery:
        nursery.start_soon(act, call)
        await call.gone(limits.CLOSE_SECONDS + AT_ONCE_SECONDS)
        assert call.record.counts["uplink_bytes_discarded"] >= 0.2 * limits.AUDIO_BYTES_PER_SECOND
        # The rest of a frame never left, so nothing more could be said behind it.
        await call.stage.world.ended(call.at_vapi, limits.ORPHAN_SECONDS)
        assert call.at_vapi.ended_by == "control"


@WAYS
async def test_caller_hangs_up_when_vapi_takes_nothing_and_he_is_not_read_any_more(act: HangsUp) -> None:
    """A full channel stops the reads: the hang-up lies behind audio until Vapi is given up."""
    in_two_hands_seconds = 2 * limits.FRAME_SECONDS
    async with (
        deaf_vapi(limits.CALLER_AUDIO_SECONDS + in_two_hands_seconds) as call,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(act, call)
        await call.gone(limits.UPLINK_STALL_SECONDS)
        await call.stage.world.ended(call.at_vapi, limits.ORPHAN_SECONDS)


def is_reset_to_us(link: Link) -> None:
    link.half("client").be_reset_at(trio.current_time())


def finishes(link: Link) -> None:
    link.half("server").outbound.finish(trio.current_time())
    link.half("client").news.tell()


@pytest.mark.parametrize("breaks", [is_reset_to_us, finishes])
async def test_call_at_vapi_is_ended_another_way_when_its_socket_breaks_before_vapis_close(
    breaks: Callable[[Link], None],
) -> None:
    """Our end-call and our Close went out, and nobody has read them."""
    async with open_stage() as stage, stage.live_call(speaks=True) as call:
        await trio.sleep(1.005)
        call.vapi_link.deafen("server")
        call.link.client.close()
        await trio.sleep(0.05)
        breaks(call.vapi_link)
        await call.gone(AT_ONCE_SECONDS)
        counts = stage.world.doors.house.vapi_calls.counts
        await stage.world.until(lambda: counts == {"orphans_ended": 1}, limits.ORPHAN_SECONDS)
        assert call.at_vapi.ended_by == "control"


@pytest.mark.parametrize("breaks", [is_reset_to_us, finishes])
async def test_orphan_is_ended_another_way_when_its_socket_breaks_before_vapis_close(
    breaks: Callable[[Link], None],
) -> None:
    """The caller has left while the call was made: its socket is dialled to say end-call, and takes it unread."""
    async with open_stage() as stage:
        cloud = stage.world.cloud
        cloud.agent = (AgentTurn(),)
        cloud.behaviour = attrs.evolve(cloud.behaviour, post_delay_seconds=1)
        async with stage.call() as call:
            await trio.sleep(0.5)
            call.link.client.close()
            await stage.world.until(lambda: stage.network.links_to(cloud.transport_port) != [])
            link = stage.network.links_to(cloud.transport_port)[0]
            while not link.half("client").inbound.sent_bytes:
                await trio.sleep(0.001)
            link.deafen("server")
            await trio.sleep(0.05)
            breaks(link)
            counts = stage.world.doors.house.vapi_calls.counts
            await stage.world.until(lambda: counts == {"orphans_ended": 1}, limits.ORPHAN_SECONDS)
            assert call.at_vapi.ended_by == "control"


def vanishes(call: HeldCall) -> None:
    call.link.cut()


def reads_nothing(call: HeldCall) -> None:
    call.link.deafen("client")


@pytest.mark.parametrize("speaks", [True, False], ids=["speaking", "silent"])
@pytest.mark.parametrize("act", [vanishes, reads_nothing])
async def test_call_is_gone_in_time_when_the_caller(act: Callable[[HeldCall], None], speaks: bool) -> None:
    async with open_stage() as stage, stage.live_call(speaks=speaks) as call:
        await trio.sleep(ANSWERED_A_PING_SECONDS)
        act(call)
        await call.gone(NOTICED_SECONDS)
        await call.vapi_saw(END_CALL, 1000)


@pytest.mark.parametrize("mode", ["burst", "paced"])
@pytest.mark.parametrize("act", [vanishes, reads_nothing])
async def test_call_is_gone_in_time_when_the_assistant_speaks_and_the_caller(
    act: Callable[[HeldCall], None], mode: str
) -> None:
    async with open_stage(TAIL_MODE=mode) as stage:
        stage.world.cloud.agent = (attrs.evolve(GREETING, say=words(15)),)
        async with stage.live_call(speaks=True) as call:
            await trio.sleep(ANSWERED_A_PING_SECONDS)
            act(call)
            await call.gone(NOTICED_SECONDS)
            await call.vapi_saw(END_CALL, 1000)
