"""One end of a call under load: it sends its frames when the pacer says, and counts those of the other end.

It stands on the product's own leg, tap and switchboard: what makes those cheap per frame makes this cheap.
"""

from collections.abc import Callable, Iterable
from typing import Any

import attrs
import trio

from runtime.leg import Audio, Closed, Passing
from runtime.ws_leg import WebSocketLeg
from stress.frames import Frames
from stress.histogram import Histogram
from stress.ledger import Ledger
from stress.pacer import Pacer

Clock = Callable[[], int]
"""CLOCK_MONOTONIC in ns, which all processes of a machine share; in virtual time, that."""


@attrs.define(eq=False)
class Half:
    """What all ends of a process share. `slots`: of the pacer, in a frame's time."""

    frames: Frames
    clock: Clock
    slots: int
    latencies: Histogram = attrs.field(factory=Histogram)
    pacer: Pacer = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.pacer = Pacer(self.frames.period_seconds, self.slots)

    def status(self, ledgers: Iterable[Ledger]) -> dict[str, Any]:
        """Of all ends so far; the measurements since the last time."""
        came = [(ledger.arrived, ledger.missing) for ledger in ledgers]
        return {
            "arrived": sum(arrived for arrived, _ in came),
            "missing": sum(missing for _, missing in came),
            "latencies": self.latencies.take().as_json(),
            "lateness": self.pacer.lateness.take().as_json(),
        }


@attrs.define(eq=False)
class End:
    """Mutable: `sent`, its frames so far; `blocked`, those it left out since its peer took nothing; the times, in ns
    and 0 until it has happened."""

    tag: int
    half: Half
    ledger: Ledger
    sent: int = 0
    blocked: int = 0
    heard_at_ns: int = 0
    _leg: WebSocketLeg | None = None

    def tick(self) -> None:
        """Send the next frame."""
        assert self._leg is not None
        if self._leg.offer(Audio(self.half.frames.make(self.tag, self.sent, self.half.clock()))):
            self.sent += 1
        else:
            self.blocked += 1

    async def listen(self, leg: WebSocketLeg) -> Closed:
        """Send and count until the peer has closed."""
        self._leg = leg
        stop = self.half.pacer.add(self.tick)
        try:
            while True:
                received = await leg.receive(at_once=self._hear)
                if isinstance(received, Closed):
                    return received
                if isinstance(received, Audio):
                    self._hear(received)  # it came while nobody waited
        finally:
            stop()

    def _hear(self, audio: Passing) -> bool:
        now = self.half.clock()
        self.ledger.hear(audio.pcm, now)
        if not self.heard_at_ns and self.ledger.arrived:
            self.heard_at_ns = now
        return True

    async def hang_up(self, within_seconds: float) -> None:
        if self._leg is not None:
            await self._leg.aclose(1000, "", within_seconds)
        await trio.lowlevel.checkpoint()

    def told(self) -> dict[str, Any]:
        """For stress/accounts.py, which joins it with what the other end tells."""
        return {"tag": self.tag, "sent": self.sent, "blocked": self.blocked, "heard": self.ledger.told()}
