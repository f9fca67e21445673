"""What one connection does to us, and what came back: a list of steps, played on any network."""

import struct
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import attrs
import trio

PATIENCE_SECONDS = 100.0
"""Virtual. Longer than any wait that a door allows itself, one after the other."""
DEAF_SECONDS = 60.0
READ_BYTES = 64 * 1024

Ending = Literal["we left", "end", "reset", "out of patience"]


@attrs.frozen
class Send:
    data: bytes

    def __repr__(self) -> str:
        shown = repr(self.data[:120])
        return f"Send({shown}{'…' if len(self.data) > 120 else ''} {len(self.data)} bytes)"


@attrs.frozen
class Pause:
    seconds: float


@attrs.frozen
class HalfClose:
    """No more will be sent."""


@attrs.frozen
class Leave:
    """Close, with a reset in place of a FIN or without."""

    reset: bool = False


Step = Send | Pause | HalfClose | Leave


@attrs.frozen
class Script:
    """`deaf`: nothing is read for DEAF_SECONDS. Behind the last step we stay until the other side has closed."""

    steps: tuple[Step, ...]
    deaf: bool = False

    @property
    def said(self) -> bytes:
        return b"".join(step.data for step in self.steps if isinstance(step, Send))


@attrs.define
class Heard:
    """Mutable while it is played. `ending`: how the connection ended, seen from here."""

    data: bytearray = attrs.field(factory=bytearray)
    ending: Ending = "out of patience"
    seconds: float = 0.0


def pieces(data: bytes, cuts: Sequence[int]) -> list[bytes]:
    """`data`, cut at these places."""
    bounds = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    return [data[start:end] for start, end in pairwise(bounds) if end > start]


async def play(stream: trio.SocketStream, script: Script) -> Heard:
    """Take the steps in turn; the stream is closed on the way out."""
    heard, began = Heard(), trio.current_time()
    with trio.move_on_after(PATIENCE_SECONDS):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_listen, stream, heard, nursery.cancel_scope, DEAF_SECONDS if script.deaf else 0.0)
            if await _say_all(stream, script):
                heard.ending = "we left"
                nursery.cancel_scope.cancel()
    heard.seconds = trio.current_time() - began
    await trio.aclose_forcefully(stream)
    return heard


async def _listen(stream: trio.SocketStream, heard: Heard, scope: trio.CancelScope, not_before: float) -> None:
    await trio.sleep(not_before)
    try:
        while data := await stream.receive_some(READ_BYTES):
            heard.data += data
        heard.ending = "end"
    except trio.BrokenResourceError:
        heard.ending = "reset"
    except trio.ClosedResourceError:
        return  # it is we who left
    scope.cancel()


async def _say_all(stream: trio.SocketStream, script: Script) -> bool:
    """Whether we have left. Who has reset us hears no more, and is listened to until the end."""
    for step in script.steps:
        try:
            match step:
                case Send(data):
                    await stream.send_all(data)
                case Pause(seconds):
                    await trio.sleep(seconds)
                case HalfClose():
                    await stream.send_eof()
                case Leave(reset):
                    if reset:
                        stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, struct.pack("ii", 1, 0))
                    await trio.aclose_forcefully(stream)
                    return True
        except (trio.BrokenResourceError, OSError):
            continue
    return False
