"""What the caller does at each kind of step, in virtual time, against an agent that knows when it spoke."""

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from timed_agent import TAIL, TimedAgent, open_timed_agent, tone

from simulation.caller import Caller
from simulation.caller_report import CallerReport
from simulation.measures import measure
from simulation.scenario import (
    Backchannel,
    BargeIn,
    CallerStep,
    Gaps,
    HangUp,
    Persona,
    PhoneLine,
    PlayWav,
    Say,
    Scenario,
    Silence,
    Wait,
)
from simulation.speech import Tones, write_wav
from tests.virtual_time import run_in_virtual_time

VOICE = Tones(ms_per_word=200)
FRAME = 0.021
"""What is said begins with the next frame."""
ONE_WAY = 0.010

Script = Callable[[TimedAgent], Awaitable[None]]


def hold(script: Script, *steps: CallerStep, **settings: Any) -> tuple[CallerReport, TimedAgent]:
    """A whole call, and the agent it was held with."""
    knobs = {name: settings.pop(name) for name in ("seed", "needs_silence_ms", "speech") if name in settings}
    scenario = Scenario("test", caller=steps, **settings)
    held: list[tuple[CallerReport, TimedAgent]] = []

    async def main() -> None:
        async with open_timed_agent(script) as agent:
            report = await Caller(agent.url, scenario, **{"speech": VOICE, "patience_seconds": 5.0, **knobs}).run()
            held.append((report, agent))

    run_in_virtual_time(main)
    return held[0]


def saying(*seconds: float, after: float = 0.5) -> Script:
    """A greeting, then an answer to each stretch of the caller's speech, `after` its end."""

    async def script(agent: TimedAgent) -> None:
        await trio.sleep(0.3)
        await agent.say(seconds[0])
        for number, length in enumerate(seconds[1:], start=1):
            await trio.sleep_until(await agent.caller_has_spoken(number) + after)
            await agent.say(length)

    return script


def names(report: CallerReport) -> list[str]:
    return [event.event for event in report.events if event.who == "caller"]


def test_caller_backchannels_into_the_agents_speech_and_still_waits_for_its_end() -> None:
    async def script(agent: TimedAgent) -> None:
        await agent.say(3.0)
        await agent.caller_has_spoken(2)

    report, agent = hold(script, Backchannel("mm", after_ms=700), Say("one two"), HangUp())
    (said,) = report.backchannels
    assert (said.text, said.barge_in) == ("mm", False)
    (begun, ended), (first, _) = agent.heard[:2]
    assert begun == pytest.approx(agent.spoken[0][0] + 0.7 + 2 * ONE_WAY, abs=FRAME)
    assert ended - begun == pytest.approx(0.2, abs=0.001)
    assert said.last_speech_at - said.started_at == pytest.approx(0.2, abs=0.001)
    assert first == pytest.approx(agent.spoken[0][1] + 2 * ONE_WAY, abs=FRAME)
    assert [turn.text for turn in report.turns] == ["one two"]
    assert names(report)[2:5] == ["backchannel-started", "backchannel-ended", "turn-started"]


def test_caller_backchannels_twice_into_one_turn_counted_from_its_one_onset() -> None:
    report, _ = hold(saying(4.0), Backchannel("a", 500), Backchannel("b", 2_000), HangUp())
    first, second = [said.started_at for said in report.backchannels]
    assert second - first == pytest.approx(1.5, abs=FRAME)


def test_caller_lets_a_turn_pass_and_then_speaks_when_the_agent_says_nothing() -> None:
    report, agent = hold(saying(1.0), Silence(3.0), Say("one"), HangUp())
    assert agent.heard[0][0] - agent.spoken[0][1] == pytest.approx(3.0 + 2 * ONE_WAY, abs=FRAME)
    assert [event.data["seconds"] for event in report.events if event.event == "turn-passed"] == [3.0]
    assert len(agent.received) == len(report.sent)


def test_caller_lets_a_turn_pass_and_waits_for_the_end_of_what_the_agent_then_says() -> None:
    async def script(agent: TimedAgent) -> None:
        await agent.say(1.0)
        await trio.sleep(2.5)
        await agent.say(2.0)
        await agent.caller_has_spoken(1)

    _, agent = hold(script, Silence(3.0), Say("one"), HangUp())
    assert agent.heard[0][0] == pytest.approx(agent.spoken[1][1] + 2 * ONE_WAY, abs=FRAME)


def test_caller_cuts_into_the_next_onset_when_it_let_a_turn_pass() -> None:
    async def script(agent: TimedAgent) -> None:
        await agent.say(1.0)
        await trio.sleep(2.5)
        await agent.say(2.0)

    report, agent = hold(script, Silence(1.0), BargeIn(400), Say("one"), HangUp())
    assert agent.heard[0][0] == pytest.approx(agent.spoken[1][0] + 0.4 + 2 * ONE_WAY, abs=FRAME)
    assert report.turns[0].barge_in


def test_caller_cuts_into_an_onset_that_is_not_dated_back_to_what_was_cut_before() -> None:
    async def script(agent: TimedAgent) -> None:
        await agent.say(1.005, tail=False)  # ends in the middle of one of the detector's frames
        await trio.sleep(3.0)
        await agent.say(3.0)

    steps = (BargeIn(300), Say("one two three four"), BargeIn(400), Say("one"), HangUp())
    _, agent = hold(script, *steps)
    assert agent.heard[1][0] == pytest.approx(agent.spoken[1][0] + 0.4 + 2 * ONE_WAY, abs=FRAME)


def test_caller_leaves_in_the_middle_of_a_sentence() -> None:
    report, agent = hold(saying(3.0), BargeIn(800), HangUp())
    assert (report.ending, report.turns) == ("caller_hung_up", ())
    assert report.duration_seconds - report.agent_speech[0].onset_at == pytest.approx(0.8, abs=0.001)
    assert not any(agent.received)
    assert agent.last_frame_at <= report.connected_mono + report.duration_seconds + ONE_WAY + 0.001


def test_caller_waits_after_cutting_in_and_speaks_without_a_pause_of_the_agent() -> None:
    _, agent = hold(saying(3.0), BargeIn(300), Wait(0.5), Say("one"), HangUp())
    assert agent.heard[0][0] == pytest.approx(agent.spoken[0][0] + 0.8 + 2 * ONE_WAY, abs=FRAME)


@pytest.mark.parametrize(("words", "text"), [("hello there", "hello there"), ("", "cough.wav")])
def test_caller_names_a_recording_by_its_words_or_its_file(tmp_path: Path, words: str, text: str) -> None:
    write_wav(tmp_path / "cough.wav", tone(0.4))
    report, _ = hold(saying(0.5), PlayWav(tmp_path / "cough.wav", words), HangUp())
    assert [turn.text for turn in report.turns] == [text]


@attrs.define
class Voices:
    """Remembers who was asked to speak."""

    asked: list[tuple[str, str]] = attrs.field(factory=list)

    def pcm(self, voice: str, text: str) -> bytes:
        self.asked.append((voice, text))
        return tone(0.3)


def test_caller_speaks_with_the_personas_voice() -> None:
    voices = Voices()
    steps: Sequence[CallerStep] = (Backchannel("mm", 100), Say("one"), HangUp())
    hold(saying(0.5), *steps, persona=Persona("awb"), speech=voices)
    assert voices.asked == [("awb", "mm"), ("awb", "one")]


def test_caller_speaks_first_when_the_opening_is_the_callers() -> None:
    async def script(agent: TimedAgent) -> None:
        await trio.sleep_until(await agent.caller_has_spoken(1) + 0.5)
        await agent.say(0.5)

    report, _ = hold(script, Say("one two"), Say("three"), HangUp(), opening="caller")
    assert report.turns[0].started_at < FRAME
    assert report.ending == "caller_hung_up"
    assert report.turns[1].started_at == pytest.approx(report.agent_speech[0].end_at, abs=FRAME)
    assert measure(report).greeting_ms is None


def test_caller_waits_for_its_turn_when_the_agent_opens_before_it() -> None:
    _, agent = hold(saying(1.0), Wait(0.5), Say("one"), HangUp(), opening="caller")
    assert agent.heard[0][0] == pytest.approx(agent.spoken[0][1] + 2 * ONE_WAY, abs=FRAME)


@pytest.mark.parametrize("step", [BargeIn(100), Backchannel("mm", 100), Silence(1.0)])
def test_caller_gives_up_when_an_agent_that_must_speak_says_nothing(step: CallerStep) -> None:
    async def script(agent: TimedAgent) -> None:
        await agent.send(TAIL)
        await trio.sleep_forever()

    report, _ = hold(script, step, Say("one"), HangUp())
    assert report.outcome == "deadlock: the agent said nothing for 5 s"
    assert measure(report).dead_air_ms == pytest.approx(5_000, abs=25)


def test_caller_on_a_bad_line_sends_the_same_bytes_again_when_the_seed_is_the_same() -> None:
    line = PhoneLine(8_000, 20.0, Gaps(200, 30))
    steps = (Say("one two"), Say("one two"), HangUp())
    sent = [hold(saying(0.5, 0.5), *steps, line=line, **seed)[0].sent for seed in ({}, {"seed": 0}, {"seed": 1})]
    assert sent[0] == sent[1] != sent[2]
    clean = hold(saying(0.5, 0.5), *steps)[0]
    assert VOICE.pcm("slt", "one two") in clean.sent
    assert len(clean.sent) == len(sent[0])
    spoken = [sent[0][round(turn.started_at * 50) * 960 :][: 2 * 9_600] for turn in clean.turns]
    assert spoken[0] != spoken[1]


def test_measures_of_a_whole_call_are_the_agents_own_truth_within_10_ms() -> None:
    async def script(agent: TimedAgent) -> None:
        await trio.sleep(0.4)
        await agent.say(1.0)
        await trio.sleep_until(await agent.caller_has_spoken(1) + 0.65)
        await agent.say(3.0, stops_for_caller_after=0.25)
        await trio.sleep_until(await agent.caller_has_spoken(2) + 1.2)
        await agent.say(2.0)  # the third turn is talked over: the floor was handed over, and taken again
        await trio.sleep_until(agent.spoken[-1][1] + 0.3)
        await agent.say(0.2)

    steps = (Say("one two three"), BargeIn(700), Say("one two three four"), Say("one two three"), HangUp())
    report, agent = hold(script, *steps)
    taken = measure(report)
    start, both_ways = report.connected_mono, 2 * ONE_WAY * 1000
    assert taken.greeting_ms == pytest.approx((agent.spoken[0][0] + ONE_WAY - start) * 1000, abs=10)
    assert taken.response_ms == pytest.approx([650 + both_ways, 1_200 + both_ways], abs=10)
    stop = (agent.spoken[1][1] - agent.heard[1][0]) * 1000 + both_ways
    assert taken.barge_in_stop_ms == pytest.approx([stop], abs=10)
    begun, ended = (moment + ONE_WAY for moment in agent.spoken[3])
    third = report.turns[2]
    overlap = min(ended, start + third.last_speech_at) - max(begun, start + third.started_at)
    assert overlap > 0.15
    assert taken.talk_over_ms == pytest.approx(overlap * 1000, abs=10)
    assert taken.dead_air_ms == pytest.approx(1_200 + both_ways, abs=10)
    assert (taken.unanswered, taken.unyielded) == (0, 0)
