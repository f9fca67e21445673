"""A leg: all that an actor knows of a socket.

A leg is an ordered stream of `Audio | Text | Closed` in, and of audio and text out, then one close.
Whatever the socket's library raises is mapped here, once, and goes no further.

Rules:
- one task receives, one task sends; `aclose` may come from any task and is bounded;
- after `Closed` nothing more is received;
- a frame that was begun goes out whole or not at all, whoever is cancelled meanwhile;
- audio may pass without waking anybody: a receiver says in `at_once` what it does with audio where it stands, and
  `offer` sends where nothing has to wait. What does not pass so is received and sent the waiting way, in its place.
"""

from collections.abc import Callable
from typing import Protocol

import attrs
import msgspec

from runtime import frames, limits


class Audio(msgspec.Struct, frozen=True, gc=False):
    """PCM16, 24 kHz, mono, of any length, as it arrived."""

    pcm: bytes

    @property
    def size_bytes(self) -> int:
        return len(self.pcm)

    @property
    def first_frame(self) -> bytes:
        """20 ms at most, of what may be long."""
        return self.pcm[: limits.FRAME_BYTES]


class MaskedAudio(msgspec.Struct, frozen=True, gc=False):
    """The same in the WebSocket frame that it arrived in, still masked: who passes it on need not unmask it.

    `body`: where the payload begins; the mask lies before it. `size_bytes`: of the payload.
    """

    frame: bytes
    body: int
    size_bytes: int

    @property
    def pcm(self) -> bytes:
        return frames.xored(self.frame[self.body :], self.mask)

    @property
    def first_frame(self) -> bytes:
        return frames.xored(self.frame[self.body : self.body + limits.FRAME_BYTES], self.mask)

    @property
    def mask(self) -> bytes:
        return self.frame[self.body - frames.MASK_BYTES : self.body]


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
Passing = Audio | MaskedAudio
Message = Audio | MaskedAudio | Text
AtOnce = Callable[[Passing], bool]
"""Deals with audio on the spot, without waiting; False: it cannot, and nothing was done. What it raises is raised in
the task that waits."""


class LegClosed(Exception):
    """Sending is over: the peer closed, or the connection broke. What it was is told by `receive`."""


class LegStalled(Exception):
    """The peer took no byte for the leg's stall limit: nothing more can be said."""


class Leg(Protocol):
    async def receive(self, at_once: AtOnce | None = None) -> Received:
        """The next thing that came. Raises CallerError where the caller broke the protocol.

        While it waits, audio that `at_once` takes is not returned, and wakes nobody. Cancelled: nothing is lost.
        """

    def offer(self, audio: Passing) -> bool:
        """Send it, if it goes out before anything waits; False: it was not sent. Whole samples, one message."""

    async def send_audio(self, pcm: bytes) -> None:
        """Whole samples, one message. Raises LegClosed, LegStalled. Cancelled, also half-way: it was not sent."""

    async def send_text(self, data: str) -> None:
        """As `send_audio`."""

    async def aclose(self, code: int, reason: str, within_seconds: float = limits.CLOSE_SECONDS) -> bool:
        """Say goodbye within that time, else close by force. Never raises; idempotent.

        Closed by force, what the peer has not taken yet is lost.

        Returns whether the peer has said Close too: False, also when the connection broke meanwhile, means that
        nobody knows what it has heard.
        """
