"""actors/vapi_socket_writer.py: the sending half of Vapi's socket, and the caller's silence on it."""

from itertools import pairwise

import hypothesis
import pytest
import trio
import trio.testing
from hypothesis import strategies as st

from actors.vapi_socket_writer import VapiSocketWriter
from runtime import limits
from runtime.channels import AudioSendChannel, open_audio_channel
from runtime.errors import VapiLost
from runtime.record import CallRecord
from runtime.supervisor import open_supervisor
from tests.fakes import FakeLeg, captured_log, new_record, speech
from tests.virtual_time import run_in_virtual_time

FRAME = speech(0.02)
SILENT = bytes(limits.FRAME_BYTES)


def writing(bound_seconds: float = 10) -> tuple[VapiSocketWriter, FakeLeg, AudioSendChannel, CallRecord]:
    send, receive = open_audio_channel(bound_seconds)
    leg, record = FakeLeg(), new_record()
    return VapiSocketWriter(receive, leg, record), leg, send, record


async def run(writer: VapiSocketWriter) -> None:
    await writer.run(trio.TASK_STATUS_IGNORED)


def zero_frames(leg: FakeLeg) -> list[float]:
    return [sent.at for sent in leg.sent if sent.what == SILENT]


async def test_writer_keeps_the_order_and_ends_when_its_channel_ends() -> None:
    writer, leg, caller_audio, record = writing()
    for pcm in (b"ab", FRAME, b"cd"):
        await caller_audio.send(pcm)
    caller_audio.close()
    await run(writer)
    assert [sent.what for sent in leg.sent] == [b"ab", FRAME, b"cd"]
    assert (record.counts["uplink_frames"], record.counts["uplink_bytes"]) == (3, len(FRAME) + 4)
    assert leg.closings == [], "the leg belongs to whoever opened it"


async def test_zero_frames_begin_after_200_ms_and_come_every_20_ms_when_the_caller_is_silent() -> None:
    writer, leg, _, record = writing()
    with trio.move_on_after(1.0):
        await run(writer)
    assert zero_frames(leg) == pytest.approx([0.2 + 0.02 * n for n in range(len(leg.sent))])
    assert len(leg.sent) == 40
    assert record.counts["uplink_silent_frames"] == 40


async def test_no_zero_frame_is_sent_when_the_caller_sends_in_time(nursery: trio.Nursery) -> None:
    writer, leg, caller_audio, _ = writing()
    nursery.start_soon(run, writer)
    for _ in range(20):
        await caller_audio.send(FRAME)
        await trio.sleep(0.19)
    assert zero_frames(leg) == []
    nursery.cancel_scope.cancel()


async def test_zero_frames_stop_and_begin_again_when_the_caller_speaks_and_falls_silent(nursery: trio.Nursery) -> None:
    writer, leg, caller_audio, _ = writing()
    nursery.start_soon(run, writer)
    await trio.sleep(0.29)
    await caller_audio.send(FRAME)
    await trio.sleep(0.31)
    assert zero_frames(leg) == pytest.approx([0.2, 0.22, 0.24, 0.26, 0.28, 0.49, 0.51, 0.53, 0.55, 0.57, 0.59])
    nursery.cancel_scope.cancel()


async def test_waiting_audio_is_not_preceded_by_a_zero_frame_when_a_send_took_long(nursery: trio.Nursery) -> None:
    writer, leg, caller_audio, _ = writing()
    leg.send_seconds = 0.5
    for _ in range(4):
        await caller_audio.send(FRAME)
    nursery.start_soon(run, writer)
    await trio.sleep(1.99)
    assert [sent.what for sent in leg.sent] == [FRAME] * 3
    nursery.cancel_scope.cancel()


async def test_zero_frames_are_20_ms_apart_when_a_send_took_long(nursery: trio.Nursery) -> None:
    writer, leg, _, _ = writing()
    leg.send_seconds = 0.1
    nursery.start_soon(run, writer)
    await trio.sleep(0.25)
    leg.send_seconds = 0
    await trio.sleep(0.25)
    nursery.cancel_scope.cancel()
    at = zero_frames(leg)
    assert all(later - earlier >= 0.0199 for earlier, later in pairwise(at)), at


@hypothesis.settings(max_examples=40)
@hypothesis.given(st.lists(st.floats(0, 0.4), min_size=1, max_size=12), st.floats(0, 0.3), st.random_module())
def test_zero_frames_are_never_faster_than_real_time_when_caller_and_vapi_are_erratic(
    gaps: list[float], send_seconds: float, interleaving: object
) -> None:
    async def main() -> None:
        writer, leg, caller_audio, _ = writing()
        leg.send_seconds = send_seconds
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run, writer)
            for gap in gaps:
                await trio.sleep(gap)
                await caller_audio.send(FRAME)
            await trio.sleep(6)
            nursery.cancel_scope.cancel()
        at = zero_frames(leg)
        for n, sent_at in enumerate(at):
            assert sent_at >= at[0] + 0.02 * n - 1e-9
        assert [sent.what for sent in leg.sent if sent.what != SILENT] == [FRAME] * len(gaps)

    run_in_virtual_time(main)


async def test_writer_ends_with_its_channel_when_each_zero_frame_takes_long() -> None:
    writer, leg, caller_audio, _ = writing()
    leg.send_seconds = 0.05
    with trio.move_on_after(3) as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run, writer)
            await trio.sleep(1)
            caller_audio.close()
    assert not scope.cancelled_caught


async def test_writer_raises_vapi_lost_when_vapi_takes_nothing() -> None:
    writer, leg, caller_audio, _ = writing()
    leg.stalled = True
    await caller_audio.send(FRAME)
    log, _ = captured_log()
    async with open_supervisor("call", log) as call:
        await call.start("writer", lambda: writer)
        await call.wait()
    assert isinstance(call.exits[0].error, VapiLost)
    assert str(call.exits[0].error) == "Vapi took no audio for 2 s"
    assert writer.record.counts["uplink_bytes_discarded"] == len(FRAME)
    assert trio.current_time() == limits.UPLINK_STALL_SECONDS
    with pytest.raises(trio.BrokenResourceError):
        await caller_audio.send(FRAME)


async def test_audio_is_discarded_and_nothing_raised_when_vapi_has_said_goodbye_and_takes_nothing(
    nursery: trio.Nursery,
) -> None:
    writer, leg, caller_audio, record = writing()
    leg.stalled = True
    nursery.start_soon(run, writer)
    await caller_audio.send(FRAME)
    await trio.sleep(1)
    record.vapi_said_goodbye = True
    await trio.sleep(4)
    await caller_audio.send(FRAME)
    await trio.sleep(4)
    assert record.counts["uplink_bytes"] == 0
    assert record.counts["uplink_bytes_discarded"] == 2 * len(FRAME)
    nursery.cancel_scope.cancel()


async def test_caller_is_not_held_up_when_vapis_leg_has_closed(nursery: trio.Nursery) -> None:
    writer, leg, caller_audio, record = writing(0.1)
    leg.closed = True
    nursery.start_soon(run, writer)
    with trio.fail_after(0.01):
        for _ in range(100):
            await caller_audio.send(FRAME)
        await trio.testing.wait_all_tasks_blocked()
    assert record.counts["uplink_bytes_discarded"] == 100 * len(FRAME)
    assert record.counts["uplink_frames"] == 0
    await trio.sleep(1)  # and the loop does not spin
    assert record.counts["uplink_silent_frames"] == 0, "none was sent"
    nursery.cancel_scope.cancel()


async def test_frame_in_hand_and_the_queue_are_counted_when_the_writer_is_cancelled() -> None:
    writer, leg, caller_audio, record = writing()
    leg.send_seconds = 1.0
    for pcm in (FRAME, FRAME, b"ab", b"cd"):
        await caller_audio.send(pcm)
    with trio.move_on_after(1.5):
        await run(writer)
    assert [sent.what for sent in leg.sent] == [FRAME]
    assert record.counts["uplink_bytes"] == len(FRAME)
    assert record.counts["uplink_bytes_discarded"] == len(FRAME) + 4
    with pytest.raises(trio.BrokenResourceError):
        await caller_audio.send(FRAME)


async def test_zero_frame_counts_for_nothing_when_it_is_cut_in_its_middle() -> None:
    writer, leg, _, record = writing()
    leg.send_seconds = 1.0
    with trio.move_on_after(limits.UPLINK_SILENT_SECONDS + 1.5):
        await run(writer)
    assert record.counts["uplink_silent_frames"] == len(zero_frames(leg)) == 1
    assert record.counts["uplink_bytes"] == record.counts["uplink_bytes_discarded"] == 0
