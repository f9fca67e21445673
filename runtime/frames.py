"""WebSocket frames as bytes (RFC 6455 §5), pure: those that we send, and the masks of those that clients send.

Only whole messages in one frame, without extensions; all else is the library's (runtime/tap.py).
"""

import os
import struct
from typing import Final, Protocol

import attrs

BINARY: Final = 0x82  # one frame is the whole message; opcode 2
TEXT: Final = 0x81
CLOSE: Final = 0x88
PING: Final = 0x89
PONG: Final = 0x8A
MASKED: Final = 0x80  # in the second byte
MASK_BYTES: Final = 4
_MASKS_AT_ONCE: Final = 256  # one system call for so many


def xored(data: bytes, mask: bytes) -> bytes:
    """`data` masked or unmasked, which is the same (§5.3): each byte with the mask's byte at its place."""
    size = len(data)
    pattern = (mask * (size // MASK_BYTES + 1))[:size]
    return (int.from_bytes(data) ^ int.from_bytes(pattern)).to_bytes(size)


class Encoder(Protocol):
    def frame(self, first: int, payload: bytes) -> bytes:
        """One frame, which begins with the byte `first`."""


@attrs.define
class ServerFrames:
    """What a server sends is not masked. Mutable: the header of the last frame, which is as a rule the next one's."""

    _key: tuple[int, int] = (0, 0)
    _header: bytes = b""

    def frame(self, first: int, payload: bytes) -> bytes:
        key = (first, len(payload))
        if key != self._key:
            self._key, self._header = key, _header(*key)
        return self._header + payload


@attrs.define
class ClientFrames:
    """What a client sends is masked, each frame with a mask that nobody can foresee (§5.3, §10.3). Mutable: some masks,
    drawn at a time."""

    _masks: bytes = b""
    _at: int = 0

    def frame(self, first: int, payload: bytes) -> bytes:
        mask = self._mask()
        return _header(first, len(payload), MASKED) + mask + xored(payload, mask)

    def remasked(self, frame: bytes, body: int) -> bytes:
        """A client's frame, masked anew. `body`: where its payload begins, behind the mask."""
        mask, old = self._mask(), frame[body - MASK_BYTES : body]
        both = (int.from_bytes(mask) ^ int.from_bytes(old)).to_bytes(MASK_BYTES)
        return frame[: body - MASK_BYTES] + mask + xored(frame[body:], both)

    def _mask(self) -> bytes:
        if self._at == len(self._masks):
            self._masks, self._at = os.urandom(MASK_BYTES * _MASKS_AT_ONCE), 0
        self._at += MASK_BYTES
        return self._masks[self._at - MASK_BYTES : self._at]


def _header(first: int, size_bytes: int, mask_bit: int = 0) -> bytes:
    """The length in as few bytes as it takes."""
    if size_bytes < 126:
        return bytes((first, mask_bit | size_bytes))
    if size_bytes < 0x10000:
        return struct.pack("!BBH", first, mask_bit | 126, size_bytes)
    return struct.pack("!BBQ", first, mask_bit | 127, size_bytes)
