"""The callers: each a WebSocket to the bridge, frames from the moment it is open, as `voice_ws` says."""

import ssl
from collections import Counter
from typing import Any, Final

import attrs
import trio

from runtime.errors import NoAnswer
from runtime.leg import Closed
from runtime.switchboard import Switchboard
from runtime.ws_handshake import dial_vapi
from stress.ends import End, Half
from stress.histogram import Histogram
from stress.ledger import Ledger

CLOSE_SECONDS: Final = 5.0  # all hang up at once, and the bridge answers one after the other
_PLAIN: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # not used: the voice door speaks without TLS


@attrs.define(eq=False)
class CallerEnd(End):
    """Mutable: `ended`, how it ended when it was not the caller who hung up."""

    dialled_at_ns: int = 0
    hanging_up: bool = False
    ended: str = ""


@attrs.define(eq=False)
class Callers:
    """All callers of this process, and what they may be told. Mutable. Runs in `nursery`, which is the owner's."""

    half: Half
    switchboard: Switchboard
    nursery: trio.Nursery
    ends: list[CallerEnd] = attrs.field(factory=list)

    def call(self, url: str, calls: int, per_second: float) -> None:
        """Dial `calls` more, so many a second; returns at once."""
        self.nursery.start_soon(self._dial_all, url, calls, per_second)

    def status(self) -> dict[str, Any]:
        """How many are up, and how they ended that are not; what was measured since the last time."""
        return {
            "up": sum(bool(end.heard_at_ns and not end.ended) for end in self.ends),
            "ended": Counter(end.ended for end in self.ends if end.ended),
            **self.half.status(end.ledger for end in self.ends),
        }

    def quiet(self) -> None:
        """Send no more: what is on its way may arrive."""
        self.half.pacer.quiet = True

    def account(self) -> dict[str, Any]:
        """What each end tells of itself, and what it took from dialling until the assistant was heard."""
        took = Histogram()
        for end in self.ends:
            if end.heard_at_ns:
                took.add(end.heard_at_ns - end.dialled_at_ns)
        return {"ends": [end.told() for end in self.ends], "set_ups": took.as_json()}

    async def hang_up(self) -> None:
        """All at once; returns when every socket is closed."""
        async with trio.open_nursery() as nursery:
            for end in self.ends:
                end.hanging_up = True
                nursery.start_soon(end.hang_up, CLOSE_SECONDS)

    async def _dial_all(self, url: str, calls: int, per_second: float) -> None:
        began = trio.current_time()
        for number in range(calls):
            await trio.sleep_until(began + number / per_second)
            end = CallerEnd(2 * len(self.ends), self.half, Ledger(self.half.frames, self.half.latencies))
            self.ends.append(end)
            self.nursery.start_soon(self._hold, end, url)

    async def _hold(self, end: CallerEnd, url: str) -> None:
        end.dialled_at_ns = self.half.clock()
        try:
            async with dial_vapi(url, _PLAIN, self.nursery, self.switchboard) as leg:
                closed = await end.listen(leg)
                if not end.hanging_up:
                    end.ended = _words(closed)
                await leg.aclose(1000, "")
        except NoAnswer:
            end.ended = "no connection"


def _words(closed: Closed) -> str:
    """The bridge's own, and without them the code."""
    return closed.reason or f"closed with {closed.code}"
