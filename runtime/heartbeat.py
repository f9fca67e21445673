"""A heartbeat: pings that find out whether the peer of a leg still lives.

A peer is dead when it has not answered a ping though we waited PONG_SECONDS for it to say or to take something.
Only waiting counts: while nobody reads (a full channel stops the reads) the pong may lie unread behind audio. It
counts as well while one and the same send is under way: the library's reader itself may be stuck in sending a pong
to a peer that takes nothing. And a send that had to wait and was then taken shows that the peer reads: the wait
begins again, since the ping may lie behind audio at its side of a slow link.

A peer that has closed is not read any more until our Close has gone out; if it takes nothing, that is never.
So it is given CLOSE_SECONDS from the moment a heartbeat notices.
"""

from collections.abc import Awaitable, Callable
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

    `ping` sends one with this payload, and returns once its pong is here. Where the connection ends before
    that it may never return: it is cancelled when the stream has ended, and there is one at a time.
    """

    stream: LegStream
    ping: Callable[[bytes], Awaitable[None]]

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._beat)
            await self.stream.ended.wait()
            nursery.cancel_scope.cancel()

    async def _beat(self) -> None:
        ping_at = trio.current_time()
        for number in count(1):
            ping_at = max(ping_at + limits.PING_SECONDS, trio.current_time())
            await trio.sleep_until(ping_at)
            if not await self._answered(number.to_bytes(4, "big")):
                await self.stream.give_up(f"no pong within {limits.PONG_SECONDS:g} s")
                return

    async def _answered(self, payload: bytes) -> bool:
        """False: neither sent nor answered within PONG_SECONDS of listening."""
        answered = False
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._run_out, nursery.cancel_scope)
            await self.ping(payload)
            answered = True
            nursery.cancel_scope.cancel()
        return answered

    async def _run_out(self, waiting: trio.CancelScope) -> None:
        """Cancel `waiting` after PONG_SECONDS of listening without a sign of life, or CLOSE_SECONDS after its Close.

        The time is added up from short looks, none of which counts for more than it should have lasted: if our
        own loop stood still meanwhile, that says nothing about the peer.
        """
        left, left_to_close = limits.PONG_SECONDS, limits.CLOSE_SECONDS
        while min(round(left, 3), round(left_to_close, 3)) > 0:
            looked_at = trio.current_time()
            listened, taken = self.stream.listened_seconds, self.stream.sends_taken
            await trio.sleep(limits.PONG_LOOK_SECONDS)
            waited = self.stream.listened_seconds - listened
            if self.stream.sending_since is not None and self.stream.sending_since <= looked_at:
                waited = limits.PONG_LOOK_SECONDS
            left -= min(waited, limits.PONG_LOOK_SECONDS)
            if self.stream.sends_taken > taken:
                left = limits.PONG_SECONDS
            if self.stream.farewell() is not None:
                left_to_close -= limits.PONG_LOOK_SECONDS
        waiting.cancel()
