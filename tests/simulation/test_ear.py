"""The ear: its grammar, what it understands of the shipped recordings, and what it refuses."""

from functools import cache
from pathlib import Path

import pytest
import trio

from simulation.caller_ear import agent_phrases, hear_agent
from simulation.caller_report import CallerReport, CallerTurn, agent_speech_in
from simulation.ear import REPROMPT, EarError, Heard
from simulation.ear_check import Figures, Sample, caller_phrases, check_ear, limited, samples_of, table_line
from simulation.grammar import decoys, digit_runs, jsgf, leading_parts, numbers_in, words_of
from simulation.pcm import FRAME_SECONDS, SAMPLE_RATE_HZ, bytes_for, frames_of
from simulation.playout import Chunk
from simulation.pocket_ear import EarBeside, EarHere, open_ear
from simulation.pronunciation import pronounce
from simulation.recogniser import the_recogniser
from simulation.scenario import AgentTurn, Faults, PlayWav, Say, Scenario, load_scenario
from simulation.speech import AGENT_VOICE, Speech

SCENARIOS = Path(__file__).parents[2] / "scenarios"
LOST = "Hi, I lost my card ending in four two four two."
THANKS = "Great, thanks, bye."
FOUND = "I found your card ending in four two four two. Shall I replace it?"
FILLER = "One moment please."


@cache
def speech() -> Speech:
    return Speech(SCENARIOS / "audio")


def hear(pcm: bytes, *phrases: str) -> Heard:
    return trio.run(EarHere().hear, pcm, phrases)


def said(text: str, voice: str = "slt", band_hz: int | None = None) -> bytes:
    return limited(speech().pcm(voice, text), band_hz)


def test_words_are_lower_case_without_signs_and_numerals_are_spelt() -> None:
    assert words_of("Riley \N{EM DASH} how's it, 'Ann\N{RIGHT SINGLE QUOTATION MARK}s' 503?") == (
        "riley", "how's", "it", "ann's", "five", "zero", "three",
    )  # fmt: skip
    assert digit_runs(words_of("one of five oh three")) == [(0, 1), (2, 5)]
    assert numbers_in("five oh three, or two") == ["503", "2"]


def test_decoys_are_each_line_with_digits_swapped_or_those_of_another() -> None:
    made = {" ".join(words) for words in decoys(["Card one two three, please.", "No, four five six.", "One card."])}
    assert made == {
        "card two one three please", "card one three two please", "card four five six please",
        "no five four six", "no four six five", "no one two three",
    }  # fmt: skip
    assert decoys(["No one.", "Five five."]) == []


def test_leading_parts_end_at_words_only() -> None:
    assert leading_parts("Acme Bank \N{EM DASH} Riley here.") == ["Acme", "Acme Bank", "Acme Bank \N{EM DASH} Riley"]
    assert jsgf([("a", "b"), ("c",)]).splitlines()[-1] == "public <said> = a b | c;"


@pytest.mark.parametrize(
    ("word", "phones"),
    [("unfreeze", "AH N F R IY Z"), ("cards", "K AA R D Z"), ("freezing", "F R IY Z IH NG"),
     ("cardfreeze", "K AA R D F R IY Z"), ("quilte", "K W IH L T"), ("shea'", "SH IY")],
)  # fmt: skip
def test_pronunciation_is_made_of_known_parts_or_of_letters(word: str, phones: str) -> None:
    known = {"freeze": "F R IY Z", "card": "K AA R D"}
    assert pronounce(word, known.get) == phones


def test_ear_understands_a_dozen_shipped_lines_clean_or_from_a_telephone() -> None:
    paths = [SCENARIOS / f"{name}.yaml" for name in ("verified-replacement", "telephone-line", "locked-out")]
    samples = [sample for sample in samples_of([load_scenario(path) for path in paths]) if sample.known][:12]
    assert len({sample.voice for sample in samples}) > 1
    for number, sample in enumerate(samples):
        pcm = said(sample.text, sample.voice, 8_000 if number % 2 else None)
        assert hear(pcm, *sample.phrases).text == sample.text


def test_ear_hears_wrong_digits_as_such_and_the_same_each_time() -> None:
    told = LOST.replace("four two four two", "four two two four")
    heard = [hear(said(LOST), told, THANKS)]
    hear(said(THANKS), told, THANKS)
    heard += [hear(said(LOST), told, THANKS)]
    assert heard[0].text == "hi i lost my card ending in four two four two"
    assert heard[0] == heard[1]


def test_ear_understands_nothing_of_noise_silence_half_a_line_and_other_lines() -> None:
    whole = said(LOST)
    for pcm in (b"", bytes(bytes_for(1.0)), b"\x01", whole[: bytes_for(1.2)], said(REPROMPT, AGENT_VOICE)):
        assert hear(pcm, LOST, THANKS).text == ""
    assert hear(whole).text == ""
    assert hear(whole, "", "\N{EM DASH}").text == ""


def test_ear_says_a_word_that_no_dictionary_has() -> None:
    assert hear(said(THANKS), "Unfreezeable qwyz.", THANKS).text == THANKS


def test_recogniser_forgets_the_oldest_grammars() -> None:
    for number in range(70):
        hear(b"", THANKS, "word " * (number + 1))
    assert len(the_recogniser()._grammars) <= 64
    assert hear(said(THANKS), THANKS, LOST).text == THANKS


async def test_ear_in_processes_hears_what_the_ear_in_the_task_hears() -> None:
    pcms = [said(LOST), said(THANKS), said(THANKS, band_hz=8_000)]
    here = [await EarHere().hear(pcm, (LOST, THANKS)) for pcm in pcms]
    beside: list[Heard | None] = [None] * len(pcms)
    with trio.fail_after(30):
        async with open_ear(1) as ear:

            async def put(index: int) -> None:
                beside[index] = await ear.hear(pcms[index], (LOST, THANKS))

            with trio.move_on_after(0):
                await ear.hear(pcms[0] * 20, (LOST,))
            async with trio.open_nursery() as nursery:
                for index in range(len(pcms)):
                    nursery.start_soon(put, index)
            await dead(ear)
    assert beside == here
    assert [heard.text for heard in here] == [LOST, THANKS, THANKS]


async def dead(ear: EarBeside) -> None:
    for process in list(ear.pool._processes.values()):
        process.kill()
    with pytest.raises(EarError, match="has died"):
        await ear.hear(said(LOST), (LOST,))


AGENT = Scenario("s", (Say("x"),), (AgentTurn(FOUND), AgentTurn("", ())), faults=Faults(vapi={"filler": FILLER}))


def received(*parts: bytes, turns: tuple[CallerTurn, ...] = (), then_seconds: float = 5.0) -> CallerReport:
    """A report on audio that came in real time."""
    frames = frames_of(b"".join(parts))
    chunks = tuple(Chunk(number * FRAME_SECONDS, frame) for number, frame in enumerate(frames))
    heard = agent_speech_in(chunks)
    return CallerReport(
        "s", "ws://x", "binary", "agent_hung_up", "", 0.0, len(frames) * FRAME_SECONDS + then_seconds,
        received=chunks, turns=turns, agent_speech=heard,
    )  # fmt: skip


def pause(seconds: float) -> bytes:
    return bytes(bytes_for(seconds))


def words_heard(report: CallerReport) -> list[str]:
    return [heard.text for heard in trio.run(hear_agent, report, AGENT, EarHere())]


def test_caller_hears_lines_close_to_each_other_and_one_with_a_pause_in_it() -> None:
    assert agent_phrases(AGENT) == (FOUND, FILLER, REPROMPT)
    filler, found = said(FILLER, AGENT_VOICE), said(FOUND, AGENT_VOICE)
    report = received(pause(0.3), filler, pause(0.5), found, pause(1.0), said(REPROMPT, AGENT_VOICE))
    assert words_heard(report) == [FILLER, FOUND, REPROMPT]
    at = [heard.at for heard in trio.run(hear_agent, report, AGENT, EarHere())]
    assert at[:2] == pytest.approx([0.3, 0.3 + len(filler) / 2 / SAMPLE_RATE_HZ + 0.5], abs=0.05)
    assert words_heard(received(pause(0.1), said(THANKS), pause(0.5))) == [""]


def test_caller_hears_the_beginning_of_what_was_cut_short() -> None:
    cut = said(FOUND, AGENT_VOICE)[: bytes_for(1.6)]
    barged = CallerTurn("wait", 1.4, 2.0, None, None, None, None, True, None)
    (heard,) = words_heard(received(cut, pause(2.0), turns=(barged,)))
    assert heard
    assert FOUND.startswith(heard)
    assert words_heard(received(cut, then_seconds=0.2)) == [heard]
    assert words_heard(received(cut, pause(2.0))) == [""]


def test_check_counts_words_refusals_and_what_should_not_be_understood() -> None:
    first = Scenario("a", (Say(LOST), PlayWav(Path("noise.wav"))), (AgentTurn(FOUND),))
    second = Scenario("b", (Say(THANKS), Say(LOST)))
    assert caller_phrases(first) == (LOST,)
    samples = [sample for sample in samples_of([first, second]) if sample.voice == "slt"]
    assert samples == [
        Sample("slt", LOST, (LOST,)), Sample("slt", THANKS, (THANKS, LOST)),
        Sample("slt", THANKS, (LOST,), known=False), Sample("slt", LOST, (THANKS, LOST)),
    ]  # fmt: skip
    clean = next(check_ear(the_recogniser(), speech(), samples))
    assert (clean.word_error, clean.false_rejects, clean.false_accepts, clean.unknown) == (0.0, 0, 0, 1)
    figures = Figures("slt", 8_000)
    figures.add(samples[0], "", 0.2)
    figures.add(samples[1], THANKS, 0.8)
    figures.add(samples[2], LOST, 0.5)
    assert (figures.word_error, figures.false_rejects, figures.false_accepts) == (11 / 14, 1, 1)
    assert "78.57 %" in table_line(figures)
    assert len(figures.wrong) == 2
