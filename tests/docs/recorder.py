"""Why a call has no recording: the `why` of `recording_failed` and of `recording_not_recovered`."""

import errno
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import pytest
import trio

from runtime import limits
from runtime.recorder import Recorder
from runtime.recording import Recording
from runtime.recording_folder import MIB, RecordingFolder
from runtime.recording_spool import Spool, Unrecordable, messages_of
from tests.docs.symptom import Symptom, in_virtual_time, log_lines, said, seen

CALL: Final = "c-0123456789ab"


def recordings(folder: Path) -> Iterator[Symptom]:
    yield from _disks(folder)
    yield from in_virtual_time(partial(_calls, folder))


def _disks(folder: Path) -> Iterator[Symptom]:
    kept = RecordingFolder(folder, spare_bytes=512 * MIB)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_bavail=7, f_frsize=MIB))
        line = said(Unrecordable, kept.check_room)
    yield seen(line, folder=folder, left=7, spare=512)
    recorder = Recorder(kept)

    def no_room() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    yield seen(_trouble(recorder, no_room), why="No space left on device", folder=folder)
    yield seen(_trouble(recorder, lambda: [][0]))
    spool = Spool.open(folder / "long.frames", 0.0)
    spool._size_bytes = limits.RECORD_MOST_BYTES + 1
    line = said(Unrecordable, partial(spool.append, (), ()))
    spool.close()
    yield seen(line, most=limits.RECORD_MOST_BYTES // MIB)
    no_spool = folder / "none.frames"
    no_spool.write_bytes(bytes(100))
    with no_spool.open("rb") as file:
        yield seen(said(Unrecordable, partial(list, messages_of(file, 0))))


def _trouble(recorder: Recorder, act: Callable[[], object]) -> str:
    entry: Any = SimpleNamespace(recording=Recording(CALL, 0.0))
    with log_lines(), recorder._guarded(entry):
        act()
    return str(entry.trouble)


async def _calls(folder: Path, found: list[Symptom]) -> None:
    recorder = Recorder(RecordingFolder(folder), flush_seconds=1, most_unwritten_bytes=-1)
    with log_lines():
        slow = recorder.begin(CALL, 0.0)
        with trio.move_on_after(2):
            await recorder._watch_unwritten()
        found.append(seen(slow.why, folder=folder))
        recorder._to_decode.extend([SimpleNamespace()] * limits.RECORDINGS_WAITING)  # type: ignore[list-item]
        found.append(seen(recorder.begin(CALL, 0.0).why, number=limits.RECORDINGS_WAITING))
        entry: Any = SimpleNamespace(recording=Recording(CALL, 0.0), trouble="", spool=None)
        recorder._entries[CALL] = entry
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(trio.to_thread, "run_sync", _nothing)
            await recorder._decode(entry)
        found.append(seen(entry.recording.why))
        recorder.close()
        found.append(seen(recorder.begin(CALL, 0.0).why))


async def _nothing(*_: object) -> bool:
    await trio.lowlevel.checkpoint()
    return False
