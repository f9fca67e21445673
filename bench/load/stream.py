"""One direction of one call, both ends of it: one process plays caller and Vapi, so one clock times a frame."""

from collections.abc import Callable

import attrs

from bench.load.frames import FRAME_BYTES, is_whole, make_frame, read_mark


@attrs.define(eq=False)
class Stream:
    """Mutable. Frames are numbered from 0 as they are sent; counting starts at `mark`.

    `arrived`: whole and in order. `reordered`: whole, behind a later one. `damaged`: not what was sent, another
    call's, or a second time the same.
    """

    tag: int
    sent: int = 0
    arrived: int = 0
    reordered: int = 0
    damaged: int = 0
    silent_bytes: int = 0
    """Zeros that the bridge made up: a tail, or a stand-in for a silent caller."""
    latencies_ns: list[int] = attrs.field(factory=list, repr=False)
    _next: int = 0
    _counted_from: int = 0
    _gaps: set[int] = attrs.field(factory=set)
    """Numbers below `_next` that have not come; those before `mark` are not kept."""

    def mark(self) -> None:
        """Count from the next frame on; what is on its way is nobody's."""
        self._counted_from = self.sent
        self.arrived = self.reordered = self.damaged = self.silent_bytes = 0
        self.latencies_ns = []
        self._gaps.clear()

    @property
    def missing(self) -> int:
        """Frames sent since `mark` that have not come: on their way, or lost."""
        return len(self._gaps) + self.sent - max(self._next, self._counted_from)

    def send(self, write: Callable[[bytes], None], now_ns: int) -> None:
        frame = make_frame(self.tag, self.sent, now_ns)
        self.sent += 1
        write(frame)

    def receive(self, audio: bytes, now_ns: int) -> None:
        """One message of the bridge: a frame, or what it made of some."""
        if len(audio) == FRAME_BYTES:
            self._receive_frame(audio, now_ns)
        elif not audio.strip(b"\0"):
            self.silent_bytes += len(audio)
        elif len(audio) % FRAME_BYTES:
            self.damaged += 1
        else:
            for start in range(0, len(audio), FRAME_BYTES):
                self._receive_frame(audio[start : start + FRAME_BYTES], now_ns)

    def _receive_frame(self, frame: bytes, now_ns: int) -> None:
        tag, number, sent_at_ns = read_mark(frame)
        if tag == self.tag and is_whole(frame, number):
            if number >= self._counted_from:
                self._count(number, now_ns - sent_at_ns)
        elif not frame.strip(b"\0"):
            self.silent_bytes += len(frame)
        else:
            self.damaged += 1

    def _count(self, number: int, latency_ns: int) -> None:
        if number >= self._next:
            self._gaps.update(range(max(self._next, self._counted_from), number))
            self._next = number + 1
            self.arrived += 1
        elif number in self._gaps:
            self._gaps.discard(number)
            self.reordered += 1
        else:
            self.damaged += 1
            return
        self.latencies_ns.append(latency_ns)
