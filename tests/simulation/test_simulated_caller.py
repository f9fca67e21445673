"""The simulated caller keeps the channel's rules and notices who does not."""

from pathlib import Path
from typing import Any

import pytest
import trio
from vapi_api import QUICK

from simulation.alignment import heard_is_what_was_said, received_is_what_was_spoken
from simulation.caller import Caller
from simulation.caller_report import agent_speech_in
from simulation.events import Event
from simulation.loopback import Loopback, Manners, open_loopback
from simulation.pcm import BYTES_PER_SECOND, bytes_for, seconds_of
from simulation.playout import Chunk, place
from simulation.scenario import BargeIn, CallerStep, HangUp, PlayWav, Say, Scenario, Wait
from simulation.speech import AGENT_VOICE, CALLER_VOICE, Speech, SpeechError, write_wav

TALK = (Say("one two three"), Say("bye now"), HangUp())
LINES = ("good day", "yes of course")


def scenario(*steps: CallerStep) -> Scenario:
    return Scenario("test", caller=steps or TALK)


def caller(agent: Loopback, *steps: CallerStep, **settings: Any) -> Caller:
    settings.setdefault("protocol", agent.manners.protocol)
    return Caller(agent.url, scenario(*steps), speech=QUICK, patience_seconds=1.0, **settings)


async def test_caller_takes_its_turns_when_the_tail_comes_in_one_burst() -> None:
    events: list[Event] = []
    async with open_loopback(LINES, speech=QUICK) as agent:
        report = await caller(agent, on_event=events.append).run()
    assert (report.ending, report.outcome) == ("caller_hung_up", "caller_hung_up")
    assert [turn.text for turn in report.turns] == ["one two three", "bye now"]
    first = report.turns[0]
    assert first.response_ms == pytest.approx(330, abs=100)
    assert first.turn_gap_ms == pytest.approx(0, abs=100)
    assert first.tail_ms == 1700
    assert [speech.tail_ms for speech in report.agent_speech] == [1700, 1700]
    assert events == list(report.events)
    assert [event.event for event in events][:3] == ["connected", "agent-heard", "turn-started"]
    assert received_is_what_was_spoken(bytes(agent.spoken), report.received_pcm).same
    assert heard_is_what_was_said(report.sent, bytes(agent.heard), offset_frames=0).same


async def test_caller_waits_for_a_paced_tail_as_long_as_it_takes() -> None:
    manners = Manners(tail="paced", tail_ms=500)
    async with open_loopback(LINES, manners=manners, speech=QUICK) as agent:
        report = await caller(agent, needs_silence_ms=400).run()
    assert report.ending == "caller_hung_up"
    assert report.turns[0].turn_gap_ms == pytest.approx(450, abs=120)


async def test_caller_reports_a_deadlock_when_no_tail_comes() -> None:
    async with open_loopback(LINES, manners=Manners(tail="none"), speech=QUICK) as agent:
        report = await caller(agent).run()
    assert report.ending == "deadlock"
    assert report.outcome == "deadlock: no 1500 ms of silence came after the agent's turn"
    assert not report.turns


async def test_caller_reports_a_deadlock_when_the_tail_is_too_short() -> None:
    async with open_loopback(LINES, manners=Manners(tail_ms=1480), speech=QUICK) as agent:
        report = await caller(agent).run()
    assert report.ending == "deadlock"
    assert report.agent_speech[-1].tail_ms == 1480


async def test_caller_reports_an_agent_that_never_speaks() -> None:
    async with open_loopback(("", "x"), manners=Manners(echo=True), speech=QUICK) as agent:
        agent.voice = Silent()
        report = await caller(agent).run()
    assert report.outcome == "deadlock: the agent said nothing for 1 s"


class Silent:
    """A voice without a sound."""

    def pcm(self, voice: str, text: str) -> bytes:
        del voice, text
        return b""


async def test_caller_speaks_first_when_it_need_not_wait() -> None:
    async with open_loopback(LINES, manners=Manners(tail="none"), speech=QUICK) as agent:
        report = await caller(agent, Say("hello you"), HangUp(), wait_for_callee_first=False).run()
    assert report.ending == "caller_hung_up"
    assert report.turns[0].started_at < 0.1


async def test_caller_sends_fifty_frames_a_second_without_gaps() -> None:
    async with open_loopback(LINES, speech=QUICK) as agent:
        report = await caller(agent, Wait(0.5), HangUp()).run()
    assert len(report.sent) == pytest.approx(0.5 * BYTES_PER_SECOND, abs=2 * 960)
    assert not any(report.sent)


async def test_caller_speaks_json_and_stays_until_the_answer_when_no_hang_up_is_written() -> None:
    async with open_loopback(LINES, manners=Manners(protocol="json"), speech=QUICK) as agent:
        report = await caller(agent, Say("one two three")).run()
    assert report.ending == "caller_hung_up"
    assert len(report.agent_speech) == 2


@pytest.mark.parametrize("protocol", ["binary", "json"])
async def test_caller_disconnects_when_the_framing_is_the_other_one(protocol: Any) -> None:
    async with open_loopback(LINES, manners=Manners(protocol=protocol), speech=QUICK) as agent:
        report = await caller(agent, protocol="json" if protocol == "binary" else "binary").run()
    assert report.ending == "violation"
    assert len(report.violations) == 1


async def test_caller_disconnects_when_it_gets_text_in_binary_mode() -> None:
    async with open_loopback(LINES, manners=Manners(text_frame=True), speech=QUICK) as agent:
        report = await caller(agent).run()
    assert report.outcome == "violation: a text frame in binary mode: 'hello'"


async def test_caller_notes_half_a_sample() -> None:
    async with open_loopback(LINES, manners=Manners(odd_frame=True), speech=QUICK) as agent:
        report = await caller(agent, Say("bye"), HangUp()).run()
    assert report.ending == "caller_hung_up"
    assert report.violations == ("half a sample: a message of 1 bytes",)


@pytest.mark.parametrize(
    ("code", "reason", "ending"),
    [(1000, "call_ended", "agent_hung_up"), (1011, "callee_no_answer: vapi_down", "callee_no_answer")],
)
async def test_caller_tells_how_the_agent_closed(code: int, reason: str, ending: str) -> None:
    manners = Manners(hang_up_after=0, close_code=code, close_reason=reason)
    async with open_loopback(LINES, manners=manners, speech=QUICK) as agent:
        report = await caller(agent).run()
    assert (report.ending, report.close_code, report.close_reason) == (ending, code, reason)


async def test_caller_reports_an_agent_that_is_not_there() -> None:
    async with open_loopback(LINES, speech=QUICK) as agent:
        pass
    report = await caller(agent).run()
    assert report.ending == "unreachable"
    assert "cannot be reached" in report.outcome


async def test_caller_barges_in_after_the_agents_onset() -> None:
    async with open_loopback(("a " * 12, "x"), speech=QUICK) as agent:
        report = await caller(agent, BargeIn(300), Say("wait"), HangUp()).run()
    turn = report.turns[0]
    assert turn.barge_in
    assert turn.started_at - report.agent_speech[0].onset_at == pytest.approx(0.3, abs=0.1)
    assert turn.stop_ms is None or turn.stop_ms > 0


async def test_caller_ends_at_its_cap() -> None:
    async with open_loopback(LINES, speech=QUICK) as agent:
        report = await caller(agent, Wait(5), max_call_seconds=0.3).run()
    assert report.outcome == "deadlock: not over after 0.3 s"


async def test_caller_plays_a_recording(tmp_path: Path) -> None:
    write_wav(tmp_path / "hello.wav", QUICK.pcm(CALLER_VOICE, "hello there"))
    async with open_loopback(LINES, speech=QUICK) as agent:
        report = await caller(agent, PlayWav(tmp_path / "hello.wav"), HangUp()).run()
    assert report.turns[0].text == "hello.wav"
    assert QUICK.pcm(CALLER_VOICE, "hello there") in report.sent


async def test_caller_does_not_dial_when_a_line_has_no_recording(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")  # nothing to render with
    with pytest.raises(SpeechError, match="no recording of 'one two three'"):
        await Caller("ws://127.0.0.1:1/", scenario(), speech=Speech(tmp_path, cache=tmp_path)).run()


async def test_caller_leaves_at_once_when_cancelled() -> None:
    async with open_loopback(LINES, speech=QUICK) as agent:
        began = trio.current_time()
        with trio.move_on_after(0.2):
            await caller(agent).run()
        assert trio.current_time() - began < 0.5


def test_ear_places_late_chunks_at_arrival_and_early_ones_behind_what_plays() -> None:
    tone = QUICK.pcm(AGENT_VOICE, "one two")
    length = seconds_of(len(tone))
    chunks = [Chunk(1.0, tone), Chunk(1.01, bytes(bytes_for(1.7))), Chunk(1.02, tone), Chunk(5.0, tone)]
    assert [round(item.at, 6) for item in place(chunks)] == pytest.approx([1.0, 1 + length, 1 + length, 5.0])


def test_ear_divides_speech_by_silence_received_and_by_gaps_on_the_wire() -> None:
    tone = QUICK.pcm(AGENT_VOICE, "one two")
    chunks = [Chunk(1.0, tone), Chunk(1.01, bytes(bytes_for(1.7))), Chunk(1.02, tone), Chunk(5.0, tone)]
    heard = agent_speech_in(chunks)
    assert [speech.onset_at for speech in heard] == pytest.approx([1.0, 1.16, 5.0], abs=0.001)
    assert [speech.end_at for speech in heard] == pytest.approx([1.16, 1.32, 5.16], abs=0.001)
    assert [speech.tail_ms for speech in heard] == [1700, 0, 0]
