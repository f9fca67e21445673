"""A leg on trio-websocket (runtime/leg.py).

Whole data frames come from the tap and are sent by us; the library keeps the rest of the protocol: control frames,
messages in fragments, everything odd, and the close. How a connection comes to be one: runtime/ws_handshake.py.
"""

from collections.abc import Mapping
from contextlib import suppress
from typing import Final, Protocol

import attrs
import trio
import trio_websocket

from runtime import frames, limits
from runtime.leg import AtOnce, Audio, Closed, LegClosed, LegStalled, MaskedAudio, Message, Passing, Received, Text
from runtime.leg_stream import LegStream

# What the peer is told whose frames the library refused in silence. A message too long it refuses aloud, with 1009.
_REFUSED: Final[Mapping[int, str]] = {1002: "protocol_error", 1007: "not_utf8"}
_PEER_DID_NOT_CLOSE: Final = (1002, 1006, 1007, 1009)  # refused, broken, or closed by a peer that understood nothing


class Wire(Protocol):
    """How a leg's audio looks as WebSocket messages."""

    farewell: str | None

    def decode(self, message: Message) -> Received | MaskedAudio: ...
    def encode(self, pcm: bytes) -> bytes | str: ...


@attrs.define(eq=False)
class WebSocketLeg:
    """A leg (runtime/leg.py) on one trio-websocket connection. Mutable: all below `_stall_seconds`."""

    _connection: trio_websocket.WebSocketConnection
    _stream: LegStream
    _wire: Wire
    _frames: frames.ServerFrames | frames.ClientFrames
    _stall_seconds: float
    _at_once: AtOnce | None = None
    _arrived: Received | Exception | None = None
    """The next thing for whoever receives; while it lies there, nothing more is read."""
    _over: Closed | None = None
    _stalled: bool = False
    _leaving: bool = False
    """It is we who close: the library still waits for the peer's Close."""
    _news: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot)

    async def receive(self, at_once: AtOnce | None = None) -> Received:
        await trio.lowlevel.checkpoint()
        self._at_once = at_once
        try:
            self.pull()
            self._stream.read_on()
            while self._arrived is None and self._over is None:
                await self._news.park()
        finally:
            self._at_once = None
        arrived, self._arrived = self._arrived, None
        self._news.unpark_all()
        if isinstance(arrived, Exception):
            raise arrived
        return arrived or self._over or Closed(1006)

    def on_data(self, data: bytes) -> bool:
        """Of the line: what was read. Whether more may be."""
        if self._arrived is None and (audio := self._stream.tap.lone(data)) is not None:
            self._take(audio)
            return self._arrived is None
        return self._stream.on_data(data)

    def pull(self) -> None:
        """Take what has come, as far as somebody wants it."""
        if self._stream.tap.closing:
            self._arrived = None
        while self._arrived is None and (message := self._stream.next()) is not None:
            self._take(message)

    def has_room(self) -> bool:
        return self._arrived is None

    def _take(self, message: Message) -> None:
        try:
            received = self._wire.decode(message)
            if isinstance(received, (MaskedAudio, Audio)):  # half the time of a union's, per frame
                if self._at_once is not None and self._at_once(received):
                    return
                received = Audio(received.pcm)
            self._arrived = received
        except Exception as exc:  # noqa: BLE001  # not swallowed: raised in the task that receives, whose code it is
            self._arrived = exc
        self._news.unpark_all()

    async def give_on(self) -> None:
        """Takes what the library gives: messages in fragments, odd ones, and the end."""
        try:
            while True:
                message = await self._connection.get_message()
                while self._arrived is not None and not self._stream.tap.closing:
                    await self._news.park()
                if not self._stream.tap.closing:
                    self._take(Text(message) if isinstance(message, str) else Audio(message))
                self._stream.tap.given_back()
                self.pull()
        except trio_websocket.ConnectionClosed as exc:
            how = exc.reason
            if how is None or how.code == 1006:  # without a reason: its reader failed
                self._over = Closed(1006, self._stream.given_up)
            else:
                self._over = Closed(how.code, how.reason or "")
            self._news.unpark_all()

    def offer(self, audio: Passing) -> bool:
        line = self._stream.line
        if not line.free:
            return False
        if isinstance(audio, MaskedAudio) and isinstance(self._frames, frames.ClientFrames):
            # Their masks hide what is said from what stands between (RFC 6455 §10.3); TLS does that too.
            return line.send(audio.frame if line.encrypted else self._frames.remasked(audio.frame, audio.body))
        return line.send(self._framed(self._wire.encode(audio.pcm)))

    async def send_audio(self, pcm: bytes) -> None:
        await self._send(self._wire.encode(pcm))

    async def send_text(self, data: str) -> None:
        await self._send(data)

    async def _send(self, message: bytes | str) -> None:
        if self._stalled:
            raise LegClosed
        try:
            with trio.fail_after(self._stall_seconds):
                await self._stream.line.wait_free()
        except trio.TooSlowError:
            self._stalled = True
            self._stream.line.hush()
            raise LegStalled from None
        except trio.BrokenResourceError:
            raise LegClosed from None
        if self._mute or not self._stream.line.send(self._framed(message)):
            raise LegClosed

    @property
    def _mute(self) -> bool:
        """Nothing more may be said."""
        return self._stalled or self._stream.close_said or self._connection.closed is not None

    def _framed(self, message: bytes | str) -> bytes:
        if isinstance(message, str):
            return self._frames.frame(frames.TEXT, message.encode())
        return self._frames.frame(frames.BINARY, message)

    async def aclose(self, code: int, reason: str, within_seconds: float = limits.CLOSE_SECONDS) -> bool:
        peer_closed = False
        with trio.move_on_after(within_seconds, shield=True):
            if not (self._stalled or self._stream.given_up):
                if self._wire.farewell is not None and not self._mute:
                    with suppress(LegClosed, LegStalled):
                        await self._send(self._wire.farewell)
                if self._connection.closed is None:
                    self._leaving = True
                    await self._stream.fall_silent()
                await self._connection.aclose(code, reason)
                peer_closed = self._has_read_a_close()
        self._stream.line.close()
        return peer_closed

    def _has_read_a_close(self) -> bool:
        """From a peer that understood us. The library's `closed` does not tell: it is 1000 from the moment our own
        Close goes out, and stays so when the connection breaks before the peer's has come."""
        how = self._connection.closed
        return self._stream.tap.close_read and not (how and how.code in _PEER_DID_NOT_CLOSE)

    def ping(self, payload: bytes) -> None:
        if not self._mute:
            self._stream.line.send(self._frames.frame(frames.PING, payload))

    def farewell(self) -> bytes | None:
        """What the stream asks before each read: None while the connection lives, or is closed by us. Else the
        library has done with it, and the peer is still owed this frame, if any."""
        how = self._connection.closed
        if how is None or self._leaving:
            return None
        if self._stream.close_said or how.code not in _REFUSED:
            return b""
        return self._frames.frame(frames.CLOSE, how.code.to_bytes(2) + _REFUSED[how.code].encode())
