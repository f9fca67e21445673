"""What was heard of one call and is not written to disk yet: two plain lists, which its actors append to.

Nothing else happens per frame. A frame of the caller's waits as it came on the wire, still masked: it is read after the
call (runtime/recording_decoder.py).
"""

from collections import deque
from collections.abc import Iterable
from typing import Literal

import attrs

from runtime.leg import Passing

Heard = tuple[float, Passing]
"""When it arrived, in Trio's time, and the caller's audio, unread."""
Said = tuple[float, bytes]
"""When it went out to the caller, in Trio's time, and the agent's audio."""
State = Literal["running", "waiting", "ready", "failed"]
"""`waiting`: the call is over, and the WAV is not there yet."""


@attrs.define(eq=False)
class Recording:
    """Mutable: all but the first two. `caller` and `agent` are appended to by the call's actors, and exchanged by the
    Recorder: ask for them anew each time. Once it has failed, they keep nothing.

    `started_at`: when the caller connected, in Trio's time; second 0 of the recording.
    `why`: one line, when it has failed.
    """

    call_id: str
    started_at: float
    caller: list[Heard] | deque[Heard] = attrs.field(factory=list, repr=False)
    agent: list[Said] | deque[Said] = attrs.field(factory=list, repr=False)
    state: State = "running"
    why: str = ""

    def take(self) -> tuple[list[Heard], list[Said]]:
        """What has come since the last time."""
        caller, agent = self.caller, self.agent
        if self.state != "failed":
            self.caller, self.agent = [], []
        return list(caller), list(agent)

    def fail(self, why: str) -> None:
        """From now on its actors' appends keep nothing, and cost next to nothing."""
        self.state, self.why = "failed", why
        self.caller, self.agent = deque(maxlen=0), deque(maxlen=0)

    @property
    def unwritten_bytes(self) -> int:
        return bytes_of(self.caller, self.agent)


def bytes_of(caller: Iterable[Heard], agent: Iterable[Said]) -> int:
    """Of audio."""
    return sum([audio.size_bytes for _, audio in caller]) + sum([len(pcm) for _, pcm in agent])
