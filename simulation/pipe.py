"""One direction of a virtual TCP connection: bytes in, the same bytes out, later. Pure: time is given to it.

What is sent travels in segments, each with its time of arrival; nothing overtakes. The bound is on all that was sent
and not yet read, in flight or waiting: TCP's two buffers as one. Room that the reader makes is known to the sender one
latency later. A pipe that is held delivers nothing until it is let go, whatever was sent, its end included.
"""

import random
from collections import deque
from math import inf

import attrs

CHOPPED_BYTES = 400
"""A read or write that is cut short moves at most this much."""
SEGMENT_BYTES = 1_460
"""What arrives at once on a line whose speed is bounded."""


@attrs.frozen
class Weather:
    """How one direction of a connection behaves.

    ``latency_seconds``: one way. ``jitter_seconds``: up to this much more, drawn for each segment; order is kept.
    ``buffer_bytes``: what may be sent and not read; SO_SNDBUF of the sending socket lowers it.
    ``bytes_per_second``: how fast the line drains. ``chop``: how often a read or a write is cut short, 0 to 1.
    """

    latency_seconds: float = 0.010
    jitter_seconds: float = 0.0
    buffer_bytes: int = 128 * 1024
    bytes_per_second: float = inf
    chop: float = 0.0


@attrs.define(eq=False)
class Pipe:
    """Mutable: ``weather``, ``held_until`` and ``corrupt_at`` are yours to change at any time; the rest is the
    bytes under way. ``corrupt_at``: the position of a byte that will arrive with a bit turned, or None.
    """

    weather: Weather
    rng: random.Random = attrs.field(repr=False)
    held_until: float = -inf
    corrupt_at: int | None = None
    sent_bytes: int = 0
    read_bytes: int = 0
    peak_bytes: int = 0
    ends_at: float = inf
    """When the sender's end arrives; infinity while it has sent none."""
    _segments: deque[tuple[float, bytes]] = attrs.field(factory=deque, repr=False)
    _room_at: deque[tuple[float, int]] = attrs.field(factory=deque, repr=False)
    _occupied: int = 0
    _untold: int = 0
    _last_arrival: float = -inf
    _line_free_at: float = -inf

    def room(self, now: float, send_buffer: int | None = None) -> int:
        """Bytes that a send may take now."""
        while self._room_at and self._room_at[0][0] <= now:
            self._occupied -= self._room_at.popleft()[1]
        bound = self.weather.buffer_bytes if send_buffer is None else min(self.weather.buffer_bytes, send_buffer)
        return max(0, bound - self._occupied)

    def room_at(self) -> float:
        """When a send that found no room may look again; infinity while the reader reads nothing."""
        return self._room_at[0][0] if self._room_at else inf

    def send(self, data: bytes, now: float, send_buffer: int | None = None) -> int:
        """Take what there is room for; 0 when there is none."""
        count = self._chopped(min(len(data), self.room(now, send_buffer)))
        if count == 0:
            return 0
        piece = data[:count]
        at = -1 if self.corrupt_at is None else self.corrupt_at - self.sent_bytes
        if 0 <= at < count:
            piece = piece[:at] + bytes([piece[at] ^ 0x40]) + piece[at + 1 :]
        self.sent_bytes += count
        self._occupied += count
        self.peak_bytes = max(self.peak_bytes, self._occupied)
        size = count if self.weather.bytes_per_second == inf else SEGMENT_BYTES
        for start in range(0, count, size):
            segment = piece[start : start + size]
            self._segments.append((self._arrival(now, len(segment)), segment))
        return count

    def finish(self, now: float) -> None:
        """Send the end, behind everything else; once."""
        if self.ends_at == inf:
            self.ends_at = self._arrival(now, 0)

    def readable_at(self) -> float:
        """When the next byte, or the end, can be read; in the past when it can be read now."""
        next_at = self._segments[0][0] if self._segments else self.ends_at
        return max(next_at, self.held_until)

    def receive(self, most: int, now: float) -> bytes | None:
        """What has arrived, at most ``most`` bytes; empty at the end; None when there is nothing to read now."""
        if self.readable_at() > now:
            return None
        most = self._chopped(most)
        pieces = []
        while most and self._segments and self._segments[0][0] <= now:
            at, piece = self._segments.popleft()
            if len(piece) > most:
                self._segments.appendleft((at, piece[most:]))
                piece = piece[:most]
            pieces.append(piece)
            most -= len(piece)
        data = b"".join(pieces)
        if data:
            self.read_bytes += len(data)
            self._tell_of_room(now, len(data))
        return data

    def _tell_of_room(self, now: float, count: int) -> None:
        """In pieces worth it, or when all was read; else a full pipe is served in crumbs (RFC 1122, 4.2.3.3)."""
        self._untold += count
        if self._untold >= min(SEGMENT_BYTES, self.weather.buffer_bytes // 2) or not self._segments:
            self._room_at.append((now + self.weather.latency_seconds, self._untold))
            self._untold = 0

    def discard(self) -> float | None:
        """The reader has closed: drop what is under way; when the first of it would have arrived, None if nothing."""
        first = max(self._segments[0][0], self.held_until) if self._segments else None
        self._segments.clear()
        return first

    def _arrival(self, now: float, count: int) -> float:
        weather = self.weather
        late = self.rng.uniform(0.0, weather.jitter_seconds) if weather.jitter_seconds else 0.0
        self._line_free_at = max(now, self._line_free_at) + count / weather.bytes_per_second
        self._last_arrival = max(self._line_free_at + weather.latency_seconds + late, self._last_arrival)
        return self._last_arrival

    def _chopped(self, count: int) -> int:
        if count > 1 and self.weather.chop and self.rng.random() < self.weather.chop:
            return self.rng.randint(1, min(count, CHOPPED_BYTES))
        return count
