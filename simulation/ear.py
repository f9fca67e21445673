"""What a recogniser makes of audio, when it knows what may be said."""

from collections.abc import Sequence
from typing import Protocol

import attrs

REPROMPT = "Sorry, I did not catch that. Could you say that again?"
"""What the simulated assistant says when it did not understand its caller."""


class EarError(Exception):
    """Nothing can be heard at all: the recogniser is missing or has died. One line that says what to do."""


@attrs.frozen
class Heard:
    """``text``: one of the phrases asked about, or one of them with other digits (then in lower case, no signs), or
    "" when nothing was understood. ``score`` is from 0 to 1: how well the audio fits it."""

    text: str
    score: float


class Ear(Protocol):
    """Anything that can hear."""

    async def hear(self, pcm: bytes, phrases: Sequence[str]) -> Heard:
        """Which of ``phrases`` is said in ``pcm`` (PCM16, 24 kHz, mono). Cancelled: what was begun is forgotten.

        :raises EarError: the recogniser is missing or has died.
        """
