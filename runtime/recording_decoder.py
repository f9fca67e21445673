"""From the messages of both sides to a stereo WAV and its waveform: pure, a window at a time.

The time line is what a caller hears who plays what he gets, one message behind the other. A message begins where the
one before it on its side ends, or when it arrived, if that is later by more than RECORD_STICK_SECONDS. So the agent's
audio, which comes faster than real time, queues behind itself.
"""

import struct
from array import array
from collections.abc import Iterable, Iterator
from itertools import zip_longest
from math import log10
from typing import Final

import attrs
import msgspec

from runtime import limits

Message = tuple[float, bytes]
"""(seconds since the caller connected, PCM16)"""
WINDOW_BYTES: Final = round(limits.RECORD_WINDOW_SECONDS * limits.SAMPLE_RATE_HZ) * limits.SAMPLE_BYTES
STICK_BYTES: Final = round(limits.RECORD_STICK_SECONDS * limits.SAMPLE_RATE_HZ) * limits.SAMPLE_BYTES
STEP_BYTES: Final = round(limits.WAVEFORM_STEP_SECONDS * limits.SAMPLE_RATE_HZ) * limits.SAMPLE_BYTES
SILENCE: Final = bytes(WINDOW_BYTES)
CHANNELS: Final = 2
WAV_HEADER_BYTES: Final = 44
PEAK_STRIDE: Final = 4
"""Every so many samples one is looked at for the waveform: 6,000 a second are enough for a picture of speech."""
QUIETEST_DB: Final = -60.0
LOUDNESS: Final = bytes(
    round(100 * (1 - 20 * log10(magnitude / 128) / QUIETEST_DB)) if magnitude else 0
    for magnitude in (min(high, 255 - high) for high in range(256))
)
"""Per high byte of a sample, how loud it is: 100 is full scale, 0 is QUIETEST_DB; below -42 dB, all is silence."""


def windows(messages: Iterable[Message]) -> Iterator[bytes]:
    """One side on its time line, mono, WINDOW_BYTES each; the last one may be shorter."""
    pending = bytearray()
    for piece in _pieces(messages):
        pending += piece
        while len(pending) >= WINDOW_BYTES:
            yield bytes(pending[:WINDOW_BYTES])
            del pending[:WINDOW_BYTES]
    if pending:
        yield bytes(pending)


def _pieces(messages: Iterable[Message]) -> Iterator[memoryview]:
    """What plays, piece by piece: the messages, and the silence between them. None is longer than a window."""
    ends = 0  # where the last message ends, in bytes
    for at_seconds, pcm in messages:
        arrives = round(at_seconds * limits.SAMPLE_RATE_HZ) * limits.SAMPLE_BYTES
        if arrives - ends > STICK_BYTES:
            yield from _cut(arrives - ends)
            ends = arrives
        whole = memoryview(pcm)[: len(pcm) - len(pcm) % limits.SAMPLE_BYTES]
        for begin in range(0, len(whole), WINDOW_BYTES):
            yield whole[begin : begin + WINDOW_BYTES]
        ends += len(whole)


def _cut(silent_bytes: int) -> Iterator[memoryview]:
    for begin in range(0, silent_bytes, WINDOW_BYTES):
        yield memoryview(SILENCE)[: min(WINDOW_BYTES, silent_bytes - begin)]


def stereo(left: bytes, right: bytes) -> bytes:
    """Two of one length as one, sample by sample."""
    both = array("H", bytes(len(left) + len(right)))
    for channel, pcm in enumerate((left, right)):
        both[channel::CHANNELS] = array("H", pcm)
    return both.tobytes()


def peaks(pcm: bytes) -> bytes:
    """How loud the loudest sample of each STEP_BYTES is (LOUDNESS)."""
    if pcm == SILENCE:
        return bytes(WINDOW_BYTES // STEP_BYTES)
    step = STEP_BYTES // limits.SAMPLE_BYTES // PEAK_STRIDE
    levels = pcm[1 :: limits.SAMPLE_BYTES * PEAK_STRIDE].translate(LOUDNESS)
    return bytes([max(levels[begin : begin + step]) for begin in range(0, len(levels), step)])


@attrs.define
class Waveform:
    """Mutable: the peaks of both sides, step by step, and how long the recording is."""

    caller: bytearray = attrs.field(factory=bytearray)
    agent: bytearray = attrs.field(factory=bytearray)
    size_bytes: int = 0
    """Of one side."""

    def json(self) -> bytes:
        """{"step_seconds": 0.05, "seconds": 12.3, "caller": [0..100, …], "agent": [0..100, …]}: the peak of each step,
        on a scale of decibels (LOUDNESS), both sides of one length; WAVEFORM_STEPS at most, by wider steps."""
        merged = max(1, -(-len(self.caller) // limits.WAVEFORM_STEPS))
        told = {
            "step_seconds": round(limits.WAVEFORM_STEP_SECONDS * merged, 3),
            "seconds": round(self.size_bytes / limits.AUDIO_BYTES_PER_SECOND, 3),
            "caller": _widened(self.caller, merged),
            "agent": _widened(self.agent, merged),
        }
        return msgspec.json.encode(told)


def _widened(levels: bytearray, merged: int) -> list[int]:
    """The highest of each `merged` levels."""
    if merged == 1:
        return list(levels)
    levels = levels.ljust(-(-len(levels) // merged) * merged, b"\0")
    return list(map(max, *(levels[first::merged] for first in range(merged))))


def mixed(caller: Iterable[Message], agent: Iterable[Message], drawn: Waveform) -> Iterator[bytes]:
    """Stereo windows, caller left, agent right; `drawn` is told of each. Holds a window and a message of each side."""
    for left, right in zip_longest(windows(caller), windows(agent), fillvalue=b""):
        longest = max(len(left), len(right))
        left, right = left.ljust(longest, b"\0"), right.ljust(longest, b"\0")
        drawn.caller += peaks(left)
        drawn.agent += peaks(right)
        drawn.size_bytes += longest
        yield stereo(left, right)


def wav_header(data_bytes: int) -> bytes:
    """Of a stereo PCM16 WAV with so many bytes of samples."""
    frame_bytes = CHANNELS * limits.SAMPLE_BYTES
    form = struct.pack(
        "<HHIIHH",
        1,  # PCM
        CHANNELS,
        limits.SAMPLE_RATE_HZ,
        limits.SAMPLE_RATE_HZ * frame_bytes,
        frame_bytes,
        8 * limits.SAMPLE_BYTES,
    )
    return b"".join(
        (
            struct.pack("<4sI4s", b"RIFF", WAV_HEADER_BYTES - 8 + data_bytes, b"WAVE"),
            struct.pack("<4sI", b"fmt ", len(form)),
            form,
            struct.pack("<4sI", b"data", data_bytes),
        )
    )
