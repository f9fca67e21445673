"""The tap: takes whole data frames out of a WebSocket's bytes, and leaves the rest to the library. Pure.

What is taken here costs a few microseconds; what the library reads costs twenty times that. So the plain case is
taken, a whole message in one frame, audio and text in their order; the handshake, control frames, fragments and
whatever is odd are handed on, byte for byte, in the same order.

Rules:
- the handshake's head is handed on; when it says anything but 101 to a client, so is all that follows;
- what follows the head waits until the handshake is over (`open`);
- a message in fragments is handed on, and what comes behind it waits until the library has given the message back;
- at the first doubt about a frame (a reserved bit, an unknown opcode, a mask missing or too much, a length written
  too long, a message too long, text that is not UTF-8, a fragment out of place) all is handed on from there on: the
  library refuses what must be refused;
- behind the peer's Close all is handed on;
- once we have said Close (`closing`), only the peer's Close is of interest. All else is dropped: the library would
  raise on a ping.
"""

import re
from typing import Final, Literal

import attrs

from runtime import frames, limits
from runtime.leg import Audio, MaskedAudio, Message, Passing, Text

_END_OF_HEAD: Final = re.compile(rb"\n\r?\n")  # as h11 has it, which does the library's handshake
_SWITCHING: Final = re.compile(rb"HTTP/1\.1 101[ \r\n]")
_CONTROL_BYTES: Final = 125
_USUAL_LENGTH: Final = 126  # two bytes of length follow: 126 to 65,535 bytes of payload
_USUAL_BODY: Final = 4
_CHARACTER_BYTES: Final = 4  # at most
_DATA: Final = (frames.BINARY, frames.TEXT)
_CONTROL: Final = (frames.PING, frames.PONG, frames.CLOSE)
_FIRST_FRAGMENT: Final = (0x02, 0x01)
_NEXT_FRAGMENT: Final = (0x00, 0x80)
_LAST_FRAGMENT: Final = 0x80

Side = Literal["server", "client"]


@attrs.define(eq=False)
class Tap:
    """`side`: which one we are. `most_bytes`: of one message; of a text as many characters, as the library counts.

    Mutable: `closing`, yours to set; `for_library`, what was handed on, yours to empty; `pong`, the payload of the
    peer's last; `close_read`, whether the peer has said Close. The rest is what was read, and the place in it.
    """

    side: Side
    most_bytes: int
    closing: bool = False
    for_library: bytearray = attrs.field(factory=bytearray)
    pong: bytes = b""
    close_read: bool = False
    _reading: Literal["head", "handshake", "frames", "fragments", "given", "library"] = "head"
    """`given`: the library has all of a message in fragments, and has not given it back."""
    _head: bytes = b""
    _data: bytes = b""
    _at: int = 0
    _more: list[bytes] = attrs.field(factory=list)
    _more_bytes: int = 0

    @property
    def kept_bytes(self) -> int:
        """Read, and neither taken nor handed on."""
        return len(self._data) - self._at + self._more_bytes

    def lone(self, data: bytes) -> Passing | None:
        """What `data` says when it is one whole frame of audio, and nothing else is about: the usual case, which must
        be cheap. None: it must be fed, and nothing was done."""
        masked = self.side == "server"
        body = _USUAL_BODY + frames.MASK_BYTES * masked
        size = len(data) - body
        if (
            size <= _CONTROL_BYTES
            or data[0] != frames.BINARY
            or data[1] != _USUAL_LENGTH + frames.MASKED * masked
            or data[2] << 8 | data[3] != size
            or size > self.most_bytes
            or self._reading != "frames"
            or self._at != len(self._data)
            or self._more
            or self.closing
        ):
            return None
        return MaskedAudio(data, body, size) if masked else Audio(data[body:])

    def feed(self, data: bytes) -> None:
        if self._at == len(self._data) and not self._more:
            self._data, self._at = data, 0
        else:
            self._more.append(data)
            self._more_bytes += len(data)
        if self._reading == "head":
            self._read_head()

    def open(self) -> None:
        """The handshake is over."""
        if self._reading == "handshake":
            self._reading = "frames"

    @property
    def waits(self) -> bool:
        """For the end of the handshake, or for the library to give back a message."""
        return self._reading == "handshake" or (self._reading == "given" and not self.closing)

    def given_back(self) -> None:
        """The library has given back a message."""
        if self._reading == "given":
            self._reading = "frames"

    def next(self) -> Message | None:
        """The next whole message; None while there is none, or the tap waits."""
        while self._at < len(self._data) or self._joined(1):
            if self._reading == "library":
                self._hand_on(len(self._data))
            elif self._reading == "head" or self.waits:
                break
            else:
                body, end = self._bounds()
                if end > len(self._data):
                    if not self._joined(end - self._at):
                        break
                elif end and (message := self._frame(body, end)) is not None:
                    return message
        return None

    def _joined(self, wanted_bytes: int) -> bool:
        """What has come since is one piece with `_data` now. Only when it is enough: a long frame has many pieces."""
        if not self._more or self.kept_bytes < wanted_bytes:
            return False
        self._data = b"".join((self._data[self._at :], *self._more))
        self._at = self._more_bytes = 0
        self._more.clear()
        return True

    def _bounds(self) -> tuple[int, int]:
        """Where the payload of the frame at `_at` begins, and where it ends as far as is known; 0 after a doubt."""
        data, at = self._data, self._at
        if len(data) < at + 2:
            return 0, at + 2
        first, second = data[at], data[at + 1]
        body, size = at + 2, second & 0x7F
        if size > _CONTROL_BYTES:
            if first in _CONTROL:
                return self._doubt()
            width = 2 if size == 126 else 8
            if len(data) < body + width:
                return 0, body + width
            size = int.from_bytes(data[body : body + width])
            body += width
            if size <= (_CONTROL_BYTES if width == 2 else 0xFFFF):
                return self._doubt()
        masked = second >= frames.MASKED
        if masked:
            body += frames.MASK_BYTES
        if masked is not (self.side == "server") or not (self._in_place(first) or self.closing):
            return self._doubt()
        if size > self.most_bytes and (first == frames.BINARY or size > _CHARACTER_BYTES * self.most_bytes):
            return self._doubt()
        return body, body + size

    def _in_place(self, first: int) -> bool:
        if self._reading == "frames":
            return first in _DATA or first in _CONTROL or first in _FIRST_FRAGMENT
        return first in _CONTROL or first in _NEXT_FRAGMENT  # "fragments"

    def _frame(self, body: int, end: int) -> Message | None:
        at, first = self._at, self._data[self._at]
        if self.closing and first != frames.CLOSE:
            self._at = end
            return None
        if first == frames.BINARY:
            self._at = end
            if self.side == "server":
                return MaskedAudio(self._data[at:end], body - at, end - body)
            return Audio(self._data[body:end])
        if first == frames.TEXT:
            return self._text(body, end)
        self._hand_on_frame(first, body, end)
        return None

    def _text(self, body: int, end: int) -> Text | None:
        try:
            text = self._payload(body, end).decode()
        except UnicodeDecodeError:
            text = None
        if text is None or len(text) > self.most_bytes:
            self._doubt()
            return None
        self._at = end
        return Text(text)

    def _hand_on_frame(self, first: int, body: int, end: int) -> None:
        if first == frames.PONG:
            self.pong = self._payload(body, end)
        elif first == frames.CLOSE:
            self.close_read = True
            self._reading = "library"
        elif first in _FIRST_FRAGMENT:
            self._reading = "fragments"
        elif first == _LAST_FRAGMENT:
            self._reading = "given"
        self._hand_on(end)

    def _payload(self, body: int, end: int) -> bytes:
        payload = self._data[body:end]
        if self.side == "client":
            return payload
        return frames.xored(payload, self._data[body - frames.MASK_BYTES : body])

    def _doubt(self) -> tuple[int, int]:
        self._reading = "library"
        return 0, 0

    def _hand_on(self, end: int) -> None:
        self.for_library += self._data[self._at : end]
        self._at = end

    def _read_head(self) -> None:
        passed_bytes = len(self._head)
        self._head += self._data[self._at :]
        end = _END_OF_HEAD.search(self._head)
        self._hand_on(self._at + (end.end() if end else len(self._head)) - passed_bytes)
        if end is not None:
            switching = self.side == "server" or _SWITCHING.match(self._head)
            self._reading = "handshake" if switching else "library"
        elif len(self._head) > limits.HEAD_BYTES:
            self._reading = "library"
        if self._reading != "head":
            self._head = b""
