"""The stream between the WebSocket library and the socket: it sees what the library does not tell, and ends what
the library leaves open.

- The peer is gone (`ended`): the socket is closed at once, not when the garbage collector finds it.
- A send was cut with half a frame on the wire (`torn`): nothing is sent behind it, by whomever.
- The library has done with the connection (`farewell`): the stream is closed, after the frame that is still owed.
- How long we have waited for the peer (`listened_seconds`), and whether it takes what we send (`sends_taken`,
  `sending_since`): what a heartbeat (runtime/heartbeat.py) judges by.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Final

import attrs
import trio

from runtime import limits

_CLOSE_FRAME: Final = b"\x88"  # how one begins, and nothing else that a leg sends: the last fragment, opcode 8


def _go_on() -> bytes | None:
    return None


@attrs.define(eq=False)
class LegStream(trio.abc.Stream):
    """One task receives; sends wait for each other. Mutable: everything but `inner`.

    `given_up`: why we stopped waiting for a peer that is silent; empty while we have not.
    `close_said`: a Close frame went out. `sends_taken`: how many sends had to wait for the peer and were then taken.
    `sending_since`: since when a send is under way; None while there is none.
    """

    inner: trio.abc.Stream
    farewell: Callable[[], bytes | None] = _go_on
    """Asked before each read and at the close. None: go on. Else the library has done: close, after these bytes."""
    ended: trio.Event = attrs.field(factory=trio.Event)
    torn: bool = False
    given_up: str = ""
    close_said: bool = False
    sends_taken: int = 0
    sending_since: float | None = None
    _sending: trio.Lock = attrs.field(factory=trio.Lock)
    _listened_seconds: float = 0.0
    _listening_since: float | None = None

    @property
    def listened_seconds(self) -> float:
        """How long, in all, we have waited for the peer to say something. What is there already adds nothing to it,
        nor does the time in which nobody reads."""
        waiting = 0.0 if self._listening_since is None else trio.current_time() - self._listening_since
        return self._listened_seconds + waiting

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        if self.farewell() is not None:
            await self.aclose()
        broken: Exception | None = None
        self._listening_since = trio.current_time()
        try:
            data = await self.inner.receive_some(max_bytes)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
            data, broken = b"", exc
        finally:
            self._listened_seconds, self._listening_since = self.listened_seconds, None
        if not data:
            await self._end()
        if broken is not None:
            raise broken
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        async with self._sending:
            await trio.lowlevel.checkpoint_if_cancelled()  # cancelled before the first byte: nothing is torn
            if self.torn:
                raise trio.BrokenResourceError("half a frame is on the wire")
            self.close_said = self.close_said or data[:1] == _CLOSE_FRAME
            began = self.sending_since = trio.current_time()
            whole = False
            try:
                await self.inner.send_all(data)
                whole = True
            finally:
                self.torn, self.sending_since = not whole, None
            self.sends_taken += trio.current_time() - began >= limits.SEND_WAITED_SECONDS

    async def wait_send_all_might_not_block(self) -> None:
        await self.inner.wait_send_all_might_not_block()

    async def give_up(self, why: str) -> None:
        """Close by force: the peer does not answer."""
        self.given_up = why
        await self._end()

    async def aclose(self) -> None:
        if owed := self.farewell():
            with trio.move_on_after(limits.CLOSE_SECONDS, shield=True):
                with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                    await self.send_all(owed)
        self.ended.set()
        await self.inner.aclose()

    async def _end(self) -> None:
        self.ended.set()
        await trio.aclose_forcefully(self.inner)
