"""actors/silence_padder.py: the sending half of the caller's socket. The tail itself: test_tail.py."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
import trio.testing

from actors.silence_padder import SilencePadder
from actors.tail import silence_behind
from runtime import limits
from runtime.channels import (
    AssistantStarted,
    AssistantStopped,
    AudioReceiveChannel,
    AudioSendChannel,
    CallerInterrupted,
    open_audio_channel,
)
from runtime.errors import CallerStalled
from runtime.record import CallRecord, Event
from runtime.settings import TailMode
from runtime.supervisor import open_supervisor
from tests.fakes import FakeLeg, captured_log, new_record, seconds_of, silence, speech

STARTED, STOPPED = AssistantStarted(), AssistantStopped()


@attrs.define
class Padded:
    padder: SilencePadder
    leg: FakeLeg
    agent_audio: AudioSendChannel
    record: CallRecord
    trace: list[Event]

    def heard(self) -> list[tuple[str, float]]:
        """What the caller hears, as stretches of ("speech" or "silence", seconds)."""
        stretches: list[tuple[str, float]] = []
        for sent in self.leg.sent:
            assert isinstance(sent.what, bytes)
            kind = "silence" if silence_behind(sent.what) is None else "speech"
            before = stretches.pop()[1] if stretches and stretches[-1][0] == kind else 0.0
            stretches.append((kind, round(before + seconds_of(sent.what), 6)))
        return stretches

    def begins(self, kind: str) -> float:
        """When the last stretch of `kind` began to be sent."""
        began = 0.0
        last = ""
        for sent in self.leg.sent:
            now = "silence" if silence_behind(bytes(sent.what)) is None else "speech"  # type: ignore[arg-type]
            if now == kind != last:
                began = sent.at
            last = now
        return began


def made(mode: TailMode) -> tuple[Padded, AudioReceiveChannel]:
    send, receive = open_audio_channel(10)
    trace: list[Event] = []
    leg, record = FakeLeg(stall_seconds=limits.DOWNLINK_STALL_SECONDS), new_record(trace)
    return Padded(SilencePadder(receive, leg, record, mode), leg, send, record, trace), receive


@asynccontextmanager
async def padding(mode: TailMode) -> AsyncIterator[Padded]:
    """A padder at work for the body."""
    padded, _ = made(mode)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(padded.padder.run, trio.TASK_STATUS_IGNORED)
        yield padded
        nursery.cancel_scope.cancel()


MODES = pytest.mark.parametrize("mode", ["burst", "paced"])


@MODES
async def test_each_stretch_gets_its_tail_when_several_come_in_one_turn(mode: TailMode) -> None:
    async with padding(mode) as padded:
        for seconds in (0.5, 1.0, 0.2):
            for item in (STARTED, speech(seconds), STOPPED):
                await padded.agent_audio.send(item)
            await trio.sleep(5)
        expected = [("speech", 0.5), ("silence", 1.7), ("speech", 1.0), ("silence", 1.7), ("speech", 0.2)]
        assert padded.heard() == [*expected, ("silence", 1.7)]
        assert (padded.record.counts["tails"], padded.record.counts["tails_overdue"]) == (3, 0)
        assert [event.data["seconds"] for event in padded.trace if event.event == "tail"] == [1.7] * 3


@MODES
async def test_tail_begins_60_ms_behind_the_end_of_the_speech(mode: TailMode) -> None:
    async with padding(mode) as padded:
        for item in (STARTED, speech(0.5), STOPPED):
            await padded.agent_audio.send(item)
        await trio.sleep(5)
        assert padded.begins("silence") == pytest.approx(0.56)
        took = padded.leg.sent[-1].at - padded.begins("silence")
        assert took == pytest.approx(0 if mode == "burst" else 1.68)


@MODES
async def test_tail_never_comes_before_the_audio_it_belongs_to_when_stopped_overtakes(mode: TailMode) -> None:
    async with padding(mode) as padded:
        for item in (STARTED, speech(0.3), STOPPED, speech(0.3)):
            await padded.agent_audio.send(item)
        await trio.sleep(0.35)
        await padded.agent_audio.send(speech(0.1))
        await trio.sleep(5)
        assert padded.heard() == [("speech", 0.7), ("silence", 1.7)]


@MODES
async def test_no_tail_is_sent_when_the_assistant_has_not_stopped(mode: TailMode) -> None:
    async with padding(mode) as padded:
        await padded.agent_audio.send(STARTED)
        for _ in range(4):
            await padded.agent_audio.send(speech(0.2))
            await trio.sleep(1.9)
        assert padded.heard() == [("speech", 0.8)]


@MODES
async def test_tail_is_paid_and_counted_when_stopped_never_comes(mode: TailMode) -> None:
    async with padding(mode) as padded:
        await padded.agent_audio.send(STARTED)
        await padded.agent_audio.send(speech(0.5))
        await trio.sleep(10)
        assert padded.heard() == [("speech", 0.5), ("silence", 1.7)]
        assert padded.begins("silence") == pytest.approx(0.5 + limits.TAIL_OVERDUE_SECONDS)
        assert (padded.record.counts["tails"], padded.record.counts["tails_overdue"]) == (1, 1)


@MODES
async def test_silence_that_vapi_streams_counts(mode: TailMode) -> None:
    async with padding(mode) as padded:
        for item in (STARTED, speech(0.5), silence(0.7), STOPPED):
            await padded.agent_audio.send(item)
        await trio.sleep(10)
        assert padded.heard() == [("speech", 0.5), ("silence", 1.7)]
        assert seconds_of(bytes(padded.record.counts["tail_bytes"])) == pytest.approx(1.0)


@MODES
async def test_nothing_is_added_when_vapi_streams_silence_without_end(mode: TailMode) -> None:
    async with padding(mode) as padded:
        await padded.agent_audio.send(STARTED)
        await padded.agent_audio.send(speech(0.02))
        for _ in range(150):
            await padded.agent_audio.send(silence(0.02))
            await trio.sleep(0.02)
        await padded.agent_audio.send(STOPPED)
        await trio.sleep(5)
        assert padded.heard() == [("speech", 0.02), ("silence", 3.0)]
        assert padded.record.counts["tails"] == 0


async def test_speech_cuts_a_tail_when_it_is_paced() -> None:
    async with padding("paced") as padded:
        for item in (STARTED, speech(0.5), STOPPED):
            await padded.agent_audio.send(item)
        await trio.sleep(1.07)  # half a second into the tail
        await padded.agent_audio.send(speech(0.5))
        await padded.agent_audio.send(STOPPED)
        await trio.sleep(5)
        kinds = [kind for kind, _ in padded.heard()]
        assert kinds == ["speech", "silence", "speech", "silence"]
        assert padded.heard()[1][1] == pytest.approx(0.5, abs=0.05)
        assert padded.heard()[3][1] == 1.7
        assert (padded.record.counts["tails_cut"], padded.record.counts["tails"]) == (1, 1)


@MODES
async def test_tail_stays_owed_when_the_caller_interrupts(mode: TailMode) -> None:
    async with padding(mode) as padded:
        for item in (STARTED, speech(0.5)):
            await padded.agent_audio.send(item)
        await trio.sleep(0.25)
        padded.agent_audio.drop_audio()
        await padded.agent_audio.send(CallerInterrupted(0.0))
        await padded.agent_audio.send(STOPPED)
        await trio.sleep(5)
        (_, spoken), tail = padded.heard()
        assert spoken == pytest.approx(0.5 if mode == "burst" else 0.26, abs=0.021)
        assert tail == ("silence", 1.7)


@MODES
async def test_tail_goes_on_when_the_caller_interrupts_in_its_middle(mode: TailMode) -> None:
    async with padding(mode) as padded:
        for item in (STARTED, speech(0.5), STOPPED):
            await padded.agent_audio.send(item)
        await trio.sleep(1)
        await padded.agent_audio.send(CallerInterrupted(0.0))
        await trio.sleep(5)
        assert padded.heard() == [("speech", 0.5), ("silence", 1.7)]


async def test_burst_sends_chunks_as_they_came() -> None:
    async with padding("burst") as padded:
        for chunk in (b"\x00\x20" * 3, speech(0.093), speech(2)):
            await padded.agent_audio.send(chunk)
        await trio.testing.wait_all_tasks_blocked()
        assert [sent.what for sent in padded.leg.sent] == [b"\x00\x20" * 3, speech(0.093), speech(2)]


async def test_paced_sends_20_ms_frames_in_real_time_when_much_is_queued() -> None:
    async with padding("paced") as padded:
        await padded.agent_audio.send(speech(0.5))
        await padded.agent_audio.send(speech(0.5))
        await trio.sleep(0.99)
        assert {len(bytes(sent.what)) for sent in padded.leg.sent} == {limits.FRAME_BYTES}  # type: ignore[arg-type]
        assert [sent.at for sent in padded.leg.sent] == pytest.approx([0.02 * n for n in range(50)])


async def test_paced_sends_whole_frames_when_the_rest_of_one_comes_before_it_is_due() -> None:
    async with padding("paced") as padded:
        await padded.agent_audio.send(speech(0.03))
        await trio.sleep(0.01)
        await padded.agent_audio.send(speech(0.03))
        await trio.sleep(0.5)
        assert [seconds_of(bytes(sent.what)) for sent in padded.leg.sent] == [0.02] * 3  # type: ignore[arg-type]


@MODES
async def test_padder_writes_all_that_is_queued_and_ends_when_its_channel_ends(mode: TailMode) -> None:
    padded, _ = made(mode)
    for item in (STARTED, speech(0.5), STOPPED, speech(0.5)):
        await padded.agent_audio.send(item)
    padded.agent_audio.close()
    log, _entries = captured_log()
    async with open_supervisor("call", log) as call:
        await call.start("padder", lambda: padded.padder, significant=True)
        await call.wait()
    assert padded.heard() == [("speech", 1.0)]
    assert call.exits[0].error is None
    assert padded.leg.closings == [], "the leg belongs to whoever opened it"


async def test_padder_raises_caller_stalled_when_the_caller_takes_nothing() -> None:
    padded, _ = made("burst")
    padded.leg.stalled = True
    await padded.agent_audio.send(speech(0.5))
    log, _entries = captured_log()
    async with open_supervisor("call", log) as call:
        await call.start("padder", lambda: padded.padder, significant=True)
        await call.wait()
    assert isinstance(call.exits[0].error, CallerStalled)
    assert trio.current_time() == limits.DOWNLINK_STALL_SECONDS


async def test_padder_waits_to_be_told_when_the_caller_is_gone() -> None:
    padded, _ = made("burst")
    padded.leg.closed = True
    await padded.agent_audio.send(speech(0.5))
    with trio.move_on_after(60) as scope:
        await padded.padder.run(trio.TASK_STATUS_IGNORED)
    assert scope.cancelled_caught, "the reader tells how the caller left"


@MODES
async def test_chunk_in_hand_and_the_queue_are_counted_when_the_padder_is_cancelled(mode: TailMode) -> None:
    padded, _ = made(mode)
    padded.leg.send_seconds = 1.0
    for pcm in (speech(0.02), speech(0.02), speech(0.5)):
        await padded.agent_audio.send(pcm)
    with trio.move_on_after(1.5):
        await padded.padder.run(trio.TASK_STATUS_IGNORED)
    assert padded.leg.audio == speech(0.02)
    assert padded.record.counts["downlink_bytes"] == len(speech(0.02))
    assert padded.record.counts["downlink_bytes_discarded"] == len(speech(0.52))
    with pytest.raises(trio.BrokenResourceError):
        await padded.agent_audio.send(speech(0.5))


@MODES
async def test_sent_part_of_a_tail_is_counted_when_the_padder_is_cancelled_in_its_middle(mode: TailMode) -> None:
    padded, _ = made(mode)
    for item in (STARTED, speech(0.5), STOPPED):
        await padded.agent_audio.send(item)
    padded.leg.send_seconds = 0.1
    with trio.move_on_after(1.25 if mode == "burst" else 3.45):  # behind the speech, and amid a frame of the tail
        await padded.padder.run(trio.TASK_STATUS_IGNORED)
    sent = len(padded.leg.audio)
    assert 0 < padded.record.counts["tail_bytes"] == sent - len(speech(0.5)) < len(silence(1.7))
    assert (padded.record.counts["tails"], padded.record.counts["tails_cut"]) == (0, 1)


async def test_tail_is_cut_when_its_channel_ends_in_its_middle(nursery: trio.Nursery) -> None:
    padded, _ = made("paced")
    nursery.start_soon(padded.padder.run, trio.TASK_STATUS_IGNORED)
    for item in (STARTED, speech(0.5), STOPPED):
        await padded.agent_audio.send(item)
    await trio.sleep(1.005)
    padded.agent_audio.close()
    await trio.sleep(5)
    (_, _), (kind, seconds) = padded.heard()
    assert (kind, seconds) == ("silence", pytest.approx(1.0 - 0.56, abs=0.05))
    assert (padded.record.counts["tails"], padded.record.counts["tails_cut"]) == (0, 1)
