"""How loud a voice is: of one frame in 25, looked at where it passes.

What is kept serves the console's meters and its timeline: a few bytes for each half second of audio.
"""

import math
from array import array
from typing import Final

import attrs

from runtime import limits

SILENT_DB: Final = -96
_LOUDEST: Final = 32_768


def level_db(pcm: bytes) -> int:
    """The peak of whole PCM16 samples, in dB below the loudest that there is; SILENT_DB where there is none."""
    samples = array("h", pcm[: len(pcm) // 2 * 2])
    peak = max(max(samples, default=0), -min(samples, default=0))
    return max(SILENT_DB, round(20 * math.log10(peak / _LOUDEST))) if peak else SILENT_DB


@attrs.define(eq=False)
class Levels:
    """Of one voice of one call. Whoever counts its bytes calls `look` once they reach `look_at_bytes`.

    Mutable, all: the levels so far, each with its time in seconds since the call began. At most LEVELS_KEPT; then the
    older half goes.
    """

    look_at_bytes: int = 0
    times: "array[float]" = attrs.field(factory=lambda: array("f"))
    levels_db: "array[int]" = attrs.field(factory=lambda: array("b"))
    first: int = 0
    """The number of the first that is kept."""

    def look(self, pcm: bytes, seconds: float, total_bytes: int) -> None:
        """`total_bytes`: of this voice, with `pcm`. The next look is LEVEL_EVERY_BYTES further on."""
        self.look_at_bytes = total_bytes + limits.LEVEL_EVERY_BYTES
        self.times.append(seconds)
        self.levels_db.append(level_db(pcm))
        if len(self.times) > limits.LEVELS_KEPT:
            drop = limits.LEVELS_KEPT // 2
            del self.times[:drop], self.levels_db[:drop]
            self.first += drop

    def now_db(self, seconds: float) -> int:
        """The last level, while it is fresh."""
        fresh = self.times and seconds - self.times[-1] <= limits.LEVEL_FRESH_SECONDS
        return self.levels_db[-1] if fresh else SILENT_DB

    def since(self, number: int) -> list[tuple[float, int]]:
        """(seconds, dB) of those from `number` on, and no others."""
        at = max(0, number - self.first)
        return [(round(t, 2), db) for t, db in zip(self.times[at:], self.levels_db[at:], strict=True)]

    @property
    def next(self) -> int:
        return self.first + len(self.times)
