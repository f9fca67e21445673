"""Endings that Vapi makes: it ends the call, breaks off, vanishes, or does not listen any more."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import attrs
import pytest
import trio

from runtime import limits
from simulation import vapi_socket
from simulation.behaviour import Behaviour
from simulation.network import Weather, close_with_reset
from simulation.scenario import AgentTurn
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

MODES = pytest.mark.parametrize("mode", ["burst", "paced"])
Ends = Callable[[HeldCall], None]


def closes(call: HeldCall) -> None:
    """Without a word before."""
    cloud = call.stage.world.cloud
    cloud.behaviour = attrs.evolve(cloud.behaviour, close_before_ended=True)
    call.at_vapi.end("silence-timed-out", by="vapi")


def says_ended(call: HeldCall) -> None:
    call.at_vapi.end("silence-timed-out", by="vapi")


def fails(call: HeldCall) -> None:
    """Closes with a code that tells of a fault."""
    cloud = call.stage.world.cloud
    cloud.behaviour = attrs.evolve(cloud.behaviour, close_code=1011)
    closes(call)


def leaves(call: HeldCall) -> None:
    """A FIN, and no close frame."""
    call.vapi_link.server.close()


def half_closes(call: HeldCall) -> None:
    call.vapi_link.half("server").shut_down()


def resets(call: HeldCall) -> None:
    close_with_reset(call.vapi_link.server)


IN_ORDER = (1000, "call_ended")
LOST = (1011, "vapi_lost")
WAYS = pytest.mark.parametrize(
    ("act", "told"),
    [(closes, IN_ORDER), (says_ended, IN_ORDER), (fails, LOST), (leaves, LOST), (half_closes, LOST), (resets, LOST)],
)


async def call_is_over(call: HeldCall, told: tuple[int, str], within_seconds: float = AT_ONCE_SECONDS) -> None:
    await call.gone(within_seconds)
    await call.was_told(*told)
    await call.stage.world.ended(call.at_vapi)


@WAYS
async def test_vapi_ends_when_nobody_speaks(act: Ends, told: tuple[int, str]) -> None:
    async with open_stage() as stage, stage.live_call() as call:
        await trio.sleep(6)
        act(call)
        await call_is_over(call, told)


@WAYS
async def test_vapi_ends_when_the_caller_uses_json(act: Ends, told: tuple[int, str]) -> None:
    async with open_stage() as stage, stage.live_call("json", speaks=True) as call:
        await trio.sleep(1.005)
        act(call)
        await call_is_over(call, told)
        assert call.texts[-1] == '{"type":"end"}'


@WAYS
@MODES
async def test_vapi_ends_when_both_speak(act: Ends, told: tuple[int, str], mode: str) -> None:
    async with open_stage(TAIL_MODE=mode) as stage:
        stage.world.cloud.agent = (attrs.evolve(GREETING, say=words(4)),)
        async with stage.live_call(speaks=True) as call:
            await trio.sleep(2.005)
            act(call)
            played = 0.1 if mode == "paced" else 0.0  # a chunk is up to 93 ms, and is played in real time
            await call_is_over(call, told, AT_ONCE_SECONDS + played)
            assert call.heard_bytes >= call.record.counts["downlink_bytes"]


@WAYS
@MODES
async def test_vapi_ends_when_a_tail_is_sent(act: Ends, told: tuple[int, str], mode: str) -> None:
    async with open_stage(TAIL_MODE=mode) as stage, stage.live_call() as call:
        await stage.world.until(lambda: call.record.counts["tail_bytes"])
        act(call)
        await call_is_over(call, told)


@asynccontextmanager
async def slow_caller(
    mode: str, seconds: float, bytes_per_second: float, buffer_bytes: int = 8 * 1024, *, speaks: bool = False
) -> AsyncIterator[HeldCall]:
    """A live call in which the assistant has spoken for so long, while the caller's line took less than that."""
    async with open_stage(TAIL_MODE=mode) as stage:
        stage.world.cloud.agent = (attrs.evolve(GREETING, say=words(15)),)
        async with stage.call(speaks=speaks) as call:
            down = Weather(buffer_bytes=buffer_bytes, bytes_per_second=bytes_per_second)
            call.link.half("client").inbound.weather = down
            await call.live()
            await trio.sleep(seconds)
            yield call


@WAYS
@MODES
async def test_all_that_was_queued_is_played_out_first_when_vapi_ends(
    act: Ends, told: tuple[int, str], mode: str
) -> None:
    async with slow_caller(mode, seconds=4, bytes_per_second=24_000) as call:
        queued = call.record.counts["agent_bytes"] - call.heard_bytes
        assert queued > 1.5 * limits.AUDIO_BYTES_PER_SECOND
        act(call)
        ended_at = trio.current_time()
        await call_is_over(call, told, limits.PLAYOUT_SECONDS)
        assert trio.current_time() - call.heard_at <= AT_ONCE_SECONDS
        assert call.heard_at - ended_at > 2
        assert call.heard_bytes == call.record.counts["downlink_bytes"] + call.record.counts["tail_bytes"]
        assert call.record.counts["downlink_bytes_discarded"] <= 1, "half a sample at most"


async def test_last_words_reach_the_caller_when_they_lie_in_the_buffer_of_his_slow_line() -> None:
    full = limits.SOCKET_SEND_BUFFER_BYTES
    async with slow_caller("burst", seconds=4, bytes_per_second=30_000, buffer_bytes=full) as call:
        says_ended(call)
        await call_is_over(call, IN_ORDER, limits.PLAYOUT_SECONDS)
        assert call.heard_bytes == call.record.counts["downlink_bytes"] + call.record.counts["tail_bytes"]


@pytest.mark.parametrize(("act", "told"), [(says_ended, IN_ORDER), (resets, LOST)])
@MODES
async def test_play_out_is_cut_in_time_when_vapi_ends_and_the_caller_reads_too_slowly(
    act: Ends, told: tuple[int, str], mode: str
) -> None:
    async with slow_caller(mode, seconds=8, bytes_per_second=10_000) as call:
        act(call)
        await call.gone(limits.PLAYOUT_SECONDS + limits.CLOSE_SECONDS + AT_ONCE_SECONDS)
        assert call.record.counts["playouts_cut"] == 1
        assert call.record.counts["downlink_bytes_discarded"] > 4 * limits.AUDIO_BYTES_PER_SECOND
        assert call.record.ending is not None
        assert (call.record.ending.code, call.record.ending.reason) == told
        # As a rule half a frame was on the wire, so that nothing more could be said on it.
        assert call.told in (None, told)


def vanishes(call: HeldCall) -> None:
    call.vapi_link.cut()


def reads_nothing(call: HeldCall) -> None:
    call.vapi_link.deafen("server")


@MODES
async def test_all_that_was_queued_is_played_out_when_vapi_says_ended_and_neither_reads_nor_closes(
    mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def closes_late(*_what: object) -> None:
        await trio.sleep(2 * limits.PLAYOUT_SECONDS)

    monkeypatch.setattr(vapi_socket, "close_socket", closes_late)
    async with slow_caller(mode, seconds=8, bytes_per_second=24_000, speaks=True) as call:
        cloud = call.stage.world.cloud
        cloud.behaviour = attrs.evolve(cloud.behaviour, finish_seconds=2 * limits.PLAYOUT_SECONDS)
        reads_nothing(call)
        says_ended(call)
        ended_at = trio.current_time()
        await call_is_over(call, IN_ORDER, limits.PLAYOUT_SECONDS)
        assert call.heard_at - ended_at > limits.UPLINK_STALL_SECONDS + 1
        assert call.heard_bytes == call.record.counts["downlink_bytes"] + call.record.counts["tail_bytes"]
        assert call.record.counts["playouts_cut"] == 0
        assert call.record.counts["downlink_bytes_discarded"] <= 1, "half a sample at most"
        assert call.record.counts["uplink_bytes_discarded"] > 0


async def test_caller_is_left_at_once_when_the_call_never_spoke_and_he_does_not_answer() -> None:
    """Last words are waited for only where there were any."""
    async with open_stage() as stage:
        stage.world.cloud.agent = (AgentTurn(),)
        async with stage.live_call() as call:
            call.link.deafen("client")
            fails(call)
            await call.gone(limits.CLOSE_SECONDS + AT_ONCE_SECONDS)
            assert call.record.counts["downlink_bytes"] == 0


@pytest.mark.parametrize("speaks", [True, False], ids=["speaking", "silent"])
@pytest.mark.parametrize("act", [vanishes, reads_nothing])
async def test_caller_is_told_in_time_when_vapi(act: Ends, speaks: bool) -> None:
    async with open_stage() as stage, stage.live_call(speaks=speaks) as call:
        await trio.sleep(ANSWERED_A_PING_SECONDS)
        act(call)
        await call.gone(NOTICED_SECONDS)
        await call.was_told(*LOST)
        await stage.world.ended(call.at_vapi)
        assert call.at_vapi.ended_by == "control"
        counts = stage.world.doors.house.vapi_calls.counts
        await stage.world.until(lambda: counts == {"orphans_ended": 1}, 1)


async def test_call_ends_two_seconds_after_the_last_byte_when_vapi_reads_nothing_and_the_caller_speaks() -> None:
    async with open_stage() as stage:
        stage.network.weather_at[stage.world.cloud.transport_port] = Weather(buffer_bytes=8 * 1024)
        async with stage.live_call(speaks=True) as call:
            await trio.sleep(1)
            reads_nothing(call)
            await trio.sleep(0.5)  # by then no byte fits any more
            sent = call.record.counts["uplink_bytes"]
            await call.gone(limits.UPLINK_STALL_SECONDS)
            assert call.record.counts["uplink_bytes"] == sent
            assert call.record.peaks["caller_audio_seconds"] == limits.CALLER_AUDIO_SECONDS
            await call.was_told(*LOST)


async def test_call_goes_on_when_vapi_pauses_for_less() -> None:
    async with open_stage() as stage, stage.live_call(speaks=True) as call:
        stage.network.links_to(stage.world.cloud.transport_port)[-1].deafen("server", limits.UPLINK_STALL_SECONDS)
        await trio.sleep(5)
        assert call.record.phase == "live"
        heard = len(call.at_vapi.heard)
        await trio.sleep(1)
        assert len(call.at_vapi.heard) - heard >= 0.98 * limits.AUDIO_BYTES_PER_SECOND


async def test_caller_is_told_in_time_when_vapis_program_does_not_read() -> None:
    """The system under it still takes what fits."""
    async with open_stage() as stage, stage.live_call(speaks=True) as call:
        stage.world.cloud.behaviour = Behaviour(stop_reading=True)
        await call.gone(NOTICED_SECONDS)
        await call.was_told(*LOST)
        await stage.world.ended(call.at_vapi)
        assert END_CALL not in call.at_vapi.received_texts
