"""What a recogniser makes of audio, when it knows what may be said."""

from collections.abc import Sequence
from typing import Protocol

import attrs


@attrs.frozen
class Heard:
    """``text`` is one of the phrases asked about, or "" when nothing was understood; ``score`` is from 0 to 1."""

    text: str
    score: float


class Ear(Protocol):
    """Anything that can hear."""

    async def hear(self, pcm: bytes, phrases: Sequence[str]) -> Heard:
        """Which of ``phrases`` is said in ``pcm`` (PCM16, 24 kHz, mono). Cancelled: what was begun is forgotten."""
