"""The spool of a recording: what its call's actors appended, on disk as it came, until it is decoded.

A file of one call: a header, then blocks. A block holds some messages of one side, in order:

    header    8s magic, double: Trio's time when the caller connected
    block     B side, 3x, I count; then `count` of: doubles (Trio's time), I (bytes), B (where the audio begins)

and then the messages, one behind the other. Where the audio begins: 0, the message is PCM16; else it is a masked
WebSocket frame, and the 4 bytes before the audio are its mask. Little-endian. A process that was killed leaves a block
unfinished at the end: what is whole of it counts.

One process has a spool at a time: it is locked (flock) while it is open, and the kernel drops a lock with its process.
"""

import fcntl
import os
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final, Literal

import attrs

from runtime import frames, limits
from runtime.leg import MaskedAudio
from runtime.recording import Heard, Said, bytes_of

MAGIC: Final = b"voicerc1"
HEADER: Final = struct.Struct("<8sd")
BLOCK: Final = struct.Struct("<B3xI")
ENTRY_BYTES: Final = 8 + 4 + 1
Side = Literal[0, 1]
CALLER: Final = 0
AGENT: Final = 1


class Unrecordable(Exception):
    """A spool that cannot go on, or cannot be read. One line."""


@attrs.define(eq=False)
class Spool:
    """An open, locked spool. For one thread at a time; all of it may block, and raises OSError."""

    path: Path
    _descriptor: int
    _size_bytes: int

    @classmethod
    def open(cls, path: Path, started_at: float) -> "Spool":
        """Begin it, or go on with it. Raises BlockingIOError when another process has it."""
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        spool = cls._locked(path, flags)
        try:
            if spool._size_bytes == 0:
                spool._write(HEADER.pack(MAGIC, started_at))
        except OSError:
            spool.close()
            raise
        return spool

    @classmethod
    def adopt(cls, path: Path) -> "Spool | None":
        """One that was left behind. None: another process has it, or has decoded it meanwhile."""
        try:
            spool = cls._locked(path, os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
        except (BlockingIOError, FileNotFoundError):
            return None
        if os.fstat(spool._descriptor).st_nlink == 0:
            spool.close()
            return None
        return spool

    @classmethod
    def _locked(cls, path: Path, flags: int) -> "Spool":
        descriptor = os.open(path, flags, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return cls(path, descriptor, os.fstat(descriptor).st_size)
        except OSError:
            os.close(descriptor)
            raise

    def append(self, caller: Sequence[Heard], agent: Sequence[Said]) -> None:
        """Raises OSError and Unrecordable; the end of the spool is then of no use."""
        if self._size_bytes + bytes_of(caller, agent) > limits.RECORD_MOST_BYTES:
            raise Unrecordable(f"the call has more than {limits.RECORD_MOST_BYTES >> 20} MiB of audio")
        for begin in range(0, len(caller), limits.RECORD_WRITE_MESSAGES):
            self._write(_caller_block(caller[begin : begin + limits.RECORD_WRITE_MESSAGES]))
        for begin in range(0, len(agent), limits.RECORD_WRITE_MESSAGES):
            self._write(_agent_block(agent[begin : begin + limits.RECORD_WRITE_MESSAGES]))

    def _write(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            left = left[os.write(self._descriptor, left) :]
        self._size_bytes += len(data)

    def remove(self) -> None:
        """And close it."""
        try:
            self.path.unlink(missing_ok=True)  # first: nobody else may find it unlocked
        finally:
            self.close()

    def close(self) -> None:
        """Idempotent. The lock goes."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor != -1:
            os.close(descriptor)


def _caller_block(messages: Sequence[Heard]) -> bytes:
    audio = [message for _, message in messages]
    bodies = bytes([one.body if isinstance(one, MaskedAudio) else 0 for one in audio])
    data = [one.frame if isinstance(one, MaskedAudio) else one.pcm for one in audio]
    return _block(CALLER, [at for at, _ in messages], bodies, data)


def _agent_block(messages: Sequence[Said]) -> bytes:
    return _block(AGENT, [at for at, _ in messages], bytes(len(messages)), [pcm for _, pcm in messages])


def _block(side: Side, times: Sequence[float], bodies: bytes, data: Sequence[bytes]) -> bytes:
    count = len(data)
    tables = struct.pack(f"<{count}d{count}I", *times, *map(len, data))
    return b"".join((BLOCK.pack(side, count), tables, bodies, *data))


def messages_of(file: BinaryIO, side: Side) -> Iterator[tuple[float, bytes]]:
    """(seconds since the caller connected, PCM16) of one side, in order, to where the spool ends or makes no sense.

    Holds one message at a time. Raises OSError, and Unrecordable when it is no spool.
    """
    header = file.read(HEADER.size)
    if len(header) < HEADER.size:
        return  # its process was killed before it had written anything
    magic, started_at = HEADER.unpack(header)
    if magic != MAGIC:
        raise Unrecordable("its spool is none, or of another version")
    while (tables := _tables(file)) is not None:
        of_side, times, sizes, bodies = tables
        if of_side != side:
            file.seek(sum(sizes), os.SEEK_CUR)
            continue
        for at, size, body in zip(times, sizes, bodies, strict=True):
            data = file.read(size)
            seconds = at - started_at
            if len(data) < size or not -1 < seconds < limits.RECORD_MOST_SECONDS:
                return
            yield seconds, frames.xored(data[body:], data[body - frames.MASK_BYTES : body]) if body else data


def _tables(file: BinaryIO) -> tuple[int, Sequence[float], Sequence[int], bytes] | None:
    """(side, times, sizes, bodies) of the next block; None at the end."""
    head = file.read(BLOCK.size)
    if len(head) < BLOCK.size:
        return None
    side, count = BLOCK.unpack(head)
    if side not in (CALLER, AGENT) or count * ENTRY_BYTES > limits.RECORD_MOST_BYTES:
        return None
    packed = file.read(count * ENTRY_BYTES)
    if len(packed) < count * ENTRY_BYTES:
        return None
    numbers = struct.unpack_from(f"<{count}d{count}I", packed)
    sizes = numbers[count:]
    if max(sizes, default=0) > limits.VAPI_MESSAGE_BYTES:
        return None
    return side, numbers[:count], sizes, packed[count * struct.calcsize("<dI") :]
