"""One direction of one call as its receiver saw it: what arrived, what was lost, changed, doubled, overtaken. Pure.

A bridge may cut and join what it passes on, and puts silence of its own between: a tail behind the agent's speech, a
stand-in for a caller who is quiet. So what comes is read as one run of bytes, in which frames and zeros follow each
other; a frame may come in pieces, and zeros are nobody's loss.
"""

from typing import Any

import attrs

from stress.frames import MAGIC, Frames
from stress.histogram import Histogram


@attrs.define(eq=False)
class Ledger:
    """Mutable. Frames are numbered from 0 as they are sent.

    `from_the_first`: what was sent before the first that arrived is no loss (a bridge drops what a caller says before
    Vapi listens). `latencies`: of every frame that came once, shared by the ledgers of a process.

    `arrived`: whole and in order. `reordered`: whole, behind a later one. `repeated`: whole, a second time. `damaged`:
    stretches of bytes that are neither a frame nor silence. `foreign`: whole, and of another call.
    """

    frames: Frames
    latencies: Histogram = attrs.field(factory=Histogram, repr=False)
    from_the_first: bool = False
    tag: int | None = None
    """The stream's, as its first frame told."""
    arrived: int = 0
    reordered: int = 0
    repeated: int = 0
    damaged: int = 0
    foreign: int = 0
    silent_bytes: int = 0
    first: int = 0
    _next: int = 0
    _gaps: set[int] = attrs.field(factory=set, repr=False)
    """Numbers below `_next` that have not come."""
    _rest: bytes = attrs.field(default=b"", repr=False)
    """A frame's beginning, whose end is to come."""

    def hear(self, message: bytes, now_ns: int) -> None:
        if not self._rest and len(message) == self.frames.size_bytes and self._take(message, now_ns):
            return
        self._read(self._rest + message, now_ns)

    @property
    def missing(self) -> int:
        """Numbers that a later one has overtaken: lost, unless they still come."""
        return len(self._gaps)

    def told(self) -> dict[str, Any]:
        """For stress/accounts.py, which knows how many were sent."""
        return {
            "tag": self.tag, "first": self.first, "arrived": self.arrived, "reordered": self.reordered,
            "repeated": self.repeated, "damaged": self.damaged, "foreign": self.foreign,
            "silent_bytes": self.silent_bytes,
        }  # fmt: skip

    def _read(self, data: bytes, now_ns: int) -> None:
        at, size = 0, self.frames.size_bytes
        while at < len(data):
            if not data[at]:
                silent = len(data) - at - len(data[at:].lstrip(b"\0"))
                self.silent_bytes += silent
                at += silent
            elif data.startswith(MAGIC[: len(data) - at], at):
                if len(data) - at < size:
                    break
                at = at + size if self._take(data[at : at + size], now_ns) else self._behind_damage(data, at)
            else:
                at = self._behind_damage(data, at)
        self._rest = data[at:]

    def _behind_damage(self, data: bytes, at: int) -> int:
        """Where the next frame may begin, or the silence that ends what cannot be read."""
        self.damaged += 1
        frame, silence = data.find(MAGIC, at + 1), data.find(bytes(8), at + 1)
        return min((place for place in (frame, silence) if place >= 0), default=len(data))

    def _take(self, frame: bytes, now_ns: int) -> bool:
        """False: it is not whole, and was not counted."""
        mark = self.frames.read(frame)
        if mark is None:
            return False
        tag, number, sent_at_ns = mark
        if tag != self.tag and not self._begin(tag, number):
            self.foreign += 1
        elif self._count(number):
            self.latencies.add(now_ns - sent_at_ns)
        return True

    def _begin(self, tag: int, number: int) -> bool:
        if self.tag is not None:
            return False
        self.tag = tag
        if self.from_the_first:
            self.first = self._next = number
        return True

    def _count(self, number: int) -> bool:
        """False: it has come before."""
        if number == self._next:
            self._next += 1
            self.arrived += 1
        elif number > self._next:
            self._gaps.update(range(self._next, number))
            self._next = number + 1
            self.arrived += 1
        elif number in self._gaps:
            self._gaps.discard(number)
            self.reordered += 1
        else:
            self.repeated += 1
            return False
        return True
