"""What becomes of a frame is told by its receiver, whatever the bridge does to it."""

from collections.abc import Callable

import pytest

from bench.load.frames import FRAME_BYTES, make_frame
from bench.load.stream import Stream

TAG = 0x5A000001


@pytest.fixture
def stream() -> Stream:
    return Stream(TAG)


@pytest.fixture
def sent(stream: Stream) -> Callable[[int], list[bytes]]:
    def send(frames: int) -> list[bytes]:
        written: list[bytes] = []
        for number in range(frames):
            stream.send(written.append, 1_000 + number)
        return written

    return send


def told(stream: Stream) -> tuple[int, int, int, int]:
    return stream.arrived, stream.missing, stream.reordered, stream.damaged


def test_frames_that_arrive_are_timed(stream: Stream, sent: Callable[[int], list[bytes]]) -> None:
    first, second = sent(2)
    stream.receive(first, 1_500)
    stream.receive(second, 1_501)
    assert told(stream) == (2, 0, 0, 0)
    assert stream.latencies_ns == [500, 500]
    assert len(first) == FRAME_BYTES


def test_lost_frame_is_missing_and_a_late_one_is_reordered(stream: Stream, sent: Callable[[int], list[bytes]]) -> None:
    zero, _, two, three = sent(4)
    for frame in (zero, three, two):
        stream.receive(frame, 2_000)
    assert told(stream) == (2, 1, 1, 0)


def test_last_frame_is_missing_too(stream: Stream, sent: Callable[[int], list[bytes]]) -> None:
    stream.receive(sent(3)[0], 2_000)
    assert told(stream) == (1, 2, 0, 0)


def test_changed_doubled_cut_or_foreign_frame_is_damaged(stream: Stream, sent: Callable[[int], list[bytes]]) -> None:
    zero, one, two = sent(3)
    stream.receive(zero, 2_000)
    stream.receive(zero, 2_000)
    stream.receive(one[:-1] + bytes([one[-1] ^ 1]), 2_000)
    stream.receive(two[:-2], 2_000)
    stream.receive(make_frame(TAG + 1, 1, 0), 2_000)
    assert told(stream) == (1, 2, 0, 4)


def test_frames_in_one_message_are_frames_and_zeros_are_silence(
    stream: Stream, sent: Callable[[int], list[bytes]]
) -> None:
    stream.receive(b"".join(sent(2)), 2_000)
    stream.receive(bytes(81_600), 2_000)
    stream.receive(bytes(FRAME_BYTES), 2_000)
    assert told(stream) == (2, 0, 0, 0)
    assert stream.silent_bytes == 81_600 + FRAME_BYTES


def test_counting_begins_at_the_mark(stream: Stream, sent: Callable[[int], list[bytes]]) -> None:
    before = sent(3)
    stream.receive(before[0], 2_000)
    stream.mark()
    after = sent(2)
    stream.receive(before[2], 2_000)
    stream.receive(after[1], 2_000)
    assert told(stream) == (1, 1, 0, 0)
