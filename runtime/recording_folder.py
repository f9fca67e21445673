"""The folder of the recordings: what is in it, who may read it, and what goes.

    c-….frames   a spool: of a call that runs, or is not decoded yet, or was left behind by a process that was killed
    c-….wav      24 kHz, stereo: the caller left, the agent right
    c-….json     its waveform
    ….part       one of these two while it is written

Nothing else in it is touched. Processes may share it: a spool is its owner's, which a lock says; the others are written
under the lock of their spool and appear by a rename, the WAV last. All of it may block: for worker threads, but `find`.
"""

import os
import re
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final, Literal

import attrs

from runtime import limits
from runtime.recording_decoder import CHANNELS, WAV_HEADER_BYTES, Waveform, mixed, wav_header
from runtime.recording_spool import AGENT, CALLER, Spool, Unrecordable, messages_of

CALL_ID: Final = r"c-[0-9a-f]{12}"
OURS: Final = re.compile(rf"({CALL_ID})(\.frames|\.wav|\.json|\.wav\.part|\.json\.part)")
MIB: Final = 1024 * 1024


@attrs.frozen
class RecordingFolder:
    """`spare_bytes`: of its disk, that are left to others. `kept`, `kept_bytes`, `kept_hours`: of recordings."""

    path: Path
    spare_bytes: int = limits.RECORD_FREE_BYTES
    kept: int = limits.RECORDINGS_KEPT
    kept_bytes: int = limits.RECORDINGS_BYTES
    kept_hours: float = limits.RECORDING_HOURS

    def find(self, call_id: str, suffix: Literal[".wav", ".json"] = ".wav") -> Path | None:
        """The recording of a call, or its waveform, if it is there. `call_id` may be anything that anybody sent."""
        if re.fullmatch(CALL_ID, call_id) is None:
            return None
        path = self.path / f"{call_id}{suffix}"
        with suppress(OSError):
            if stat.S_ISREG(path.lstat().st_mode):
                return path
        return None

    def check_room(self) -> None:
        """Raises OSError; Unrecordable: its disk is full, as good as."""
        disk = os.statvfs(self.path)
        free_bytes = disk.f_bavail * disk.f_frsize
        if free_bytes < self.spare_bytes:
            raise Unrecordable(
                f"the disk of {self.path} has {free_bytes // MIB} MiB left, and {self.spare_bytes // MIB} are not for"
                " recordings; make room, or set RECORDINGS to another folder"
            )

    def open_spool(self, call_id: str, started_at: float) -> Spool:
        """Raises OSError and Unrecordable."""
        if re.fullmatch(CALL_ID, call_id) is None:
            raise Unrecordable(f"{call_id!r} is no name of a recording")
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        return Spool.open(self.path / f"{call_id}.frames", started_at)

    def adopt_spool(self, call_id: str) -> Spool | None:
        """One that was left behind; None: another process has it, or has decoded it meanwhile. Raises OSError."""
        return Spool.adopt(self.path / f"{call_id}.frames")

    def decode(self, spool: Spool, breathe: Callable[[], None]) -> None:
        """Make the WAV and its waveform, and remove the spool. `breathe` is called between pieces of work, and may
        raise. Raises OSError and Unrecordable, with the spool as it was, and no part of a recording left."""
        wav, picture = spool.path.with_suffix(".wav"), spool.path.with_suffix(".json")
        wav_part, picture_part = (path.with_name(f"{path.name}.part") for path in (wav, picture))
        try:
            drawn = self._write_wav(spool.path, wav_part, breathe)
            with _private(picture_part) as file:
                file.write(drawn.json())
            picture_part.rename(picture)
            wav_part.rename(wav)
        finally:
            wav_part.unlink(missing_ok=True)
            picture_part.unlink(missing_ok=True)
        spool.remove()

    def _write_wav(self, spool: Path, part: Path, breathe: Callable[[], None]) -> Waveform:
        drawn = Waveform()
        with spool.open("rb") as caller, spool.open("rb") as agent, _private(part) as wav:
            wav.write(bytes(WAV_HEADER_BYTES))
            for window in mixed(messages_of(caller, CALLER), messages_of(agent, AGENT), drawn):
                self.check_room()
                wav.write(window)
                breathe()
            wav.seek(0)
            wav.write(wav_header(drawn.size_bytes * CHANNELS))
        return drawn

    def has_spool(self, call_id: str) -> bool:
        return (self.path / f"{call_id}.frames").exists()

    def left_behind(self) -> list[str]:
        """The calls whose spools nobody has written to for RECORD_LEFT_BEHIND_SECONDS, oldest first."""
        latest = time.time() - limits.RECORD_LEFT_BEHIND_SECONDS
        spools = [(seen.st_mtime, call_id) for _, call_id, kind, seen in self._ours() if kind == ".frames"]
        return [call_id for written_at, call_id in sorted(spools) if written_at <= latest]

    def sweep(self) -> int:
        """Remove what is too old or too much; how many recordings went. What cannot be removed stays."""
        ours = list(self._ours())
        oldest = time.time() - self.kept_hours * 3600
        wavs = sorted(
            ((seen.st_mtime, seen.st_size, path) for path, _, kind, seen in ours if kind == ".wav"), reverse=True
        )
        kept, sum_bytes, removed = set(), 0, 0
        for place, (written_at, size_bytes, path) in enumerate(wavs):
            sum_bytes += size_bytes
            if place >= self.kept or (place > 0 and sum_bytes > self.kept_bytes) or written_at < oldest:
                removed += _removed(path)
                _removed(path.with_suffix(".json"))
            else:
                kept.add(path.stem)
        settled = time.time() - limits.RECORD_LEFT_BEHIND_SECONDS  # younger, and its writer may be about to rename it
        for path, call_id, kind, seen in ours:
            if kind == ".frames" and seen.st_mtime < oldest:
                _remove_spool(path)
            elif (kind.endswith(".part") or (kind == ".json" and call_id not in kept)) and seen.st_mtime < settled:
                _removed(path)
        return removed

    def _ours(self) -> Iterator[tuple[Path, str, str, os.stat_result]]:
        """(path, call id, kind, what the system says of it) of each file that has a name of ours."""
        with suppress(FileNotFoundError):
            for path in self.path.iterdir():
                named = OURS.fullmatch(path.name)
                if named is None:
                    continue
                with suppress(FileNotFoundError):  # another process's sweep
                    seen = path.lstat()
                    if stat.S_ISREG(seen.st_mode):
                        yield path, named[1], named[2], seen


def _private(path: Path) -> BinaryIO:
    """A new file that its owner alone can read, in place of what may be there."""
    path.unlink(missing_ok=True)
    return open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb")


def _removed(path: Path) -> bool:
    try:
        path.unlink()
    except OSError:
        return False
    return True


def _remove_spool(path: Path) -> None:
    with suppress(OSError):
        if (spool := Spool.adopt(path)) is not None:  # else its owner lives
            spool.remove()
