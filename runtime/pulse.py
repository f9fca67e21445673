"""The pulse: how late the event loop is. All calls of a process wait for it, so it is the first thing to look at."""

from collections import deque
from collections.abc import Callable

import attrs
import trio

from runtime import limits
from runtime.supervisor import Started

_KEPT = round(limits.PULSE_WINDOW_SECONDS / limits.PULSE_SECONDS)
_LAST_SECOND = round(1 / limits.PULSE_SECONDS)


@attrs.define(eq=False)
class Pulse:
    """Sleeps for PULSE_SECONDS, and tells `observe` how much later it was woken. An actor.

    Ends: never. Restart: yes; what it has seen is kept by nobody.
    Cancelled: nothing is lost.
    """

    observe: Callable[[float], None]
    _lags: deque[float] = attrs.field(factory=lambda: deque(maxlen=_KEPT))

    async def run(self, task_status: Started) -> None:
        task_status.started()
        while True:
            due = trio.current_time() + limits.PULSE_SECONDS
            await trio.sleep_until(due)
            lag_seconds = max(0.0, trio.current_time() - due)
            self._lags.append(lag_seconds)
            self.observe(lag_seconds)

    @property
    def lag_seconds(self) -> float:
        """The worst of the last second."""
        return max(list(self._lags)[-_LAST_SECOND:], default=0.0)

    @property
    def worst_seconds(self) -> float:
        """The worst of the last PULSE_WINDOW_SECONDS."""
        return max(self._lags, default=0.0)
