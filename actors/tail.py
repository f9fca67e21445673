"""The tail: how much silence is owed to the caller, and when. Pure; time and audio are given to it.

A caller's turn detector needs about 1,500 ms of *received* silence behind the agent's speech, and Vapi
may send none. So a tail is owed once speech has gone out since the last tail. It is due when every `started`
of the assistant has had its `stopped` and nothing audible has come for TAIL_SETTLE_SECONDS behind the last
audible chunk, or, without that, after TAIL_OVERDUE_SECONDS. Its length is TAIL_SECONDS less the silence
already sent behind the last audible sample.

They are counted because a filler's `stopped` may come behind the `started` of the answer that follows it: taken
for the answer's, it would put the tail into the answer. A tail paid is a new beginning: one lost `stopped` delays
one tail.
"""

from array import array
from math import inf
from typing import Final

import attrs

from runtime import limits

TAIL_BYTES = round(limits.TAIL_SECONDS * limits.AUDIO_BYTES_PER_SECOND)


_LAST_BYTES: Final = 64
_QUIET: Final = b"\x00\xff"  # the high byte of a sample below 256


def silence_behind(pcm: bytes) -> int | None:
    """Bytes of silence behind the last audible sample of whole samples; None when none is audible."""
    size_bytes = len(pcm)
    end = pcm[-_LAST_BYTES:]
    if not end[1::2].strip(_QUIET) and size_bytes > _LAST_BYTES:  # as a rule all that counts lies in there
        if not pcm.rstrip(b"\0"):
            return None
        end = pcm
    loud = len(end[1::2].rstrip(_QUIET))  # up to the last sample that is audible by its high byte alone
    samples = array("h", end[loud * limits.SAMPLE_BYTES :])
    for behind, sample in enumerate(reversed(samples)):
        if not -limits.AUDIBLE_PEAK < sample < limits.AUDIBLE_PEAK:
            return behind * limits.SAMPLE_BYTES
    return len(samples) * limits.SAMPLE_BYTES if loud else None


@attrs.define
class Tail:
    """Mutable: what is owed, the silence sent so far, when the last audible chunk ends, the stretches of speech
    that Vapi has started and not stopped, whether it has stopped any since the last tail, and whether the tail
    that is being paid was overdue."""

    owed: bool = False
    silent_bytes: int = 0
    overdue: bool = False
    _audible_until: float = -inf
    _speaking: int = 0
    _stopped: bool = False

    def on_sent(self, size_bytes: int, silent_bytes: int | None, now: float) -> None:
        """Audio of the agent has gone out to the caller, with so much silence behind what was audible in it; None:
        nothing was."""
        if silent_bytes is None:
            self.silent_bytes += size_bytes
        else:
            self.owed = True
            self.silent_bytes = silent_bytes
            # Chunks that come back to back are played one behind the other.
            self._audible_until = max(self._audible_until, now) + size_bytes / limits.AUDIO_BYTES_PER_SECOND
        self._settle()

    def on_started(self) -> None:
        self._speaking += 1
        self._stopped = False

    def on_stopped(self) -> None:
        self._speaking = max(0, self._speaking - 1)
        self._stopped = not self._speaking

    def due_at(self) -> float:
        """When the next piece of the tail may go out; infinity when none is owed."""
        if not self.owed:
            return inf
        return self._audible_until + (limits.TAIL_SETTLE_SECONDS if self._stopped else limits.TAIL_OVERDUE_SECONDS)

    def next_piece(self, most_bytes: int) -> bytes:
        """The next piece to send."""
        self.overdue = self.overdue or not self._stopped
        return bytes(min(most_bytes, TAIL_BYTES - self.silent_bytes))

    def on_paid(self, piece: bytes) -> None:
        """A piece of the tail has gone out."""
        self.silent_bytes += len(piece)
        self._settle()

    def _settle(self) -> None:
        if self.owed and self.silent_bytes >= TAIL_BYTES:
            self.owed = False
            self._speaking = 0
            self._stopped = False
