"""What a frame carries: enough for its receiver to tell when it was sent, and whether it is whole and in its place.

A frame is 960 bytes, 480 samples of PCM16, 20 ms. The first 16 bytes hold the stream's tag, the frame's number and
CLOCK_MONOTONIC in ns, taken right before the frame is handed to its socket; the rest is loud noise, which follows
from the number. To a bridge it is all audible audio.
"""

import random
import struct
from typing import Final

FRAME_BYTES: Final = 960
PERIOD_NS: Final = 20_000_000
_MARK: Final = struct.Struct("<IIQ")
NOISE: Final = tuple(random.Random(1).randbytes(FRAME_BYTES - _MARK.size) for _ in range(32))


def make_frame(tag: int, number: int, now_ns: int) -> bytes:
    return _MARK.pack(tag, number, now_ns) + NOISE[number % len(NOISE)]


def read_mark(frame: bytes) -> tuple[int, int, int]:
    """(tag, number, sent at, in ns) of 960 bytes that may be anything."""
    mark: tuple[int, int, int] = _MARK.unpack_from(frame)
    return mark


def is_whole(frame: bytes, number: int) -> bool:
    """Every byte behind the mark is what was sent."""
    return frame.endswith(NOISE[number % len(NOISE)])
