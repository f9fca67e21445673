"""What lies between a line and the WebSocket library: the tap on the way in, and a stream for the library.

The library is given what the tap leaves to it, and ends what it has to end on a stream that sees what it does not tell:
- the peer is gone (`ended`): the socket is closed at once, not when the garbage collector finds it;
- the library has done with the connection (`farewell`): the line is closed, behind the frame that is still owed;
- a Close has gone out: from then on nothing but the peer's Close is of interest.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Final

import attrs
import trio

from runtime import frames, limits
from runtime.leg import Message
from runtime.line import Line
from runtime.tap import Side, Tap

_KEPT_BYTES: Final = 64 * 1024
"""More than this, read and wanted by nobody yet, stops the reading."""


def _go_on() -> bytes | None:
    return None


@attrs.define(eq=False)
class LegStream(trio.abc.Stream):
    """Mutable: `came`, called when something was read; `room`, whether more may be; `farewell`. The first two are
    replaced by who opens a leg on it.

    `given_up`: why we stopped waiting for a peer that is silent; empty while we have not. `close_said`: a Close went
    out.
    """

    line: Line
    tap: Tap
    came: Callable[[], object] = attrs.field(init=False)
    room: Callable[[], bool] = attrs.field(init=False)
    farewell: Callable[[], bytes | None] = _go_on
    """Asked before each read and at the close. None: go on. Else the library has done: close, behind these bytes."""
    ended: trio.Event = attrs.field(factory=trio.Event)
    given_up: str = ""
    close_said: bool = False
    _idle: bool = False
    """The library has read all that was left to it, and waits."""
    _taken_in: bool = False
    """The peer said its last, and all of it was looked at."""

    @classmethod
    def on(cls, line: Line, side: Side, most_bytes: int) -> "LegStream":
        stream = cls(line, Tap(side, most_bytes))
        stream.came = stream.next
        stream.room = lambda: stream.tap.kept_bytes <= _KEPT_BYTES
        line.on_data = stream.on_data
        line.read_on()
        return stream

    def next(self) -> Message | None:
        """The next message that the tap takes; None while there is none."""
        message = self.tap.next()
        if message is None:
            self._taken_in = self.line.at_end and not self.tap.waits
        if self.tap.for_library or self._taken_in:
            self.line.news.unpark_all()
        return message

    def read_on(self) -> None:
        self.line.read_on(not self._full())

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """For the library: what is left to it."""
        await trio.lowlevel.checkpoint()
        if self.farewell() is not None:
            await self.aclose()
        left = self.tap.for_library
        while not left and not self._taken_in and not self.line.closed:
            self._idle = True
            self.line.news.unpark_all()
            await self.line.news.park()
        self._idle = False
        if self.line.closed or not left:
            self._end()
            return b""
        data = bytes(left[:max_bytes])
        del left[: len(data)]
        self.read_on()
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Behind what waits, whole, also when cancelled."""
        if data[:1] == bytes((frames.CLOSE,)):
            self.close_said = self.tap.closing = True
            self.line.hush()
        self.line.send(bytes(data))
        if self.tap.closing:
            self.came()
            self.read_on()
        await self.line.wait_free()
        if self.farewell() == b"":  # the library has done: not all of what it does then comes back to us
            self._end()

    async def wait_send_all_might_not_block(self) -> None:
        await self.line.wait_free()

    async def fall_silent(self) -> None:
        """Before we say Close: the library answers what it has, and is given nothing more but the peer's Close. Once
        told to close, it raises on a ping."""
        self.tap.closing = True
        self.came()
        self.read_on()
        while (self.tap.for_library or not self._idle) and not self.line.closed:
            await self.line.news.park()

    def give_up(self, why: str) -> None:
        """Close by force: the peer does not answer."""
        self.given_up = why
        self._end()

    async def aclose(self) -> None:
        if owed := self.farewell():
            with trio.move_on_after(limits.CLOSE_SECONDS, shield=True):
                with suppress(trio.BrokenResourceError):
                    await self.send_all(owed)
        self._end()
        await trio.lowlevel.checkpoint()

    def _end(self) -> None:
        self.ended.set()
        self.line.close()
        self.line.news.unpark_all()

    def on_data(self, data: bytes) -> bool:
        """Of the line: what was read. Whether more may be."""
        if data:
            self.tap.feed(data)
        self.came()
        return not self._full()

    def _full(self) -> bool:
        return len(self.tap.for_library) > _KEPT_BYTES or not (self.tap.closing or self.room())
