"""The one audio format of both legs: signed 16-bit little-endian, 24,000 Hz, mono, no header.

Source: the voice_ws channel (20 ms = 480 samples = 960 bytes) and Vapi's websocket transport with
``{"format": "pcm_s16le", "container": "raw", "sampleRate": 24000}``.
"""

import math
import sys
from array import array
from operator import mul

SAMPLE_RATE_HZ = 24_000
BYTES_PER_SAMPLE = 2
FRAME_MS = 20
FRAME_SECONDS = FRAME_MS / 1000
FRAME_SAMPLES = SAMPLE_RATE_HZ * FRAME_MS // 1000
FRAME_BYTES = FRAME_SAMPLES * BYTES_PER_SAMPLE
BYTES_PER_SECOND = SAMPLE_RATE_HZ * BYTES_PER_SAMPLE
SILENT_FRAME = bytes(FRAME_BYTES)
FULL_SCALE = 32_768


def samples_of(pcm: bytes) -> "array[int]":
    """The samples of whole-sample PCM16 little-endian bytes, on a host of either byte order.

    :raises ValueError: an odd number of bytes.
    """
    samples = array("h")
    samples.frombytes(pcm)
    if sys.byteorder == "big":
        samples.byteswap()
    return samples


def mean_square(pcm: bytes) -> float:
    """Mean of the squared samples; 0.0 for nothing."""
    samples = samples_of(pcm)
    return sum(map(mul, samples, samples)) / len(samples) if samples else 0.0


def mean_square_at(dbfs: float) -> float:
    """The mean square of a signal whose RMS level is ``dbfs`` decibels below full scale."""
    return FULL_SCALE**2 * math.pow(10.0, dbfs / 10)


def frames_of(pcm: bytes, frame_bytes: int = FRAME_BYTES) -> list[bytes]:
    """``pcm`` cut into frames, of 20 ms unless told otherwise; the last one is filled up with silence."""
    cut = [pcm[start : start + frame_bytes] for start in range(0, len(pcm), frame_bytes)]
    if cut:
        cut[-1] = cut[-1].ljust(frame_bytes, b"\0")
    return cut


def seconds_of(byte_count: int) -> float:
    """How long ``byte_count`` bytes of this format play."""
    return byte_count / BYTES_PER_SECOND


def bytes_for(seconds: float) -> int:
    """Whole samples that play for ``seconds``, in bytes."""
    return math.floor(seconds * SAMPLE_RATE_HZ) * BYTES_PER_SAMPLE
