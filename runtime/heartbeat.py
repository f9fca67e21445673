"""A heartbeat: pings that find out whether the peer of a leg still lives.

A peer is dead when it has not answered a ping though we waited PONG_SECONDS for it to say or to take something.
Only waiting counts: while nobody reads (a full channel stops the reads) the pong may lie unread behind audio. It
counts as well while one and the same send is under way: the library's reader itself may be stuck in sending a pong
to a peer that takes nothing. And a send that had to wait and was then taken shows that the peer reads: the wait
begins again, since the ping may lie behind audio at its side of a slow link.

A peer that has closed is not read any more until our Close has gone out; if it takes nothing, that is never.
So it is given CLOSE_SECONDS from the moment a heartbeat notices.
"""

from collections.abc import Callable
from itertools import count

import attrs
import trio

from runtime import limits
from runtime.leg_stream import LegStream


@attrs.frozen
class Heartbeat:
    """Ends: with its stream, which it gives up when the peer is dead.

    What is asked of a peer: to take a ping out of its receive buffer, and answer it, within PONG_SECONDS; so, while
    our sends do not block, to lag no more than that behind what was sent to it.

    `ping` sends one with this payload, where that can still be.
    """

    stream: LegStream
    ping: Callable[[bytes], None]

    async def run(self) -> None:
        ping_at = trio.current_time()
        for number in count(1):
            ping_at = max(ping_at + limits.PING_SECONDS, trio.current_time())
            if await self._over_at(ping_at):
                return
            payload = number.to_bytes(4)
            self.ping(payload)
            if not await self._answered(payload):
                self.stream.give_up(f"no pong within {limits.PONG_SECONDS:g} s")
                return

    async def _over_at(self, when: float) -> bool:
        """Waits until then; True at once when the stream has ended."""
        with trio.move_on_at(when):
            await self.stream.ended.wait()
        return self.stream.ended.is_set()

    async def _answered(self, payload: bytes) -> bool:
        """False after PONG_SECONDS of listening without a sign of life, or CLOSE_SECONDS after the peer's Close.

        The time is added up from short looks, none of which counts for more than it should have lasted: if our
        own loop stood still meanwhile, that says nothing about the peer.
        """
        line = self.stream.line
        left, left_to_close = limits.PONG_SECONDS, limits.CLOSE_SECONDS
        while min(round(left, 3), round(left_to_close, 3)) > 0:
            looked_at = trio.current_time()
            listened, taken = line.listened_seconds, line.sends_taken
            if await self._over_at(looked_at + limits.PONG_LOOK_SECONDS) or self.stream.tap.pong == payload:
                return True
            waited = line.listened_seconds - listened
            if line.blocked_since is not None and line.blocked_since <= looked_at:
                waited = limits.PONG_LOOK_SECONDS
            left -= min(waited, limits.PONG_LOOK_SECONDS)
            if line.sends_taken > taken:
                left = limits.PONG_SECONDS
            if self.stream.farewell() is not None:
                left_to_close -= limits.PONG_LOOK_SECONDS
        return False
