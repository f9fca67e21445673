"""A leg: all that an actor knows of a socket.

A leg is an ordered stream of `Audio | Text | Closed` in, and of audio and text out, then one close.
Whatever the socket's library raises is mapped here, once, and goes no further.

Rules:
- one task receives, one task sends; `aclose` may come from any task and is bounded;
- after `Closed` nothing more is received;
- a send that was cut in the middle (cancelled, or stalled) leaves half a frame on the wire: from then on
  the leg is `torn`, sends nothing more, and is closed by force.
"""

from typing import Protocol

import attrs

from runtime import limits


@attrs.frozen
class Audio:
    """PCM16, 24 kHz, mono, of any length, as it arrived."""

    pcm: bytes


@attrs.frozen
class Text:
    data: str


@attrs.frozen
class Closed:
    """The peer is gone. 1006: without a close frame; 1005: a close frame without a code (RFC 6455 §7.4.1)."""

    code: int
    reason: str = ""

    @property
    def orderly(self) -> bool:
        return self.code in (1000, 1001, 1005)


Received = Audio | Text | Closed


class LegClosed(Exception):
    """Sending is over: the peer closed, or the connection broke. What it was is told by `receive`."""


class LegStalled(Exception):
    """The peer took no byte for the leg's stall limit. The leg is torn."""


class Leg(Protocol):
    @property
    def torn(self) -> bool:
        """Half a frame is on the wire: nothing more can be said."""

    async def receive(self) -> Received:
        """The next thing that came. Raises CallerError where the caller broke the protocol."""

    async def send_audio(self, pcm: bytes) -> None:
        """Whole samples, one message. Raises LegClosed, LegStalled. Cancelled half-way: the leg is torn."""

    async def send_text(self, data: str) -> None:
        """As `send_audio`."""

    async def aclose(self, code: int, reason: str, within_seconds: float = limits.CLOSE_SECONDS) -> bool:
        """Say goodbye within that time, else close by force. Never raises; idempotent.

        Closed by force, what the peer has not taken yet is lost.

        Returns whether the peer has said Close too: False, also when the connection broke meanwhile, means that
        nobody knows what it has heard.
        """
