"""The folder of the recordings: who may read them, what goes when, and that nothing else is touched."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from runtime import limits
from runtime.leg import Audio
from runtime.recording_folder import RecordingFolder
from runtime.recording_spool import Unrecordable

HOUR = 3_600
LONG_AGO = 2 * limits.RECORD_LEFT_BEHIND_SECONDS


def call_id(nth: int) -> str:
    return f"c-{nth:012x}"


def aged(path: Path, seconds: float) -> None:
    os.utime(path, (time.time() - seconds,) * 2)


def recorded(folder: RecordingFolder, nth: int, *, age_seconds: float = 0.0) -> Path:
    spool = folder.open_spool(call_id(nth), 0.0)
    spool.append([(0.0, Audio(b"\x01\x00" * 100))], [])
    folder.decode(spool, lambda: None)
    wav = folder.path / f"{call_id(nth)}.wav"
    aged(wav, age_seconds)
    aged(wav.with_suffix(".json"), age_seconds)
    return wav


def names(folder: RecordingFolder) -> list[str]:
    return sorted(path.name for path in folder.path.iterdir())


def test_recordings_are_their_owners_alone_whatever_the_umask(tmp_path: Path) -> None:
    folder = RecordingFolder(tmp_path / "runs" / "recordings")
    before = os.umask(0)
    try:
        folder.open_spool(call_id(2), 0.0).close()
        recorded(folder, 1)
    finally:
        os.umask(before)
    assert folder.path.stat().st_mode & 0o777 == 0o700
    assert names(folder) == [f"{call_id(1)}.json", f"{call_id(1)}.wav", f"{call_id(2)}.frames"]
    assert {path.stat().st_mode & 0o777 for path in folder.path.iterdir()} == {0o600}


def test_recording_replaces_what_a_killed_process_has_begun(tmp_path: Path) -> None:
    folder = RecordingFolder(tmp_path)
    part = tmp_path / f"{call_id(1)}.wav.part"
    part.write_bytes(bytes(100_000))
    part.chmod(0o644)
    wav = recorded(folder, 1)
    assert wav.stat().st_size == 44 + 400
    assert wav.stat().st_mode & 0o777 == 0o600
    assert names(folder) == [f"{call_id(1)}.json", f"{call_id(1)}.wav"]


def test_nothing_is_decoded_when_the_disk_is_as_good_as_full(tmp_path: Path) -> None:
    folder = RecordingFolder(tmp_path)
    spool = folder.open_spool(call_id(1), 0.0)
    spool.append([], [(0.0, b"\x01\x00" * 100)])
    with pytest.raises(Unrecordable, match="MiB left"):
        RecordingFolder(tmp_path, spare_bytes=1 << 62).decode(spool, lambda: None)
    spool.close()
    assert names(folder) == [f"{call_id(1)}.frames"]


@pytest.mark.parametrize(
    ("limited", "kept"),
    [
        (lambda path: RecordingFolder(path, kept=2), [1, 2]),
        (lambda path: RecordingFolder(path, kept_hours=2.5), [1, 2]),
        (lambda path: RecordingFolder(path, kept_bytes=3 * 444), [1, 2, 3]),
        (lambda path: RecordingFolder(path, kept_bytes=1), [1]),  # one that is larger than all may be is kept
        (lambda path: RecordingFolder(path, kept_hours=0.5), []),
    ],
)
def test_oldest_recordings_go_when_there_are_too_many(
    tmp_path: Path, limited: Callable[[Path], RecordingFolder], kept: list[int]
) -> None:
    folder = limited(tmp_path)
    for nth in (3, 1, 4, 2):
        recorded(folder, nth, age_seconds=nth * HOUR)
    assert folder.sweep() == 4 - len(kept)
    assert names(folder) == sorted(f"{call_id(nth)}{kind}" for nth in kept for kind in (".json", ".wav"))
    assert folder.sweep() == 0


def test_sweep_touches_nothing_that_is_not_its_own(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere.wav"
    elsewhere.write_bytes(b"music")
    folder = RecordingFolder(tmp_path / "recordings", kept=0, kept_hours=0)
    folder.path.mkdir()
    strange = [
        "notes.txt",
        "holiday.wav",
        "c-12.wav",
        f"{call_id(1)}.WAV",
        f"x{call_id(1)}.wav",
        f"{call_id(1)}.wav.bak",
    ]
    for name in strange:
        (folder.path / name).write_bytes(b"mine")
        aged(folder.path / name, 1_000 * HOUR)
    (folder.path / f"{call_id(2)}.wav").symlink_to(elsewhere)
    (folder.path / f"{call_id(3)}.wav").mkdir()
    assert folder.sweep() == 0
    assert names(folder) == sorted([*strange, f"{call_id(2)}.wav", f"{call_id(3)}.wav"])


def test_what_was_begun_goes_when_nobody_goes_on_with_it(tmp_path: Path) -> None:
    folder = RecordingFolder(tmp_path)
    for nth, age_seconds in ((1, 0), (2, LONG_AGO)):
        for kind in (".json", ".json.part", ".wav.part"):
            (tmp_path / f"{call_id(nth)}{kind}").write_bytes(b"")
            aged(tmp_path / f"{call_id(nth)}{kind}", age_seconds)
    folder.sweep()
    assert names(folder) == [f"{call_id(1)}{kind}" for kind in (".json", ".json.part", ".wav.part")]


def test_spool_goes_when_it_is_too_old_and_nobody_has_it(tmp_path: Path) -> None:
    folder = RecordingFolder(tmp_path)
    spools = [folder.open_spool(call_id(nth), 0.0) for nth in (1, 2, 3)]
    spools[0].close()
    spools[2].close()
    for nth in (1, 2):
        aged(tmp_path / f"{call_id(nth)}.frames", (limits.RECORDING_HOURS + 1) * HOUR)
    folder.sweep()
    assert names(folder) == [f"{call_id(2)}.frames", f"{call_id(3)}.frames"]
    assert folder.left_behind() == [call_id(2)]  # its lock is found when it is adopted
    assert folder.adopt_spool(call_id(2)) is None
    assert folder.adopt_spool(call_id(1)) is None
    spools[1].close()


def test_spool_is_nobody_elses_when_one_has_it(tmp_path: Path) -> None:
    folder = RecordingFolder(tmp_path)
    spool = folder.open_spool(call_id(1), 0.0)
    assert folder.adopt_spool(call_id(1)) is None
    with pytest.raises(BlockingIOError):
        folder.open_spool(call_id(1), 0.0)
    spool.close()
    spool.close()
    adopted = folder.adopt_spool(call_id(1))
    assert adopted is not None
    adopted.remove()
    assert names(folder) == []


@pytest.mark.parametrize(
    "asked", ["", "..", "../../etc/passwd", f"{call_id(1)}/../{call_id(1)}", f"{call_id(1)}\n", "c-00000000000G", "*"]
)
def test_find_gives_nothing_when_it_is_asked_for_something_else(tmp_path: Path, asked: str) -> None:
    folder = RecordingFolder(tmp_path)
    wav = recorded(folder, 1)
    assert folder.find(asked) is None
    assert folder.find(call_id(1)) == wav
    assert folder.find(call_id(1), ".json") == wav.with_suffix(".json")
    assert folder.find(call_id(2)) is None
    with pytest.raises(Unrecordable, match="name of a recording"):
        folder.open_spool(asked, 0.0)


def test_find_gives_nothing_when_it_is_a_link_to_something_else(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"x")
    (tmp_path / f"{call_id(1)}.wav").symlink_to(secret)
    assert RecordingFolder(tmp_path).find(call_id(1)) is None
    assert RecordingFolder(secret / "no" / "folder").find(call_id(1)) is None
