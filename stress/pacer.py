"""When frames are sent: one tick for all streams of a process, on a clock of so many slots in a frame's time.

Each stream has a slot and sends once a period in it, so that strangers' frames are spread evenly, as they are in life,
and one wake serves all that are due.
"""

from collections.abc import Callable
from typing import Final

import attrs
import trio

from stress.histogram import Histogram

Tick = Callable[[], None]
_GOLDEN: Final = 0.6180339887498949


@attrs.define(eq=False)
class Pacer:
    """Mutable: `quiet`, yours: nothing is sent meanwhile; `lateness`, of each tick against its time, yours to take.

    A late frame is sent late; none is left out.
    """

    period_seconds: float
    slots: int
    quiet: bool = False
    lateness: Histogram = attrs.field(factory=Histogram)
    _streams: list[list[Tick]] = attrs.field(init=False)
    _to_fill: list[list[Tick]] = attrs.field(init=False)
    """The same, in an order in which any number of the first lie far apart."""

    def __attrs_post_init__(self) -> None:
        self._streams = [[] for _ in range(self.slots)]
        spread = sorted(range(self.slots), key=lambda slot: slot * _GOLDEN % 1.0)
        self._to_fill = [self._streams[slot] for slot in spread]

    def add(self, tick: Tick) -> Callable[[], None]:
        """From now on, in one of the emptiest slots; what is returned ends it."""
        chosen = min(self._to_fill, key=len)
        chosen.append(tick)
        return lambda: chosen.remove(tick)

    async def run(self) -> None:
        """Never returns."""
        began, grain_seconds, number = trio.current_time(), self.period_seconds / self.slots, 0
        while True:
            while not self._streams[number % self.slots] and (number + 1) % self.slots:
                number += 1  # nobody is there: no wake for it
            due = began + number * grain_seconds
            await trio.sleep_until(due)
            if not self.quiet:
                self._tick_all(self._streams[number % self.slots], due)
            number += 1

    def _tick_all(self, streams: list[Tick], due: float) -> None:
        if streams:
            self.lateness.add(round((trio.current_time() - due) * 1e9))
        for tick in tuple(streams):
            tick()
