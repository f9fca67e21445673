"""The measures against constructed calls whose truth is known, in audio and in stretches of speech."""

import random
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import pytest
from timed_agent import TAIL, tone

from simulation.artifacts import latencies
from simulation.caller_report import AgentSpeech, CallerReport, Utterance, agent_speech_in, measure_turns
from simulation.measures import Measures, measure, nearest_rank
from simulation.pcm import BYTES_PER_SECOND, bytes_for
from simulation.playout import Chunk
from simulation.scenario import LIMITS
from simulation.voice_activity import Segment

Spans = Sequence[tuple[float, float]]
BURSTS: Final = ((0.5017, 1.4403), (4.2501, 6.0), (7.3333, 7.9666), (12.0049, 13.5))
"""When the agent is audible at the ear; none at a border of a message or of the detector's frames."""


def stream(spans: Spans, floor_peak: int = 0) -> bytes:
    """The agent's voice as one stream from 0 s on, silence or a noise floor between."""
    total = bytes_for(spans[-1][1] + 2.0)
    rng = np.random.default_rng(1)
    samples = rng.integers(-floor_peak, floor_peak + 1, total // 2).astype("<i2")
    for begin, end in spans:
        voice = np.frombuffer(tone(end - begin), "<i2")
        start = round(begin * 24_000)
        samples[start : start + len(voice)] = voice
    return samples.tobytes()


def cut(pcm: bytes, size: Callable[[], int], together: int = 1, jitter_ms: float = 0.0, at: float = 0.0) -> list[Chunk]:
    """Messages of `size()` bytes, so many at once, each group when its first sample is due or a little later."""
    rng, chunks, position = random.Random(2), [], 0
    while position < len(pcm):
        arrival = at + position / BYTES_PER_SECOND + rng.uniform(0, jitter_ms) / 1000
        for _ in range(together):
            length = size()
            chunks.append(Chunk(arrival, pcm[position : position + length]))
            position += length
    return [chunk for chunk in chunks if chunk.pcm]


def irregular() -> Callable[[], int]:
    rng = random.Random(3)
    return lambda: rng.randrange(1_500, 3_001)


def streamed(spans: Spans, **how: Any) -> list[Chunk]:
    return cut(stream(spans), **how)


def speech_only(spans: Spans, **how: Any) -> list[Chunk]:
    """Nothing is sent between stretches but the burst of silence right behind each."""
    chunks = []
    for begin, end in spans:
        chunks += [*cut(tone(end - begin), at=begin, **how), Chunk(end, TAIL)]
    return chunks


DELIVERIES: Final[dict[str, Callable[[Spans], list[Chunk]]]] = {
    "20 ms frames": lambda spans: streamed(spans, size=lambda: 960),
    "46 ms messages": lambda spans: streamed(spans, size=lambda: bytes_for(0.046)),
    "odd messages": lambda spans: streamed(spans, size=irregular()),
    "odd messages in pairs, 8 ms of jitter": lambda spans: streamed(spans, size=irregular(), together=2, jitter_ms=8),
    "100 ms messages": lambda spans: streamed(spans, size=lambda: 4_800),
    "a noise floor, 8 ms of jitter": lambda spans: cut(
        stream(spans, floor_peak=40), irregular(), together=2, jitter_ms=8
    ),
    "speech and tails, 8 ms of jitter": lambda spans: speech_only(
        spans, size=lambda: bytes_for(0.046), together=2, jitter_ms=8
    ),
    "each stretch in one message": lambda spans: speech_only(spans, size=lambda: 1_000_000),
}


@pytest.mark.parametrize("name", DELIVERIES)
def test_ear_times_speech_within_10_ms(name: str) -> None:
    heard = agent_speech_in(DELIVERIES[name](BURSTS))
    # Without jitter to the sample, but for the sine's own rise.
    error = 0.010 if "jitter" in name else 0.0002
    assert [(speech.onset_at, speech.end_at) for speech in heard] == [pytest.approx(span, abs=error) for span in BURSTS]


@pytest.mark.parametrize("delivered", DELIVERIES.values(), ids=DELIVERIES.keys())
def test_measures_are_the_truth_within_10_ms(delivered: Callable[[Spans], list[Chunk]]) -> None:
    # Answered after 750 ms; interrupted 450 ms before it stops; talked over for 200 ms; answered after 3,505 ms.
    said = [own(2.5, 3.5001), barge_in(5.55, 6.2), own(7.7666, 8.5)]
    taken = measure(call(agent_speech_in(delivered(BURSTS)), said, seconds=13.6, ending="agent_hung_up"))
    assert taken.greeting_ms == pytest.approx(501.7, abs=10)
    assert taken.response_ms == pytest.approx((750.0, 1_133.3, 3_504.9), abs=10)
    assert taken.barge_in_stop_ms == pytest.approx((450.0,), abs=10)
    assert taken.talk_over_ms == pytest.approx(200.0, abs=10)
    assert taken.dead_air_ms == pytest.approx(3_504.9, abs=10)


def test_ear_does_not_date_speech_back_to_what_was_left_over_before_a_gap() -> None:
    """Half a frame of speech that was cut must not be joined with the first half of the next."""
    first, second = tone(0.405), tone(0.5)
    heard = agent_speech_in([Chunk(1.0, first), Chunk(5.0, second)])
    assert [(s.onset_at, s.end_at) for s in heard] == [
        pytest.approx((1.0, 1.405), abs=0.001),
        pytest.approx((5.0, 5.5), abs=0.001),
    ]


def test_ear_waits_for_short_silence_and_not_for_a_burst_of_it() -> None:
    short, burst = bytes(bytes_for(0.1)), bytes(bytes_for(1.7))
    heard = agent_speech_in([Chunk(1.0, short), Chunk(1.0, tone(0.5)), Chunk(1.5, burst), Chunk(1.8, tone(0.5))])
    assert [speech.onset_at for speech in heard] == pytest.approx([1.1, 1.8], abs=0.001)


def call(
    heard: Sequence[AgentSpeech | tuple[float, float]] = (),
    turns: Sequence[Utterance] = (),
    backchannels: Spans = (),
    *,
    seconds: float = 30.0,
    ending: str = "caller_hung_up",
    tail_ms: float = 1_700.0,
) -> CallerReport:
    """A call by what both said."""
    speech = tuple(
        item if isinstance(item, AgentSpeech) else AgentSpeech(*item, Segment(0, 0), tail_ms) for item in heard
    )
    return CallerReport(
        scenario="constructed",
        url="ws://x",
        protocol="binary",
        ending=ending,
        outcome=ending,
        connected_mono=0.0,
        duration_seconds=seconds,
        agent_speech=speech,
        turns=measure_turns(turns, speech, seconds if ending == "caller_hung_up" else float("inf")),
        backchannels=tuple(Utterance("mm", *span) for span in backchannels),
        lateness_ms=1.5,
    )


def own(begin: float, end: float, *, leaves: bool = False) -> Utterance:
    return Utterance("x", begin, end, leaves=leaves)


def barge_in(begin: float, end: float) -> Utterance:
    return Utterance("x", begin, end, barge_in=True)


def test_measures_of_a_call_without_occasions_are_none() -> None:
    taken = measure(call([(0.4, 2.0)]))
    assert [name for name in LIMITS if taken.value_of(name) is not None] == ["greeting_ms"]
    assert [Measures().value_of(name) for name in LIMITS] == [None] * len(LIMITS)
    with pytest.raises(KeyError):
        taken.value_of("tail_ms")


def test_measures_of_a_faultless_call_are_zero_where_they_count_faults() -> None:
    taken = measure(call([(0.4, 2.0), (5.0, 9.0)], [own(3.0, 4.0), own(10.0, 11.0, leaves=True)], [(6.0, 6.3)]))
    assert {name: taken.value_of(name) for name in LIMITS} == {
        "greeting_ms": pytest.approx(400),
        "response_ms": pytest.approx(1_000),
        "response_p95_ms": pytest.approx(1_000),
        "barge_in_stop_ms": None,
        "false_interruptions": 0,
        "talk_over_ms": 0.0,
        "dead_air_ms": pytest.approx(1_000),
    }
    assert (taken.unanswered, taken.unyielded, taken.lateness_ms) == (0, 0, 1.5)


def test_greeting_is_none_when_the_caller_spoke_first() -> None:
    taken = measure(call([(2.0, 3.0)], [own(0.0, 1.0)]))
    assert (taken.greeting_ms, taken.response_ms) == (None, pytest.approx((1_000,)))


@pytest.mark.parametrize(
    ("ending", "leaves", "unanswered", "dead_air_ms"),
    [
        ("deadlock", False, 1, 26_000),
        ("caller_hung_up", False, 1, 26_000),
        ("caller_hung_up", True, 0, None),
        ("agent_hung_up", False, 0, 26_000),
    ],
)
def test_turn_without_an_answer_is_counted_when_one_was_owed(
    ending: str, leaves: bool, unanswered: int, dead_air_ms: float | None
) -> None:
    taken = measure(call([(0.4, 2.0)], [own(3.0, 4.0, leaves=leaves)], ending=ending))
    assert (taken.unanswered, taken.dead_air_ms) == (unanswered, dead_air_ms)
    assert taken.value_of("response_ms") is None


def test_response_limit_fails_when_one_turn_of_two_went_unanswered() -> None:
    taken = measure(call([(0.4, 2.0), (5.0, 6.0)], [own(3.0, 4.0), own(8.0, 9.0)], ending="deadlock"))
    assert (taken.response_ms, taken.unanswered) == (pytest.approx((1_000,)), 1)
    assert (taken.value_of("response_ms"), taken.value_of("response_p95_ms")) == (None, None)


def test_answer_that_begins_within_the_turn_is_negative_and_talked_over() -> None:
    taken = measure(call([(0.4, 2.0), (3.7, 6.0)], [own(3.0, 4.0)]))
    assert taken.response_ms == pytest.approx((-300,))
    assert taken.talk_over_ms == pytest.approx(300)
    assert taken.dead_air_ms == 0


def test_talk_over_counts_stretch_by_stretch_and_no_barge_in_or_backchannel() -> None:
    paused = Utterance("x", 3.0, 6.0, speech=((3.0, 4.0), (5.0, 6.0)))
    heard = [(0.4, 2.0), (3.9, 5.1), (8.0, 12.0)]
    taken = measure(call(heard, [paused, barge_in(9.0, 10.0)], [(8.5, 8.8)], ending="agent_hung_up"))
    assert taken.talk_over_ms == pytest.approx(200)


@pytest.mark.parametrize(
    ("heard", "stop_ms", "unyielded"),
    [
        ([(1.0, 3.4), (5.0, 6.0)], (400,), 0),
        ([(1.0, 3.2), (3.5, 3.9), (5.0, 6.0)], (900,), 0),  # a breath in between
        ([(1.0, 3.8), (4.1, 6.0)], (800,), 0),  # the answer comes at once, behind the interruption
        ([(1.0, 5.1)], (), 1),
        ([(1.0, 2.9), (5.0, 6.0)], (), 0),  # it had stopped by itself
    ],
)
def test_barge_in_is_timed_or_censored_and_never_guessed(
    heard: Spans, stop_ms: tuple[float, ...], unyielded: int
) -> None:
    taken = measure(call(heard, [barge_in(3.0, 4.0)]))
    assert (taken.barge_in_stop_ms, taken.unyielded) == (pytest.approx(stop_ms), unyielded)
    assert taken.value_of("barge_in_stop_ms") == (pytest.approx(stop_ms[0]) if stop_ms else None)


def test_barge_in_is_not_timed_when_the_caller_left_before_the_agent_stopped() -> None:
    taken = measure(call([(1.0, 3.99)], [barge_in(3.0, 4.0)], seconds=4.0))
    assert (taken.barge_in_stop_ms, taken.unyielded, taken.value_of("barge_in_stop_ms")) == ((), 0, None)


def test_barge_in_limit_fails_when_one_of_two_was_not_yielded_to() -> None:
    taken = measure(call([(1.0, 3.4), (5.0, 9.0)], [barge_in(3.0, 4.0), barge_in(6.0, 7.0)]))
    assert (len(taken.barge_in_stop_ms), taken.unyielded, taken.value_of("barge_in_stop_ms")) == (1, 1, None)


@pytest.mark.parametrize(
    ("heard", "occasions", "faults"),
    [
        ([(1.0, 6.0)], 1, 0),
        ([(1.0, 3.5)], 1, 1),
        ([(1.0, 3.5), (3.9, 6.0)], 1, 0),  # a breath
        ([(1.0, 3.5), (4.2, 6.0)], 1, 1),  # it stopped, and answered what was no turn
        ([(1.0, 4.2)], 1, 0),
        ([(1.0, 2.4)], 0, 0),  # nobody was interrupted
    ],
)
def test_backchannel_is_a_false_interruption_when_the_agent_stops_for_it(
    heard: Spans, occasions: int, faults: int
) -> None:
    taken = measure(call(heard, backchannels=[(3.0, 3.3)]))
    assert (taken.backchannels, taken.false_interruptions) == (occasions, faults)
    assert taken.value_of("false_interruptions") == (faults if occasions else None)


def test_backchannel_is_no_fault_when_the_caller_left_right_behind_it() -> None:
    assert measure(call([(1.0, 3.5)], backchannels=[(3.0, 3.3)], seconds=3.5)).false_interruptions == 0


def test_dead_air_is_owed_by_who_keeps_the_floor() -> None:
    heard = [(0.4, 2.0), (5.0, 6.0), (10.0, 11.0)]
    kept = measure(call(heard, [own(3.0, 4.0)], tail_ms=0.0, ending="agent_hung_up"))
    given = measure(call(heard, [own(3.0, 4.0)], ending="agent_hung_up"))
    assert (kept.dead_air_ms, given.dead_air_ms) == (pytest.approx(4_000), pytest.approx(1_000))
    stuck = measure(call(heard, [own(3.0, 4.0)], tail_ms=0.0, ending="deadlock"))
    assert stuck.dead_air_ms == pytest.approx(19_000)


@pytest.mark.parametrize(("share", "expected"), [(0.5, 10), (0.95, 19), (1.0, 20), (0.0, 1)])
def test_percentile_is_the_nearest_rank(share: float, expected: int) -> None:
    assert nearest_rank(list(range(20, 0, -1)), share) == expected
    assert nearest_rank([7], share) == 7
    assert nearest_rank([], share) is None


def test_summary_holds_the_measures_under_their_keys() -> None:
    report = call([(0.4, 2.0), (5.0, 9.0), (12.0, 13.0)], [own(3.0, 4.0), barge_in(8.6, 9.5)], [(6.0, 6.3)])
    assert latencies(report) == {
        "greeting": 400.0,
        "response": [1_000.0, 2_500.0],
        "response_p50": 1_000.0,
        "response_p95": 2_500.0,
        "response_max": 2_500.0,
        "unanswered": 0,
        "turn_gap": [1_000.0],
        "tail": [1_700.0] * 3,
        "barge_in_stop": [400.0],
        "unyielded": 0,
        "false_interruptions": 0,
        "talk_over": 0.0,
        "dead_air": 2_500.0,
        "instrument_lateness_max": 1.5,
    }
