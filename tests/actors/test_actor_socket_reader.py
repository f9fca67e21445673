"""actors/actor_socket_reader.py: the receiving half of the caller's socket."""

import pytest
import trio
import trio.testing

from actors.actor_socket_reader import ActorSocketReader
from runtime.channels import AudioReceiveChannel, open_audio_channel
from runtime.errors import CallError, HalfASample, MalformedMessage, TextInBinaryMode
from runtime.leg import Closed
from runtime.record import CallRecord, Ending
from runtime.supervisor import open_supervisor
from tests.fakes import FakeLeg, captured_log, new_record, speech

FRAME = speech(0.02)


def reading(bound_seconds: float = 10) -> tuple[ActorSocketReader, FakeLeg, AudioReceiveChannel, CallRecord]:
    send, receive = open_audio_channel(bound_seconds)
    leg, record = FakeLeg(), new_record()
    return ActorSocketReader(leg, send, record), leg, receive, record


async def run(reader: ActorSocketReader) -> Ending:
    return await reader.run(trio.TASK_STATUS_IGNORED)


async def test_reader_forwards_audio_in_order_and_ends_when_the_caller_hangs_up() -> None:
    reader, leg, caller_audio, record = reading()
    leg.arrives(FRAME, b"", b"ab", Closed(1000))
    ending = await run(reader)
    assert (ending.by, ending.reason, ending.code) == ("caller", "call_ended", 1000)
    assert [await caller_audio.receive(), await caller_audio.receive()] == [FRAME, b"ab"]
    with pytest.raises(trio.EndOfChannel):
        await caller_audio.receive()
    assert (record.counts["caller_frames"], record.counts["caller_bytes"]) == (2, len(FRAME) + 2)


@pytest.mark.parametrize("code", [1000, 1001, 1005, 1006, 1011])
async def test_hang_up_is_the_ending_when_it_comes_with_any_code(code: int) -> None:
    reader, leg, _, _ = reading()
    leg.hangs_up(code)
    ending = await run(reader)
    assert (ending.by, ending.reason) == ("caller", "call_ended")
    assert ("broke" in ending.detail) == (code in (1006, 1011))


async def test_reader_stops_reading_when_its_channel_is_full(nursery: trio.Nursery) -> None:
    reader, leg, caller_audio, _ = reading(0.1)
    leg.arrives(*[FRAME] * 100)
    nursery.start_soon(run, reader)
    await trio.sleep(10)
    assert leg.received == 6, "five fit, one is in hand"
    for _ in range(3):
        await caller_audio.receive()
    await trio.sleep(10)
    assert leg.received == 9
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("violation", [TextInBinaryMode(), HalfASample(3), MalformedMessage("no type")])
async def test_violation_reaches_the_supervisor_when_the_caller_breaks_the_protocol(violation: CallError) -> None:
    reader, leg, caller_audio, _ = reading()
    leg.arrives(FRAME, violation)
    log, entries = captured_log()
    async with open_supervisor("call", log) as call:
        await call.start("reader", lambda: reader, significant=True)
        await call.wait()
    assert call.exits[0].error is violation
    assert entries[0]["event"] == "actor_ended_the_call"
    assert await caller_audio.receive() == FRAME
    with pytest.raises(trio.EndOfChannel):
        await caller_audio.receive()


async def test_reader_goes_on_and_counts_when_nobody_takes_the_audio_any_more() -> None:
    reader, leg, caller_audio, record = reading()
    caller_audio.close()
    leg.arrives(FRAME, FRAME, Closed(1000))
    assert (await run(reader)).reason == "call_ended"
    assert record.counts["uplink_bytes_discarded"] == record.counts["caller_bytes"] == 2 * len(FRAME)


async def test_hang_up_ends_the_reader_when_it_was_waiting_for_room(nursery: trio.Nursery) -> None:
    """The reader sees a hang-up only behind the audio before it; a receiver that leaves sets it free."""
    reader, leg, caller_audio, _ = reading(0.02)
    leg.arrives(FRAME, FRAME, FRAME, Closed(1000))
    endings: list[Ending] = []

    async def keep() -> None:
        endings.append(await run(reader))

    nursery.start_soon(keep)
    await trio.testing.wait_all_tasks_blocked()
    assert endings == []
    caller_audio.close()
    await trio.testing.wait_all_tasks_blocked()
    assert endings[0].reason == "call_ended"


async def test_reader_loses_only_the_message_in_hand_when_cancelled_in_its_middle() -> None:
    reader, leg, caller_audio, record = reading(0.02)
    leg.arrives(FRAME, b"ab", b"cd")
    with trio.move_on_after(1):
        await run(reader)
    assert leg.waiting == 1
    assert (record.counts["caller_bytes"], record.counts["uplink_bytes_discarded"]) == (len(FRAME) + 2, 2)
    assert await caller_audio.receive() == FRAME
    with pytest.raises(trio.EndOfChannel):
        await caller_audio.receive()
