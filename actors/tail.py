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

import attrs

from runtime import limits

TAIL_BYTES = round(limits.TAIL_SECONDS * limits.AUDIO_BYTES_PER_SECOND)


def silence_behind(pcm: bytes) -> int | None:
    """Bytes of silence behind the last audible sample of whole samples; None when none is audible."""
    if not any(pcm):
        return None
    samples = array("h", pcm)
    if max(samples) < limits.AUDIBLE_PEAK and min(samples) > -limits.AUDIBLE_PEAK:
        return None
    last = len(samples) - 1
    while abs(samples[last]) < limits.AUDIBLE_PEAK:
        last -= 1
    return (len(samples) - 1 - last) * limits.SAMPLE_BYTES


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

    def on_sent(self, pcm: bytes, now: float) -> bool:
        """Audio of the agent has gone out to the caller; says whether it was audible."""
        behind = silence_behind(pcm)
        if behind is None:
            self.silent_bytes += len(pcm)
        else:
            self.owed = True
            self.silent_bytes = behind
            self._audible_until = now + len(pcm) / limits.AUDIO_BYTES_PER_SECOND
        self._settle()
        return behind is not None

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

    def next_frame(self) -> bytes:
        """The next piece to send, at most 20 ms."""
        self.overdue = self.overdue or not self._stopped
        return bytes(min(limits.FRAME_BYTES, TAIL_BYTES - self.silent_bytes))

    def on_paid(self, frame: bytes) -> None:
        """A piece of the tail has gone out."""
        self.silent_bytes += len(frame)
        self._settle()

    def _settle(self) -> None:
        if self.owed and self.silent_bytes >= TAIL_BYTES:
            self.owed = False
            self._speaking = 0
            self._stopped = False
