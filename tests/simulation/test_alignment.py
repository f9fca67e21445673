"""The comparison of what was said with what was heard finds every kind of damage, and nothing where there is none."""

import random

import pytest

from simulation.alignment import heard_is_what_was_said, received_is_what_was_spoken
from simulation.pcm import FRAME_BYTES, SILENT_FRAME, frames_of
from simulation.speech import Tones

SPEECH = frames_of(Tones().pcm("slt", "one two three four"))
LEAD = [SILENT_FRAME] * 10
SENT = [*LEAD, *SPEECH, *LEAD, *SPEECH[::-1], *LEAD]


def joined(*parts: list[bytes]) -> bytes:
    return b"".join(frame for part in parts for frame in part)


@pytest.mark.parametrize("offset", [0, 3, 10])
@pytest.mark.parametrize("missing", [0, 2, 15])
def test_uplink_agrees_from_some_offset_up_to_the_end_of_the_call(offset: int, missing: int) -> None:
    found = heard_is_what_was_said(joined(SENT), joined(SENT[offset : len(SENT) - missing]))
    assert found.same, found
    assert found.offset_bytes == offset * FRAME_BYTES
    assert found.missing_bytes == missing * FRAME_BYTES
    assert found.inserted_frames == 0


def test_uplink_allows_and_counts_whole_frames_of_silence() -> None:
    heard = joined(LEAD, SPEECH[:5], [SILENT_FRAME] * 3, SPEECH[5:], LEAD)
    found = heard_is_what_was_said(joined(SENT), heard, offset_frames=0)
    assert found.same
    assert found.inserted_frames == 3
    assert found.insertions == ((15 * FRAME_BYTES, 3 * FRAME_BYTES),)


def test_uplink_allows_a_message_cut_off_by_the_end() -> None:
    assert heard_is_what_was_said(joined(SENT), joined(SENT[:20])[:-100], offset_frames=0).same


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda frames: frames[:15] + frames[16:], "were lost or come later"),
        (lambda frames: [*frames[:15], frames[16], frames[15], *frames[17:]], "were lost or come later"),
        (lambda frames: [*frames[:15], frames[14], *frames[15:]], "it was heard before"),
        (lambda frames: [*frames[:15], bytes([frames[15][0] ^ 1]) + frames[15][1:], *frames[16:]], "1 of its bytes"),
        (lambda frames: [*frames, b"\1" * FRAME_BYTES], "more was heard than was sent"),
    ],
    ids=["lost", "swapped", "doubled", "flipped bit", "more"],
)
def test_uplink_names_the_damage(damage: object, problem: str) -> None:
    heard = joined(damage(SENT))  # type: ignore[operator]
    found = heard_is_what_was_said(joined(SENT), heard)
    assert not found.same
    assert problem in found.problem
    assert found.mismatch_at is not None


def test_uplink_that_lost_a_turn_is_not_explained_by_a_late_start() -> None:
    heard = joined(LEAD, SPEECH[::-1])
    assert not heard_is_what_was_said(joined(SENT), heard).same


def test_uplink_of_bytes_shifted_by_one_is_damage() -> None:
    assert not heard_is_what_was_said(joined(SENT), joined(SENT)[1:]).same


def test_downlink_allows_silence_anywhere_between_samples() -> None:
    spoken = joined(SPEECH)
    received = spoken[:1000] + bytes(81_600) + spoken[1000:] + bytes(7_000)
    found = received_is_what_was_spoken(spoken, received)
    assert found.same
    assert found.inserted_bytes == 88_600
    assert found.missing_bytes == 0


def test_downlink_agrees_with_random_insertions_at_any_sample() -> None:
    rng = random.Random(5)
    spoken = joined(SPEECH)
    for _ in range(20):
        received, added = spoken, 0
        for _ in range(5):
            at, length = 2 * rng.randrange(len(received) // 2), 2 * rng.randrange(1, 900)
            received, added = received[:at] + bytes(length) + received[at:], added + length
        found = received_is_what_was_spoken(spoken, received)
        assert (found.same, found.inserted_bytes, found.missing_bytes) == (True, added, 0)


def test_downlink_counts_what_was_in_flight_at_the_end() -> None:
    found = received_is_what_was_spoken(joined(SPEECH), joined(SPEECH)[:-4_000])
    assert (found.same, found.missing_bytes) == (True, 4_000)


@pytest.mark.parametrize(
    "damage",
    [
        lambda pcm: pcm[:2000] + pcm[2002:],
        lambda pcm: pcm[:2000] + pcm[2960:3920] + pcm[2000:2960] + pcm[3920:],
        lambda pcm: pcm[:2000] + bytes([pcm[2000] ^ 1]) + pcm[2001:],
        lambda pcm: pcm[:2001] + b"\0" + pcm[2001:],
        lambda pcm: pcm[1:],
        lambda pcm: pcm + b"\0",
        lambda pcm: pcm + b"\1\1",
    ],
    ids=["lost sample", "swapped", "flipped bit", "byte inserted", "shifted", "half a sample", "more"],
)
def test_downlink_finds_the_damage(damage: object) -> None:
    spoken = joined(SPEECH)
    found = received_is_what_was_spoken(spoken, damage(spoken))  # type: ignore[operator]
    assert not found.same
    assert found.mismatch_at is not None
    assert found.mismatch_at <= len(spoken)


def test_nothing_heard_of_nothing_said_is_the_same() -> None:
    assert heard_is_what_was_said(b"", b"").same
    assert received_is_what_was_spoken(b"", b"").same
    assert not heard_is_what_was_said(b"", b"\1" * FRAME_BYTES).same


def test_downlink_allows_what_an_interruption_dropped_and_nothing_else() -> None:
    first, second = joined(SPEECH), joined(SPEECH[::-1])
    received = first[:3_000] + bytes(500) + second
    found = received_is_what_was_spoken(first + second, received, resumptions=[len(first)])
    assert (found.same, found.dropped_bytes, found.missing_bytes) == (True, len(first) - 3_000, 0)
    assert found.matched_bytes == 3_000 + len(second)
    assert not received_is_what_was_spoken(first + second, received).same
    damaged = received[:-10] + b"\1" * 10
    assert not received_is_what_was_spoken(first + second, damaged, resumptions=[len(first)]).same
