"""The switchboard: one task that moves all audio of a process.

A task that is woken for every frame costs several times the work on the frame. So the sockets of all legs are watched
by one poller, one task waits for it, and whatever is ready is read and passed on there and then, by calls and not by
wakes: the busier the process, the more one wake serves, and nothing is delayed for it.
"""

from collections.abc import Callable

import attrs
import structlog
import trio

from runtime import limits
from runtime.line import Line
from runtime.poller import Poller, kernel_poller
from runtime.supervisor import Started
from runtime.tls import Tls

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger(actor="Switchboard")


@attrs.define(eq=False)
class Switchboard:
    """Tells every line what its socket is ready for. An actor.

    It looks again before it waits again: a way through Trio's scheduler costs as much as the work on several frames,
    and frames come in clumps.

    Ends: never. Restart: never; whoever waits for a line would not be told.
    Cancelled: nothing is read or written any more. It is stopped after all that uses it.
    """

    poller: Poller = attrs.field(factory=kernel_poller)
    observe: Callable[[float], None] | None = None
    """Told, of one wake in SWITCHBOARD_TIMED_WAKES, the seconds until all that was ready then had been passed on."""

    def line(self, socket: trio.socket.SocketType, tls: Tls | None = None) -> Line:
        """Take over a connected socket. The line is the caller's to close."""
        return Line(self.poller.take(socket), self.poller, tls)

    async def run(self, task_status: Started) -> None:
        task_status.started()
        wakes = 0
        try:
            while True:
                await self.poller.wait()
                wakes += 1
                began = trio.current_time() if self.observe and not wakes % limits.SWITCHBOARD_TIMED_WAKES else None
                looks = limits.SWITCHBOARD_LOOKS
                while self._serve() and looks:
                    looks -= 1
                if began is not None and self.observe is not None:
                    self.observe(trio.current_time() - began)
        finally:
            self.poller.close()

    def _serve(self) -> bool:
        """Everybody who is ready; whether anybody was."""
        served = False
        for line, readable, writable in self.poller.ready():
            served = True
            try:
                if writable:
                    line.on_writable()
                if readable:
                    line.on_readable()
            except Exception as exc:  # noqa: BLE001  # the connection barrier: one line's failure is its own
                _log.error("line_failed", exc_info=exc)
                line.fail()
        return served
