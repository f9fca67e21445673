"""What a frame under stress carries: enough for its receiver to tell whose it is, which, when sent, and whether whole.

A frame is PCM16 of a fixed length, 20 ms unless said otherwise. Its first 16 bytes, big-endian: a magic number (2), the
stream's tag (2), the frame's number (4), and the sender's clock in ns (8), taken right before it is handed to its
socket. The rest is loud noise that follows from the number: to a bridge it is audible speech. No byte of the noise can
begin a mark, so that frames are found again behind a hole.
"""

import random
import struct
from typing import Final

import attrs

from runtime import limits

FRAME_MS: Final = 20
MAGIC: Final = b"ZS"
MOST_TAGS: Final = 1 << 16
_MARK: Final = struct.Struct(">2sHIQ")
_NOISES: Final = 32


@attrs.frozen(eq=False)
class Frames:
    """Frames of `frame_ms` each, made and looked at. Raises ValueError for a length that is none."""

    frame_ms: int = FRAME_MS
    size_bytes: int = attrs.field(init=False)
    noises: tuple[bytes, ...] = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        size_bytes = limits.AUDIO_BYTES_PER_SECOND * self.frame_ms // 1000
        if not _MARK.size < size_bytes <= limits.CALLER_MESSAGE_BYTES:
            raise ValueError(f"a frame of {self.frame_ms} ms is {size_bytes} bytes")
        noise, safe = random.Random(1), bytes(byte if byte != MAGIC[0] else byte + 1 for byte in range(256))
        noises = tuple(noise.randbytes(size_bytes - _MARK.size).translate(safe) for _ in range(_NOISES))
        object.__setattr__(self, "size_bytes", size_bytes)
        object.__setattr__(self, "noises", noises)

    @property
    def period_seconds(self) -> float:
        return self.frame_ms / 1000

    def make(self, tag: int, number: int, now_ns: int) -> bytes:
        return _MARK.pack(MAGIC, tag, number, now_ns) + self.noises[number % _NOISES]

    def read(self, frame: bytes) -> tuple[int, int, int] | None:
        """(tag, number, sent at, in ns) of `size_bytes` bytes; None unless each byte behind the mark is what was
        sent."""
        magic, tag, number, sent_at_ns = _MARK.unpack_from(frame)
        if magic == MAGIC and frame.endswith(self.noises[number % _NOISES]):
            return tag, number, sent_at_ns
        return None
