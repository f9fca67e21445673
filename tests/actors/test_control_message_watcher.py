"""actors/control_message_watcher.py: the receiving half of Vapi's socket."""

import json
from math import inf
from typing import Any

import hypothesis
import pytest
import trio
import trio.testing
from hypothesis import strategies as st

from actors.control_message_watcher import ControlMessageWatcher
from runtime.channels import (
    AssistantStarted,
    AssistantStopped,
    AudioReceiveChannel,
    CallerInterrupted,
    Item,
    open_audio_channel,
)
from runtime.leg import AtOnce, Audio, Closed, Passing, Received
from runtime.record import CallRecord, Ending, Event
from runtime.supervisor import open_supervisor
from tests.fakes import FakeLeg, captured_log, new_record, speech
from tests.virtual_time import run_in_virtual_time

FRAME = speech(0.02)
INTERRUPTED = '{"type":"user-interrupted"}'
ENDED = '{"type":"status-update","status":"ended","endedReason":"assistant-ended-call"}'


def update(role: str, status: str) -> str:
    return json.dumps({"type": "speech-update", "role": role, "status": status, "turn": 1})


def watching(
    bound_seconds: float = 10, trace: list[Event] | None = None
) -> tuple[ControlMessageWatcher, FakeLeg, AudioReceiveChannel, CallRecord]:
    send, receive = open_audio_channel(bound_seconds)
    leg, record = FakeLeg(), new_record(trace)
    return ControlMessageWatcher(leg, send, record), leg, receive, record


async def run(watcher: ControlMessageWatcher) -> Ending:
    return await watcher.run(trio.TASK_STATUS_IGNORED)


async def rest(receive: AudioReceiveChannel) -> list[Item]:
    items = []
    with pytest.raises(trio.EndOfChannel):
        while True:
            items.append(await receive.receive())
    return items


async def test_watcher_puts_audio_and_facts_in_the_order_they_came() -> None:
    watcher, leg, agent_audio, record = watching()
    leg.arrives(update("assistant", "started"), FRAME, update("user", "stopped"), FRAME, update("assistant", "stopped"))
    leg.arrives(b"ab", Closed(1000))
    await run(watcher)
    assert await rest(agent_audio) == [AssistantStarted(), FRAME, FRAME, AssistantStopped(), b"ab"]
    assert (record.counts["agent_frames"], record.counts["agent_bytes"]) == (3, 2 * len(FRAME) + 2)


@hypothesis.settings(max_examples=60)
@hypothesis.given(st.lists(st.binary(max_size=9) | st.sampled_from(["hang", "interrupted"]), max_size=20))
def test_samples_stay_whole_when_chunks_are_of_any_size_and_an_interruption_comes_between(chunks: list[Any]) -> None:
    async def main() -> None:
        watcher, leg, agent_audio, record = watching()
        for chunk in chunks:
            leg.arrives(
                {"hang": '{"type":"hang"}', "interrupted": INTERRUPTED}[chunk] if isinstance(chunk, str) else chunk
            )
        leg.arrives(Closed(1000))
        await run(watcher)
        spoken = b"".join(chunk for chunk in chunks if isinstance(chunk, bytes))
        # What was dropped are whole samples in front of the last interruption; what follows keeps its place in them.
        heard = b"".join(item for item in await rest(agent_audio) if isinstance(item, bytes))
        assert len(heard) % 2 == 0
        assert spoken[: len(spoken) - len(spoken) % 2].endswith(heard)
        counts = record.counts
        assert counts["agent_bytes"] == len(spoken)
        assert len(spoken) == len(heard) + counts["interrupted_bytes"] + counts["downlink_bytes_discarded"]
        if "interrupted" not in chunks:
            assert len(heard) == len(spoken) - len(spoken) % 2

    run_in_virtual_time(main)


class LegThatPassesAudio(FakeLeg):
    """As a leg under the switchboard: audio is offered to the receiver first, by a call."""

    async def receive(self, at_once: AtOnce | None = None) -> Received:
        while True:
            got = await FakeLeg.receive(self)
            if not (isinstance(got, Audio) and at_once is not None and at_once(got)):
                return got


async def test_samples_stay_whole_when_an_even_chunk_follows_an_odd_one_by_calls() -> None:
    send, agent_audio = open_audio_channel(10)
    leg, record, heard = LegThatPassesAudio(), new_record(), bytearray()

    def take(audio: Passing) -> bool:
        heard.extend(audio.pcm)
        return True

    async def listen() -> None:
        with pytest.raises(trio.EndOfChannel):
            await agent_audio.receive_by(inf, None, take)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, ControlMessageWatcher(leg, send, record))
        nursery.start_soon(listen)
        await trio.testing.wait_all_tasks_blocked()
        leg.arrives(b"\x01\x02\x03", b"\x04\x05", b"\x06\x07\x08", Closed(1000))
    assert bytes(heard) == b"\x01\x02\x03\x04\x05\x06\x07\x08"
    assert record.counts["agent_frames_realigned"] == 3


async def test_sample_that_straddles_an_interruption_stays_whole() -> None:
    watcher, leg, agent_audio, record = watching()
    leg.arrives(b"\x01\x02\x03", INTERRUPTED, b"\x04\x05\x06\x07", b"\x08", Closed(1000))
    await run(watcher)
    first, *after = await rest(agent_audio)
    assert isinstance(first, CallerInterrupted)
    assert after == [b"\x03\x04\x05\x06", b"\x07\x08"]
    assert record.counts["agent_frames_realigned"] == 3


async def test_queue_is_dropped_and_its_facts_kept_when_the_caller_interrupts() -> None:
    trace: list[Event] = []
    watcher, leg, agent_audio, record = watching(trace=trace)
    leg.arrives(update("assistant", "started"), speech(2), update("assistant", "stopped"), INTERRUPTED, Closed(1000))
    await run(watcher)
    assert await rest(agent_audio) == [AssistantStarted(), AssistantStopped(), CallerInterrupted(2.0)]
    assert record.counts["interruptions"] == 1
    assert [(e.who, e.data) for e in trace if e.event == "interrupted"] == [("caller", {"dropped_seconds": 2.0})]


@pytest.mark.parametrize("events", [(ENDED,), (ENDED, Closed(1000)), (ENDED, Closed(1006))])
async def test_call_ends_when_vapi_says_so_before_it_closes(events: tuple[Any, ...]) -> None:
    watcher, leg, agent_audio, record = watching()
    leg.arrives(FRAME, *events)
    ending = await run(watcher)
    assert (ending.by, ending.reason, ending.code) == ("vapi", "call_ended", 1000)
    assert ending.detail == "assistant-ended-call"
    assert record.vapi_said_goodbye
    assert await rest(agent_audio) == [FRAME], "what was said is still played out"


@pytest.mark.parametrize("code", [1000, 1001, 1005])
async def test_call_ends_when_vapi_closes_without_a_word(code: int) -> None:
    watcher, leg, _, record = watching()
    leg.arrives(Closed(code), ENDED)
    ending = await run(watcher)
    assert (ending.by, ending.reason, ending.code) == ("vapi", "call_ended", 1000)
    assert record.vapi_said_goodbye


@pytest.mark.parametrize("code", [1006, 1011, 1002])
async def test_call_is_lost_when_vapis_socket_breaks(code: int) -> None:
    watcher, leg, _, record = watching()
    leg.arrives(Closed(code, "why"))
    ending = await run(watcher)
    assert (ending.by, ending.reason, ending.code) == ("vapi", "vapi_lost", 1011)
    assert str(code) in ending.detail
    assert not record.vapi_said_goodbye, "the call must be ended another way"


@pytest.mark.parametrize("status", ["in-progress", "queued", "forwarding"])
async def test_call_goes_on_when_the_status_is_another(status: str) -> None:
    watcher, leg, _, record = watching()
    leg.arrives(json.dumps({"type": "status-update", "status": status}), Closed(1006))
    assert (await run(watcher)).reason == "vapi_lost"
    assert not record.vapi_said_goodbye


async def test_hang_is_no_hang_up_and_tool_calls_are_only_counted() -> None:
    watcher, leg, agent_audio, record = watching()
    leg.arrives('{"type":"hang"}', '{"type":"tool-calls","toolCallList":[]}', FRAME, Closed(1000))
    await run(watcher)
    assert await rest(agent_audio) == [FRAME]
    assert (record.counts["vapi_hang"], record.counts["vapi_tool-calls"]) == (1, 1)


async def test_unknown_messages_are_counted_and_ignored() -> None:
    watcher, leg, agent_audio, record = watching()
    leg.arrives("hello", "[]", '{"type":"' + "x" * 500 + '"}', '{"type":"speech-update"}', FRAME, Closed(1000))
    await run(watcher)
    assert await rest(agent_audio) == [FRAME]
    assert record.counts["vapi_unknown_messages"] == 4


async def test_final_transcripts_are_told_and_partial_ones_counted() -> None:
    trace: list[Event] = []
    watcher, leg, _, _ = watching(trace=trace)
    for kind, role, text in (("partial", "user", "my ca"), ("final", "user", "my card"), ("final", "assistant", "yes")):
        leg.arrives(json.dumps({"type": "transcript", "transcriptType": kind, "role": role, "transcript": text}))
    leg.arrives(Closed(1000))
    await run(watcher)
    assert [(e.who, e.data["text"]) for e in trace if e.event == "transcript"] == [
        ("caller", "my card"),
        ("agent", "yes"),
    ]


async def test_watcher_stops_reading_when_the_caller_is_slow(nursery: trio.Nursery) -> None:
    watcher, leg, _, _ = watching(0.1)
    leg.arrives(*[FRAME] * 50)
    nursery.start_soon(run, watcher)
    await trio.sleep(5)
    assert leg.received == 6
    nursery.cancel_scope.cancel()


async def test_error_reaches_the_supervisor_when_the_leg_fails() -> None:
    watcher, leg, agent_audio, _ = watching()
    leg.arrives(FRAME, RuntimeError("a mistake of ours"))
    log, entries = captured_log()
    async with open_supervisor("call", log) as call:
        await call.start("watcher", lambda: watcher)
        await call.wait()
    assert isinstance(call.exits[0].error, RuntimeError)
    assert entries[0]["event"] == "actor_failed"
    assert await rest(agent_audio) == [FRAME]


async def test_watcher_loses_only_the_message_in_hand_when_cancelled_in_its_middle() -> None:
    watcher, leg, agent_audio, record = watching(0.02)
    leg.arrives(FRAME, b"abc", b"cd")
    with trio.move_on_after(1):
        await run(watcher)
    assert leg.waiting == 1
    assert await rest(agent_audio) == [FRAME]
    assert (record.counts["agent_bytes"], record.counts["downlink_bytes_discarded"]) == (len(FRAME) + 3, 3)


async def test_watcher_does_not_fail_when_nobody_takes_the_audio_any_more(nursery: trio.Nursery) -> None:
    watcher, leg, agent_audio, _ = watching(0.02)
    leg.arrives(FRAME, FRAME)
    log, entries = captured_log()
    with trio.move_on_after(1):
        async with open_supervisor("call", log) as call:
            await call.start("watcher", lambda: watcher)
            await trio.testing.wait_all_tasks_blocked()
            agent_audio.close()
            await call.wait()
    assert entries == []
