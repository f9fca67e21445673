"""A line: one socket on the switchboard, with or without TLS, as bytes in order.

What comes is given to `on_data` there and then, in the switchboard's task. What is sent goes to the kernel at once; the
rest of what the kernel does not take waits in the out-buffer, and goes out behind everything before it, whoever is
cancelled meanwhile: a line never tears a frame.

Rules:
- nobody adds to an out-buffer that holds something but to end what is begun, or with a control frame: audio waits in
  its channel, where it is bounded and can be dropped;
- that a send failed is not the end: what the peer said last can still be read. The end is told by reading.
"""

import ssl
from collections.abc import Callable
from typing import Final

import attrs
import trio

from runtime import limits
from runtime.poller import Plug, Poller
from runtime.tls import Tls

_READ_BYTES: Final = 8 * 1024  # of one line, then the next line's turn; eight frames, and cheap to allocate


def _ignore(_data: bytes) -> bool:
    return True


@attrs.define(eq=False)
class Line:
    """Mutable: `on_data`, which is given b"" at the end, and says whether to read on; and the state below. Close it:
    nothing else does."""

    _plug: Plug
    _poller: Poller
    _tls: Tls | None = None
    on_data: Callable[[bytes], bool] = _ignore
    free: bool = True
    """What is sent now goes out at once, as far as is known: nothing waits, and nothing has failed."""
    closed: bool = False
    at_end: bool = False
    """`on_data` was given b""."""
    sends_taken: int = 0
    """How often the peer made room for what had waited for it."""
    blocked_since: float | None = None
    """Since when the same bytes wait in the out-buffer; None while it is empty."""
    failure: str = ""
    """What broke it, in TLS."""
    news: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot)
    """Wakes who waits for the out-buffer, for the end, for TLS, or for what `on_data` has for him."""
    _out: bytearray = attrs.field(factory=bytearray)
    _reading: bool = False
    _hushed: bool = False
    """The last words are being said: the line is not `free` again."""
    _deaf: bool = False
    """A send failed: nothing more can be said."""
    _listened_seconds: float = 0.0
    _listening_since: float | None = None

    @property
    def encrypted(self) -> bool:
        return self._tls is not None

    @property
    def listened_seconds(self) -> float:
        """How long, in all, we have been ready to hear the peer: not while nobody takes what it says."""
        waiting = 0.0 if self._listening_since is None else trio.current_time() - self._listening_since
        return self._listened_seconds + waiting

    def read_on(self, reading: bool = True) -> None:
        """Begin to read, or stop: what the peer says then waits in the kernel, which stops the peer."""
        reading = reading and not self.closed and not self.at_end
        if reading != self._reading:
            self._listened_seconds = self.listened_seconds
            self._listening_since = trio.current_time() if reading else None
            self._reading = reading
            self._watch()

    def send(self, data: bytes) -> bool:
        """Never waits, never raises. False: the line is broken or closed, and nothing was sent."""
        if self._deaf or self.closed:
            return False
        try:
            self._put(data if self._tls is None else self._tls.encrypted(data))
        except ssl.SSLError:  # what the peer sent before has broken it
            self._give_up_sending()
        return not self._deaf

    def hush(self) -> None:
        """Never be `free` again: whatever is still sent ends what is said here."""
        self._hushed, self.free = True, False

    async def wait_free(self) -> None:
        """Until all that was sent has left. Raises trio.BrokenResourceError when it never will."""
        await trio.lowlevel.checkpoint()
        while self._out and not self._deaf and not self.closed:
            await self.news.park()
        if self._deaf or self.closed:
            raise trio.BrokenResourceError

    async def wait_encrypted(self) -> None:
        """The handshake of TLS. Raises trio.BrokenResourceError; `failure` may tell why."""
        if self._tls is not None:
            self._put(self._tls.to_send())
            self.read_on()
            while not self._tls.ready and not self.closed and not self.at_end:
                await self.news.park()
            self.read_on(False)
            if not self._tls.ready or self.closed:
                raise trio.BrokenResourceError(self.failure or "the connection was closed in the handshake")

    def close(self) -> None:
        """At once. What has not left yet is lost; what the kernel has taken is not, if the peer reads it."""
        if self.closed:
            return
        if self._tls is not None and self._tls.ready and not self._out and not self._deaf:
            self._put(self._tls.farewell())
        self.read_on(False)
        self._out.clear()
        self.closed, self.free = True, False
        self._poller.watch(self._plug, self, reads=False, writes=False)
        self._plug.close()
        self._end()

    def fail(self) -> None:
        """Of the switchboard: what was done with what came has failed, and is not asked again."""
        self.on_data = _ignore
        self.close()

    def on_readable(self) -> None:
        """Of the switchboard."""
        if not self._reading:
            return
        try:
            data = self._plug.recv(_READ_BYTES)
            if self._tls is not None and data:
                data = self._decrypted(data)
                if not data and not self._tls.ended:
                    return
        except (BlockingIOError, InterruptedError):
            return
        except OSError as exc:  # ssl.SSLError is one
            self.failure = f"{type(exc).__name__}: {exc}" if isinstance(exc, ssl.SSLError) else ""
            data = b""
        if data and not self.on_data(data):
            self.read_on(False)
        if not data or (self._tls is not None and self._tls.ended):
            self._end()

    def _decrypted(self, data: bytes) -> bytes:
        assert self._tls is not None
        was_ready = self._tls.ready
        try:
            said = self._tls.received(data)
        finally:
            self._put(self._tls.to_send())  # an alert, where it failed
        if not was_ready:
            self.news.unpark_all()
        return said

    def _end(self) -> None:
        self.read_on(False)
        if not self.at_end:
            self.at_end = True
            self.on_data(b"")
        self.news.unpark_all()

    def _put(self, data: bytes) -> None:
        if self._out:
            self._out += data
            return
        try:
            sent = self._plug.send(data) if data else 0
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            self._give_up_sending()
            return
        if sent < len(data):
            self._out += data[sent:]
            self.free = False
            self.blocked_since = trio.current_time()
            self._watch()

    def on_writable(self) -> None:
        """Of the switchboard."""
        if not self._out:
            return
        try:
            sent = self._plug.send(self._out)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._give_up_sending()
            return
        del self._out[:sent]
        now = trio.current_time()
        if self.blocked_since is not None and now - self.blocked_since >= limits.SEND_WAITED_SECONDS:
            self.sends_taken += 1
        self.blocked_since = now
        if not self._out:
            self.free = not self._hushed
            self.blocked_since = None
            self._watch()
            self.news.unpark_all()

    def _give_up_sending(self) -> None:
        self._deaf, self.free = True, False
        self._out.clear()
        self.blocked_since = None
        self._watch()
        self.news.unpark_all()

    def _watch(self) -> None:
        if not self.closed:
            self._poller.watch(self._plug, self, reads=self._reading, writes=bool(self._out))
