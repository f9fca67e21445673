"""When received audio plays at the caller's ear.

Source: the field's metrics are of audio as received, placed at its arrival or where playing it has got to, never
concatenated; and the channel's 1,700 ms of silence in one burst are a mark that a turn is over.
"""

import bisect
from collections.abc import Sequence

import attrs

from simulation.pcm import BYTES_PER_SAMPLE, BYTES_PER_SECOND, SAMPLE_RATE_HZ, seconds_of
from simulation.voice_activity import (
    VAD_FRAME_BYTES,
    VAD_FRAME_SAMPLES,
    Segment,
    VoiceActivity,
    behind_audible,
    first_audible,
)

SPLIT_SECONDS = 0.25
"""A gap on the wire that divides two stretches of speech, as a pause of that length within the audio does."""


@attrs.frozen
class Chunk:
    """One message of audio as received."""

    at: float
    pcm: bytes = attrs.field(repr=lambda pcm: f"{len(pcm)} bytes")


@attrs.frozen
class Placed:
    """A chunk on the ear's time line: ``at`` is when its first sample plays.

    ``divides``: nothing audible was received for more than SPLIT_SECONDS before it.
    """

    at: float
    chunk: Chunk
    silent: bool
    divides: bool = False


@attrs.define
class Playout:
    """Chunks as they arrive, and when each of their samples plays: at its arrival, or when what is playing has ended.

    Zero PCM plays too, and holds up what comes behind it as any audio does, unless it came in a burst: silence that
    arrives more than SPLIT_SECONDS ahead of its time is a mark of the channel, not a pause to sit out.

    Mutable: ``placed``; ``_starts`` (first byte of each chunk), ``_bytes``, and when what was received will have
    played: ``_audible_until``, ``_silent_until``, ``_marked`` (the present silence is a mark).
    """

    placed: list[Placed] = attrs.field(factory=list, repr=False)
    _starts: list[int] = attrs.field(factory=list, repr=False)
    _bytes: int = 0
    _audible_until: float = 0.0
    _silent_until: float = 0.0
    _marked: bool = False

    def add(self, chunk: Chunk) -> Placed:
        """Place the next chunk."""
        silent = not any(chunk.pcm)
        busy_until = max(chunk.at, self._audible_until)
        at = busy_until if self._marked and not silent else max(busy_until, self._silent_until)
        item = Placed(at, chunk, silent, not silent and at - self._audible_until > SPLIT_SECONDS)
        ends_at = at + seconds_of(len(chunk.pcm))
        if silent:
            self._silent_until = ends_at
            self._marked |= ends_at - busy_until > SPLIT_SECONDS
        else:
            self._audible_until, self._silent_until, self._marked = ends_at, 0.0, False
        self.placed.append(item)
        self._starts.append(self._bytes)
        self._bytes += len(chunk.pcm)
        return item

    @property
    def samples(self) -> int:
        """Whole samples received."""
        return self._bytes // BYTES_PER_SAMPLE

    def onset_at(self, sample: int) -> float:
        """When speech that was found to begin in the 10 ms frame at ``sample`` is first audible."""
        return self._plays_at(sample + first_audible(self._stream(sample, sample + VAD_FRAME_SAMPLES)))

    def end_at(self, sample: int) -> float:
        """When speech whose last 10 ms frame ends at ``sample`` has been played."""
        start = max(0, sample - VAD_FRAME_SAMPLES)
        return self._plays_at(start + behind_audible(self._stream(start, sample)) - 1) + 1 / SAMPLE_RATE_HZ

    def _plays_at(self, sample: int) -> float:
        # A sample that straddles two chunks plays with the one that completes it.
        index = bisect.bisect_right(self._starts, sample * BYTES_PER_SAMPLE + 1) - 1
        return self.placed[index].at + max(0, sample * BYTES_PER_SAMPLE - self._starts[index]) / BYTES_PER_SECOND

    def _stream(self, start: int, end: int) -> bytes:
        """The samples from ``start`` to before ``end``, as far as they were received."""
        first = bisect.bisect_right(self._starts, start * BYTES_PER_SAMPLE) - 1
        last = bisect.bisect_left(self._starts, end * BYTES_PER_SAMPLE)
        joined = b"".join(item.chunk.pcm for item in self.placed[first:last])
        begin = start * BYTES_PER_SAMPLE - self._starts[first]
        found = joined[begin : begin + (end - start) * BYTES_PER_SAMPLE]
        return found[: len(found) - len(found) % BYTES_PER_SAMPLE]


def place(received: Sequence[Chunk]) -> list[Placed]:
    """Where each chunk plays; see :class:`Playout`."""
    playout = Playout()
    for chunk in received:
        playout.add(chunk)
    return playout.placed


def stretches_in(placed: Sequence[Placed]) -> list[Segment]:
    """Stretches of speech, divided by pauses of SPLIT_SECONDS on the wire or within the audio."""
    hearing = VoiceActivity()
    found: list[Segment] = []

    def divide() -> None:
        if hearing.onset is not None and hearing.last_speech is not None:
            found.append(Segment(hearing.onset, hearing.last_speech))
        hearing.forget()

    for item in placed:
        if item.divides:
            hearing.break_off()
            divide()
        for start in range(0, len(item.chunk.pcm), VAD_FRAME_BYTES):
            hearing.feed(item.chunk.pcm[start : start + VAD_FRAME_BYTES])
            if hearing.silence_ms >= SPLIT_SECONDS * 1000:
                divide()
    hearing.break_off()
    divide()
    return found
