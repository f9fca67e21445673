"""SignalWatch turns SIGTERM and SIGINT into a drain, and a second one into its end."""

import signal
from collections.abc import AsyncIterator, Callable

import attrs
import structlog
import trio

from runtime.supervisor import Started

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger(actor="SignalWatch")


@attrs.define
class SignalWatch:
    """The first signal drains, a second one ends the calls now. An actor.

    Ends: never. Restart: never. Cancelled: nothing is lost. The first child started, so the last stopped:
    it is still listening while the others drain.
    """

    signals: AsyncIterator[int] | None
    drain: Callable[[], None]
    hurry: Callable[[], None] = lambda: None
    """Mutable: set once there are calls to end."""

    async def run(self, task_status: Started) -> None:
        task_status.started()
        if self.signals is None:
            await trio.sleep_forever()
        first = True
        async for signum in self.signals:
            if first:
                self.drain()
            else:
                self.hurry()
            _log.info("draining" if first else "ending_calls_now", signal=signal.Signals(signum).name)
            first = False
