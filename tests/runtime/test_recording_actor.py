"""Recorder under its supervisor, with real threads on real files, so in real time: nothing of it may disturb a call."""

import os
import resource
import signal
import subprocess
import sys
import threading
import time
import wave
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest
import structlog
import trio
from structlog.testing import capture_logs

from runtime import limits
from runtime.leg import Audio
from runtime.recorder import Recorder
from runtime.recording import Recording
from runtime.recording_folder import RecordingFolder
from runtime.recording_spool import Spool, Unrecordable
from runtime.supervisor import Restart, Supervisor, open_supervisor

ROOT = Path(__file__).parent.parent.parent
FLUSH_SECONDS = 0.01
LONG_AGO = 2 * limits.RECORD_LEFT_BEHIND_SECONDS
ONE, OTHER = "c-000000000001", "c-000000000002"


def really(main: Callable[[], Awaitable[None]]) -> None:
    """In real time, for a while at most: threads do not wait for a clock that jumps."""

    async def bounded() -> None:
        with trio.fail_after(10):
            await main()

    trio.run(bounded)


def recorder_in(path: Path | RecordingFolder, **changes: Any) -> Recorder:
    folder = path if isinstance(path, RecordingFolder) else RecordingFolder(path, spare_bytes=0)
    return Recorder(folder, **{"flush_seconds": FLUSH_SECONDS, **changes})


@asynccontextmanager
async def running(recorder: Recorder, stop_seconds: float = 5.0) -> AsyncIterator[Supervisor]:
    async with open_supervisor("process", structlog.get_logger()) as process:
        await process.start(
            "Recorder", lambda: recorder, restart=Restart(), finish=recorder.close, stop_seconds=stop_seconds
        )
        yield process


async def killed_while(recorder: Recorder, body: Callable[[], Awaitable[None]]) -> None:
    """Runs it for the body, and then cancels it without a word."""
    async with trio.open_nursery() as nursery:
        await nursery.start(recorder.run)
        await body()
        nursery.cancel_scope.cancel()


def speak(recording: Recording, samples: int = 480) -> None:
    recording.caller.append((trio.current_time(), Audio(b"\x01\x00" * samples)))
    recording.agent.append((trio.current_time(), b"\x02\x00" * samples))


async def comes(true: Callable[[], object]) -> None:
    while not true():  # noqa: ASYNC110  # files and threads tell nobody
        await trio.sleep(0.002)


def samples_in(wav: Path | None) -> int:
    assert wav is not None
    with wave.open(str(wav)) as file:
        samples: int = file.getnframes()
    return samples


def state_of(recording: Recording) -> str:
    return recording.state


def names(path: Path) -> list[str]:
    return sorted(one.name for one in path.iterdir())


@contextmanager
def files_of_at_most(size_bytes: int) -> Iterator[None]:
    """What a full disk does: a write that goes beyond raises OSError."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_recorder_keeps_a_call_when_it_is_over(tmp_path: Path) -> None:
    async def main() -> None:
        recorder = recorder_in(tmp_path / "recordings")
        async with running(recorder):
            recording = recorder.begin(ONE, trio.current_time())
            for _ in range(5):
                speak(recording)
                await trio.sleep(2 * FLUSH_SECONDS)
            assert names(recorder.folder.path) == [f"{ONE}.frames"]
            assert state_of(recording) == "running"
            assert recorder.find(ONE) is None
            speak(recording)
            recorder.finish(recording)
            recorder.finish(recording)
            assert state_of(recording) == "waiting"
            await comes(lambda: recording.state == "ready")
            assert samples_in(recorder.find(ONE)) >= 6 * 480
            assert names(recorder.folder.path) == [f"{ONE}.json", f"{ONE}.wav"]
            assert not recorder._entries
        assert recorder.counts == {"recordings": 1, "recordings_ready": 1, "recordings_removed": 0}

    really(main)


def test_recorder_keeps_a_call_when_nobody_has_spoken(tmp_path: Path) -> None:
    async def main() -> None:
        recorder = recorder_in(tmp_path)
        async with running(recorder):
            recording = recorder.begin(ONE, trio.current_time())
            recorder.finish(recording)
            await comes(lambda: recording.state == "ready")
        assert samples_in(recorder.find(ONE)) == 0

    really(main)


def test_recorder_removes_the_oldest_when_one_more_is_ready(tmp_path: Path) -> None:
    async def main() -> None:
        recorder = recorder_in(RecordingFolder(tmp_path, spare_bytes=0, kept=1))
        async with running(recorder):
            for call_id in (ONE, OTHER):
                recorder.finish(recorder.begin(call_id, trio.current_time()))
                await comes(partial(recorder.find, call_id))
            await comes(lambda: recorder.counts["recordings_removed"])
        assert names(tmp_path) == [f"{OTHER}.json", f"{OTHER}.wav"]

    really(main)


def failing(recorder: Recorder, why: str, mend: Callable[[], None] = lambda: None) -> None:
    """One recording fails, says so once, and costs nothing any more; after `mend` the next one is kept."""

    async def main() -> None:
        async with running(recorder):
            recording = recorder.begin(ONE, trio.current_time())
            speak(recording, 48_000)
            await comes(lambda: recording.state == "failed")
            speak(recording)
            assert recording.unwritten_bytes == 0
            assert why in recording.why
            await trio.sleep(5 * FLUSH_SECONDS)
            recorder.finish(recording)
            assert recording.state == "failed"
            assert not recorder._entries
            mend()
            recording = recorder.begin(OTHER, trio.current_time())
            speak(recording)
            recorder.finish(recording)
            await comes(lambda: recording.state == "ready")
        assert recorder.counts["recordings_failed"] == 1
        assert names(recorder.folder.path) == [f"{OTHER}.json", f"{OTHER}.wav"]

    with capture_logs() as logs:
        really(main)
    said = [line for line in logs if line["event"] == "recording_failed"]
    assert [line["call_id"] for line in said] == [ONE]
    assert [line for line in logs if line["event"] in ("actor_failed", "actor_restarted")] == []


def test_recording_fails_alone_when_the_folder_cannot_be_made(tmp_path: Path) -> None:
    in_the_way = tmp_path / "recordings"
    in_the_way.write_text("")
    failing(recorder_in(in_the_way / "here"), "Not a directory; make room in", in_the_way.unlink)


def test_recording_fails_alone_when_the_disk_is_full(tmp_path: Path) -> None:
    with files_of_at_most(60_000):
        failing(recorder_in(tmp_path), "File too large; make room in")


def test_recording_fails_alone_when_the_disk_is_as_good_as_full(tmp_path: Path) -> None:
    @attrs.frozen
    class Filling(RecordingFolder):
        def check_room(self) -> None:
            filled = (self.path / f"{ONE}.frames").exists()
            RecordingFolder.check_room(attrs.evolve(self, spare_bytes=1 << 62 if filled else 0))

    failing(recorder_in(Filling(tmp_path)), "MiB left")


def test_recording_fails_alone_when_an_error_is_our_own(tmp_path: Path) -> None:
    @attrs.frozen
    class Broken(RecordingFolder):
        def open_spool(self, call_id: str, started_at: float) -> Spool:
            if call_id == ONE:
                raise ZeroDivisionError
            return RecordingFolder.open_spool(self, call_id, started_at)

    failing(recorder_in(Broken(tmp_path, spare_bytes=0)), "an error of ours")


def test_largest_recording_fails_when_the_disk_is_slow(tmp_path: Path) -> None:
    disk_goes_on = threading.Event()

    @attrs.frozen
    class Slow(RecordingFolder):
        def check_room(self) -> None:
            assert disk_goes_on.wait(5)

    async def main() -> None:
        recorder = recorder_in(Slow(tmp_path), most_unwritten_bytes=10_000)
        async with running(recorder):
            small, large = (recorder.begin(call_id, trio.current_time()) for call_id in (OTHER, ONE))
            speak(small)
            speak(large, 1_500)
            await trio.sleep(3 * FLUSH_SECONDS)  # that is in hand now
            speak(small)
            speak(large, 1_500)
            await comes(lambda: large.state == "failed")
            assert "too slow" in large.why
            speak(large, 4_000)
            await trio.sleep(3 * FLUSH_SECONDS)
            assert sum(entry.unwritten_bytes for entry in recorder._entries.values()) == 4 * 960
            disk_goes_on.set()
            recorder.finish(small)
            await comes(lambda: small.state == "ready")
        assert samples_in(recorder.find(OTHER)) >= 960
        assert names(tmp_path) == [f"{OTHER}.json", f"{OTHER}.wav"]

    really(main)


def test_recording_is_left_to_the_next_process_when_it_cannot_be_decoded(tmp_path: Path) -> None:
    in_the_way = tmp_path / f"{ONE}.wav"

    async def main() -> None:
        in_the_way.mkdir()
        recorder = recorder_in(tmp_path, sweep_seconds=FLUSH_SECONDS)
        async with running(recorder):
            recording = recorder.begin(ONE, trio.current_time())
            speak(recording)
            recorder.finish(recording)
            await comes(lambda: recording.state == "failed")
            assert recording.why.startswith("Is a directory")
            os.utime(tmp_path / f"{ONE}.frames", (0, time.time() - LONG_AGO))
            in_the_way.rmdir()
            await trio.sleep(5 * FLUSH_SECONDS)  # not tried again and again
            assert names(tmp_path) == [f"{ONE}.frames", f"{ONE}.json"]
        after = recorder_in(tmp_path)
        async with running(after):
            await comes(lambda: after.counts["recordings_left_behind"])
        assert names(tmp_path) == [f"{ONE}.json", f"{ONE}.wav"]

    really(main)


def test_recordings_of_a_killed_process_are_decoded_by_one_of_the_next(tmp_path: Path) -> None:
    async def main() -> None:
        killed = recorder_in(tmp_path)

        async def calls() -> None:
            for call_id in (ONE, OTHER):
                speak(killed.begin(call_id, trio.current_time()))
            await comes(lambda: len(names(tmp_path)) == 2)

        await killed_while(killed, calls)
        os.utime(tmp_path / f"{ONE}.frames", (0, time.time() - LONG_AGO))
        one, other = (recorder_in(tmp_path, sweep_seconds=FLUSH_SECONDS) for _ in range(2))
        async with running(one), running(other):
            await comes(lambda: one.find(ONE))
            await trio.sleep(3 * FLUSH_SECONDS)
        assert one.counts["recordings_left_behind"] + other.counts["recordings_left_behind"] == 1
        assert names(tmp_path) == [f"{ONE}.json", f"{ONE}.wav", f"{OTHER}.frames"]  # that one may be on its way

    really(main)


def test_recording_of_another_process_is_left_alone_until_that_is_killed(tmp_path: Path) -> None:
    program = (
        "import sys, trio; from pathlib import Path; from tests.runtime.test_recording_actor import *\n"
        "async def main():\n"
        "    recorder = recorder_in(Path(sys.argv[1]))\n"
        "    async with running(recorder):\n"
        "        speak(recorder.begin(ONE, trio.current_time()), 2_400)\n"
        "        await comes(lambda: names(recorder.folder.path))\n"
        "        print('recording', flush=True)\n"
        "        await trio.sleep(20)\n"
        "trio.run(main)\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]

    async def main() -> None:
        recorder = recorder_in(tmp_path, sweep_seconds=FLUSH_SECONDS)
        async with running(recorder):
            os.utime(tmp_path / f"{ONE}.frames", (0, time.time() - LONG_AGO))
            await trio.sleep(5 * FLUSH_SECONDS)
            assert names(tmp_path) == [f"{ONE}.frames"]
            process.send_signal(signal.SIGKILL)
            await comes(lambda: recorder.counts["recordings_left_behind"])
        assert samples_in(recorder.find(ONE)) == 2_400

    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "recording\n"
            really(main)
        finally:
            process.kill()


def test_everything_is_decoded_when_the_process_is_told_to_end(tmp_path: Path) -> None:
    async def main() -> None:
        recorder = recorder_in(tmp_path, flush_seconds=5.0)
        async with running(recorder):
            over, still_running = (recorder.begin(call_id, trio.current_time()) for call_id in (ONE, OTHER))
            speak(over)
            recorder.finish(over)
            speak(still_running)
        assert (over.state, still_running.state) == ("ready", "ready")
        assert samples_in(recorder.find(ONE)) == samples_in(recorder.find(OTHER)) == 480
        late = recorder.begin("c-000000000003", trio.current_time())
        assert (late.state, late.why) == ("failed", "the process is ending")

    really(main)


def test_process_ends_in_time_when_decoding_takes_too_long(tmp_path: Path) -> None:
    @attrs.frozen
    class Endless(RecordingFolder):
        def decode(self, spool: Spool, breathe: Callable[[], None]) -> None:  # noqa: ARG002
            while True:
                breathe()
                time.sleep(0.001)

    async def main() -> None:
        recorder = recorder_in(Endless(tmp_path, spare_bytes=0))
        async with running(recorder, stop_seconds=0.1):
            recording = recorder.begin(ONE, trio.current_time())
            speak(recording)
            recorder.finish(recording)
            await comes(lambda: recorder._to_decode)
            began = trio.current_time()
        assert 0.1 <= trio.current_time() - began < 4.0
        assert recording.state == "waiting"
        assert names(tmp_path) == [f"{ONE}.frames"]
        spool = recorder.folder.adopt_spool(ONE)  # nobody has it any more
        assert spool is not None
        spool.close()

    really(main)


def test_call_is_not_recorded_when_too_many_wait_to_be_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "RECORDINGS_WAITING", 1)
    may_decode = threading.Event()

    @attrs.frozen
    class Slow(RecordingFolder):
        def decode(self, spool: Spool, breathe: Callable[[], None]) -> None:  # noqa: ARG002
            assert may_decode.wait(5)
            raise Unrecordable("it is a test")

    async def main() -> None:
        recorder = recorder_in(Slow(tmp_path, spare_bytes=0))
        async with running(recorder):
            first = recorder.begin(ONE, trio.current_time())
            recorder.finish(first)
            await comes(lambda: recorder._to_decode)
            refused = recorder.begin(OTHER, trio.current_time())
            assert (refused.state, refused.why) == ("failed", "1 recordings wait to be decoded already")
            recorder.finish(refused)
            may_decode.set()
            await comes(lambda: first.state == "failed")
            assert recorder.begin(OTHER, trio.current_time()).state == "running"

    really(main)
