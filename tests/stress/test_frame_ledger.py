"""What became of a frame is told by its receiver, whatever the bridge does to it."""

import random

import pytest

from runtime import limits
from stress.frames import Frames
from stress.ledger import Ledger

FRAMES = Frames()
TAG = 7
LATER_NS = 2_000


def sent(count: int, tag: int = TAG) -> list[bytes]:
    return [FRAMES.make(tag, number, 1_000 + number) for number in range(count)]


@pytest.fixture
def ledger() -> Ledger:
    return Ledger(FRAMES)


def hear(ledger: Ledger, *messages: bytes) -> tuple[int, int, int, int, int]:
    for message in messages:
        ledger.hear(message, LATER_NS)
    return ledger.arrived, ledger.missing, ledger.reordered, ledger.repeated, ledger.damaged


def test_frames_are_counted_and_timed_when_they_arrive_in_order(ledger: Ledger) -> None:
    frames = sent(3)
    assert all(len(frame) == limits.FRAME_BYTES for frame in frames)
    assert hear(ledger, *frames) == (3, 0, 0, 0, 0)
    assert ledger.latencies.percentiles().max_ms == pytest.approx(0.001)
    assert ledger.latencies.counts.total() == 3


def test_frame_is_missing_when_it_was_lost_and_reordered_when_it_comes_late(ledger: Ledger) -> None:
    zero, _, two, three = sent(4)
    assert hear(ledger, zero, three) == (2, 2, 0, 0, 0)
    assert hear(ledger, two) == (2, 1, 1, 0, 0)


def test_frame_is_repeated_when_it_comes_twice(ledger: Ledger) -> None:
    zero, one = sent(2)
    assert hear(ledger, zero, one, zero) == (2, 0, 0, 1, 0)


def test_frame_is_damaged_when_one_bit_of_it_is_turned(ledger: Ledger) -> None:
    zero, one, two = sent(3)
    turned = one[:500] + bytes([one[500] ^ 1]) + one[501:]
    assert hear(ledger, zero, turned, two) == (2, 1, 0, 0, 1)


def test_next_frames_are_found_when_bytes_are_lost_in_the_middle_of_one(ledger: Ledger) -> None:
    zero, one, two, three = sent(4)
    assert hear(ledger, zero, one[:400], one[410:], two, three) == (3, 1, 0, 0, 1)


def test_another_calls_frame_is_foreign(ledger: Ledger) -> None:
    hear(ledger, *sent(2), *sent(2, TAG + 1))
    assert (ledger.tag, ledger.arrived, ledger.foreign) == (TAG, 2, 2)


def test_zeros_are_silence_and_no_loss_wherever_they_lie(ledger: Ledger) -> None:
    zero, one, two = sent(3)
    tail = bytes(9_600)
    assert hear(ledger, bytes(960), zero, tail, one + tail + two, tail) == (3, 0, 0, 0, 0)
    assert ledger.silent_bytes == 960 + 3 * len(tail)


@pytest.mark.parametrize("seed", range(20))
def test_frames_are_whole_however_a_bridge_cuts_and_joins_them(seed: int) -> None:
    rng, ledger = random.Random(seed), Ledger(FRAMES)
    stream = b"".join(frame + bytes(2 * rng.randint(0, 1_500) * (rng.random() < 0.2)) for frame in sent(50))
    at = 0
    while at < len(stream):
        size = rng.choice((2, 20, 958, 960, 962, 1_920, 4_000))
        ledger.hear(stream[at : at + size], LATER_NS)
        at += size
    assert (ledger.arrived, ledger.missing, ledger.reordered, ledger.repeated, ledger.damaged) == (50, 0, 0, 0, 0)


def test_what_was_sent_before_the_first_is_no_loss_when_the_bridge_may_drop_it() -> None:
    frames = sent(6)
    for from_the_first, told in ((True, (4, 0)), (False, (0, 4))):
        ledger = Ledger(FRAMES, from_the_first=from_the_first)
        hear(ledger, *frames[4:])
        assert (ledger.first, ledger.missing) == told


@pytest.mark.parametrize("frame_ms", [0, 1_400])
def test_a_length_is_refused_when_no_mark_or_no_message_holds_it(frame_ms: int) -> None:
    with pytest.raises(ValueError, match="bytes"):
        Frames(frame_ms)
