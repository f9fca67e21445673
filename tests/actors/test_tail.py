"""actors/tail.py: how much silence is owed, and when. Pure."""

from array import array
from math import inf

import hypothesis
import pytest
from hypothesis import strategies as st

from actors.tail import TAIL_BYTES, Tail, silence_behind
from runtime import limits
from tests.fakes import seconds_of, silence, speech

SETTLE, OVERDUE = limits.TAIL_SETTLE_SECONDS, limits.TAIL_OVERDUE_SECONDS


def pay(tail: Tail) -> float:
    """Pay all that is owed; its seconds."""
    paid = 0.0
    while tail.owed:
        frame = tail.next_piece(limits.FRAME_BYTES)
        assert 0 < len(frame) <= limits.FRAME_BYTES
        assert not any(frame)
        tail.on_paid(frame)
        paid += seconds_of(frame)
    return paid


@pytest.mark.parametrize(
    ("samples", "behind"),
    [
        ([], None), ([0, 0], None), ([99, -99], None), ([100], 0), ([-100], 0), ([-32768], 0), ([32767, 0, 99], 4),
        ([0, 0, 500], 0), ([500, 0, 0, 0], 6), ([500, 0, -500, 0], 2),
    ],
)  # fmt: skip
def test_silence_is_measured_behind_the_last_audible_sample(samples: list[int], behind: int | None) -> None:
    assert silence_behind(array("h", samples).tobytes()) == behind


@hypothesis.given(st.lists(st.integers(-32768, 32767), max_size=60))
def test_silence_is_what_a_plain_search_finds_when_the_samples_are_any(samples: list[int]) -> None:
    audible = [n for n, sample in enumerate(samples) if abs(sample) >= limits.AUDIBLE_PEAK]
    expected = 2 * (len(samples) - 1 - audible[-1]) if audible else None
    assert silence_behind(array("h", samples).tobytes()) == expected


def say(tail: Tail, pcm: bytes, now: float) -> None:
    tail.on_sent(len(pcm), silence_behind(pcm), now)


def test_nothing_is_owed_when_nothing_audible_went_out() -> None:
    tail = Tail()
    tail.on_stopped()
    say(tail, silence(5), 0.0)
    assert (tail.owed, tail.due_at()) == (False, inf)


def test_tail_is_due_60_ms_behind_the_end_of_the_last_audible_chunk_when_stopped_was_read() -> None:
    tail = Tail()
    tail.on_started()
    say(tail, speech(0.5), 10.0)
    assert tail.due_at() == pytest.approx(10.5 + OVERDUE)
    tail.on_stopped()
    assert tail.due_at() == pytest.approx(10.5 + SETTLE)
    assert pay(tail) == pytest.approx(1.7)
    assert not tail.overdue
    assert tail.due_at() == inf


def test_tail_waits_for_all_that_plays_when_chunks_came_back_to_back() -> None:
    tail = Tail()
    tail.on_started()
    for _ in range(3):
        say(tail, speech(0.1), 5.0)
    tail.on_stopped()
    assert tail.due_at() == pytest.approx(5.3 + SETTLE)
    # What was played out long ago holds nothing up.
    say(tail, speech(0.1), 9.0)
    assert tail.due_at() == pytest.approx(9.1 + SETTLE)


def test_tail_moves_back_when_a_late_chunk_follows_stopped() -> None:
    tail = Tail()
    say(tail, speech(0.1), 0.0)
    tail.on_stopped()
    say(tail, speech(0.1), 0.15)
    assert tail.due_at() == pytest.approx(0.25 + SETTLE)


def test_tail_is_shorter_by_the_silence_that_vapi_has_streamed() -> None:
    tail = Tail()
    say(tail, speech(1) + silence(0.3), 0.0)
    say(tail, silence(0.4), 1.3)
    tail.on_stopped()
    assert pay(tail) == pytest.approx(1.0)


def test_tail_is_paid_when_vapi_has_streamed_all_of_it() -> None:
    tail = Tail()
    say(tail, speech(1), 0.0)
    say(tail, silence(1.7), 1.0)
    assert (tail.owed, tail.due_at()) == (False, inf)


def test_silence_before_the_speech_pays_nothing() -> None:
    tail = Tail()
    say(tail, silence(5), 0.0)
    say(tail, speech(1), 5.0)
    tail.on_stopped()
    assert pay(tail) == pytest.approx(1.7)


def test_tail_is_overdue_when_no_stopped_was_read_for_two_seconds() -> None:
    tail = Tail()
    tail.on_started()
    say(tail, speech(1), 0.0)
    assert tail.due_at() == pytest.approx(3.0)
    assert pay(tail) == pytest.approx(1.7)
    assert tail.overdue


def test_tail_is_whole_again_when_speech_cuts_it() -> None:
    tail = Tail()
    say(tail, speech(1), 0.0)
    tail.on_stopped()
    tail.on_paid(silence(0.5))
    assert tail.owed
    tail.on_started()
    say(tail, speech(1), 2.0)
    tail.on_stopped()
    assert pay(tail) == pytest.approx(1.7)


def test_each_stretch_needs_a_stopped_of_its_own() -> None:
    tail = Tail()
    say(tail, speech(1), 0.0)
    tail.on_stopped()
    pay(tail)
    say(tail, speech(1), 10.0)
    assert tail.due_at() == pytest.approx(11 + OVERDUE)


def test_stopped_of_one_stretch_is_forgotten_when_the_next_one_starts() -> None:
    tail = Tail()
    say(tail, speech(1) + silence(1.7), 0.0)
    tail.on_stopped()
    tail.on_started()
    say(tail, speech(1), 10.0)
    assert tail.due_at() == pytest.approx(11 + OVERDUE)


def test_tail_is_due_after_60_ms_when_stopped_overtook_all_the_audio_of_its_stretch() -> None:
    tail = Tail()
    tail.on_started()
    tail.on_stopped()
    say(tail, speech(0.2), 1.0)
    assert tail.due_at() == pytest.approx(1.2 + SETTLE)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("speech"), st.floats(0.001, 1)), st.tuples(st.just("silence"), st.floats(0.001, 1)),
        st.tuples(st.sampled_from(["started", "stopped", "pay"]), st.just(0.0)),
    ),
    max_size=25,
)  # fmt: skip


@hypothesis.given(STEPS)
def test_silence_behind_speech_is_never_more_than_a_tail_by_our_doing(steps: list[tuple[str, float]]) -> None:
    tail, behind, spoken = Tail(), 0, False
    for what, seconds in steps:
        if what in ("speech", "silence"):
            pcm = speech(seconds) if what == "speech" else silence(seconds)
            say(tail, pcm, 0.0)
            spoken, behind = (True, 0) if what == "speech" and pcm else (spoken, behind + len(pcm))
        elif what == "pay" and tail.owed:
            behind += round(pay(tail) * limits.AUDIO_BYTES_PER_SECOND)
            assert behind == TAIL_BYTES
        elif what == "started":
            tail.on_started()
        elif what == "stopped":
            tail.on_stopped()
        assert tail.owed == (spoken and behind < TAIL_BYTES)


def test_tail_is_not_due_within_an_answer_when_the_stopped_of_the_filler_before_it_comes_late() -> None:
    tail = Tail()
    tail.on_started()
    say(tail, speech(0.1), 10.0)
    tail.on_started()  # the answer's
    say(tail, speech(0.1), 10.2)
    tail.on_stopped()  # the filler's
    assert tail.due_at() == pytest.approx(10.3 + OVERDUE)
    tail.on_stopped()
    assert tail.due_at() == pytest.approx(10.3 + SETTLE)


def test_one_tail_is_overdue_and_the_next_is_not_when_a_stopped_was_lost() -> None:
    tail = Tail()
    tail.on_started()
    say(tail, speech(0.1), 10.0)
    pay(tail)
    tail.on_started()
    say(tail, speech(0.1), 20.0)
    tail.on_stopped()
    assert tail.due_at() == pytest.approx(20.1 + SETTLE)
