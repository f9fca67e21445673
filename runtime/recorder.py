"""Recorder keeps what was said in calls: spooled while a call runs, a WAV and its waveform afterwards."""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import inf
from pathlib import Path
from typing import Any, Literal, TypeVar

import attrs
import structlog
import trio

from runtime import limits
from runtime.recording import Heard, Recording, Said, bytes_of
from runtime.recording_folder import RecordingFolder
from runtime.recording_spool import Spool, Unrecordable
from runtime.supervisor import Started

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger(actor="Recorder")

T = TypeVar("T")


@attrs.define(eq=False)
class _Entry:
    """A recording that is not done with. Mutable: all but the first; by a worker thread while one has it.

    `in_hand`: to be written. `last`: nothing comes behind that. `written`: all is. `trouble`: what a thread has met.
    """

    recording: Recording
    spool: Spool | None = None
    in_hand: tuple[list[Heard], list[Said]] = ([], [])
    last: bool = False
    written: bool = False
    trouble: str = ""

    def take(self) -> None:
        caller, agent = self.recording.take()
        self.in_hand = (self.in_hand[0] + caller, self.in_hand[1] + agent)
        self.last = self.recording.state == "waiting"

    def write(self, folder: RecordingFolder) -> None:
        if self.spool is None:
            self.spool = folder.open_spool(self.recording.call_id, self.recording.started_at)
        folder.check_room()
        self.spool.append(*self.in_hand)
        self.in_hand = ([], [])

    def discard(self) -> None:
        self.in_hand = ([], [])
        if self.spool is not None:
            self.spool.remove()
            self.spool = None

    @property
    def unwritten_bytes(self) -> int:
        return self.recording.unwritten_bytes + bytes_of(*self.in_hand)


@attrs.define(eq=False)
class Recorder:
    """Records calls into `folder`. A call never waits for it, nor is it disturbed by what goes wrong here: a recording
    that the disk does not take, or not fast enough, fails, with its cause in `why` and in the log.

    `counts`: `recordings` that were begun, `recordings_ready`, `recordings_failed`, `recordings_left_behind` by a
    process that was killed, and decoded here, and `recordings_removed`, too old or too many.
    Ends: when `close` was called and what is finished is decoded. Its supervisor gives it RECORD_STOP_SECONDS.
    Restart: yes; the recordings stay.
    Cancelled: what was not written is lost; what was not decoded is left to the next process.
    """

    folder: RecordingFolder
    flush_seconds: float = limits.RECORD_FLUSH_SECONDS
    sweep_seconds: float = limits.RECORD_SWEEP_SECONDS
    most_unwritten_bytes: int = limits.RECORD_UNWRITTEN_BYTES
    counts: Counter[str] = attrs.field(factory=Counter)
    _entries: dict[str, _Entry] = attrs.field(factory=dict)
    """Per call, until it is decoded or has failed. Mutable, bounded by `begin`."""
    _to_decode: deque[_Entry] = attrs.field(factory=deque)
    _given_up: set[str] = attrs.field(factory=set)
    """Spools that could not be decoded, and are left to the next process."""
    _changed: trio.Event = attrs.field(factory=trio.Event)
    _closing: trio.Event = attrs.field(factory=trio.Event)
    _all_written: bool = False

    def begin(self, call_id: str, started_at: float) -> Recording:
        """`started_at`: when the caller connected, in Trio's time. Never waits nor raises; what it gives may have
        failed already."""
        recording = Recording(call_id, started_at)
        self.counts["recordings"] += 1
        if self._closing.is_set():
            self._fail(recording, "the process is ending")
        elif len(self._to_decode) >= limits.RECORDINGS_WAITING:
            self._fail(recording, f"{len(self._to_decode)} recordings wait to be decoded already")
        else:
            self._entries[call_id] = _Entry(recording)
        return recording

    def finish(self, recording: Recording) -> None:
        """Its call is over. Never waits; idempotent."""
        if recording.state == "running":
            recording.state = "waiting"

    def find(self, call_id: str, suffix: Literal[".wav", ".json"] = ".wav") -> Path | None:
        """The recording of a call, or its waveform, if it is there. `call_id` may be anything that anybody sent."""
        return self.folder.find(call_id, suffix)

    def close(self) -> None:
        """No more recordings: `run` ends when those that there are have been decoded."""
        self._closing.set()

    async def run(self, task_status: Started) -> None:
        self._all_written = False
        task_status.started()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch_unwritten)
                nursery.start_soon(self._write_all)
                await self._decode_all()
                nursery.cancel_scope.cancel()
        finally:
            for entry in self._entries.values():  # no thread is at work any more
                if entry.spool is not None:
                    entry.spool.close()
                    entry.spool = None

    async def _write_all(self) -> None:
        while not self._all_written:
            with trio.move_on_after(self.flush_seconds):
                await self._closing.wait()
            if closing := self._closing.is_set():
                for entry in self._entries.values():
                    self.finish(entry.recording)
            await self._write_once()
            self._all_written = closing
            self._changed.set()

    async def _write_once(self) -> None:
        batch = [entry for entry in self._entries.values() if not entry.written]
        for entry in batch:
            entry.take()
        if batch:
            await self._in_thread(self._write_in_thread, batch)
        for entry in batch:
            if entry.trouble:
                self._fail(entry.recording, entry.trouble)
            if entry.recording.state != "failed":
                if entry.last:
                    entry.written = True
                    self._to_decode.append(entry)
            elif entry.spool is None:  # else it failed meanwhile, and its spool goes with the next batch
                del self._entries[entry.recording.call_id]

    def _write_in_thread(self, batch: Sequence[_Entry]) -> None:
        for entry in batch:
            trio.from_thread.check_cancelled()
            with self._guarded(entry):
                if entry.recording.state != "failed":
                    entry.write(self.folder)
            if entry.trouble or entry.recording.state == "failed":
                with self._guarded(entry):
                    entry.discard()

    @contextmanager
    def _guarded(self, entry: _Entry) -> Iterator[None]:
        """An actor barrier round the work on one recording, in a thread: what fails is that one, and nothing else."""
        try:
            yield
        except OSError as exc:
            entry.trouble = (
                f"{exc.strerror or exc}; make room in {self.folder.path}, or set RECORDINGS to another folder"
            )
        except Unrecordable as exc:
            entry.trouble = str(exc)
        except Exception:  # noqa: BLE001  # an actor barrier
            _log.exception("recording_broke", call_id=entry.recording.call_id)
            entry.trouble = "an error of ours, which the log has"

    def _fail(self, recording: Recording, why: str) -> None:
        if recording.state != "failed":
            recording.fail(why)
            self.counts["recordings_failed"] += 1
            _log.warning("recording_failed", call_id=recording.call_id, why=why)

    async def _watch_unwritten(self) -> None:
        """While the disk takes less than is said, recordings fail, the largest first, until the rest fits in memory."""
        while True:
            await trio.sleep(self.flush_seconds)
            sizes = {}
            for entry in list(self._entries.values()):
                sizes[entry] = entry.unwritten_bytes
                await trio.lowlevel.checkpoint()  # a second of one call's frames at a time
            excess_bytes = sum(sizes.values()) - self.most_unwritten_bytes
            for entry in sorted(sizes, key=lambda one: sizes[one], reverse=True):
                if excess_bytes <= 0:
                    break
                excess_bytes -= sizes[entry]
                entry.in_hand = ([], [])
                self._fail(entry.recording, f"the disk of {self.folder.path} is too slow for the calls' audio")

    async def _decode_all(self) -> None:
        """One after the other: those that were finished here first, then those left behind. Ends with `close`."""
        left_behind: list[str] = []
        look_at = -inf
        while True:
            if trio.current_time() >= look_at:
                left_behind = await self._in_thread(self._look_in_thread)
                look_at = trio.current_time() + self.sweep_seconds
            elif self._to_decode:
                await self._decode(self._to_decode[0])
                self._to_decode.popleft()
                look_at = -inf  # there may be one too many
            elif self._all_written:
                return
            elif left_behind:
                await self._decode_left_behind(left_behind.pop(0))
            else:
                self._changed = trio.Event()
                with trio.move_on_at(look_at):
                    await self._changed.wait()

    def _look_in_thread(self) -> list[str]:
        """Remove what is too old or too much; the calls whose spools were left behind."""
        try:
            self.counts["recordings_removed"] += self.folder.sweep()
            found = self.folder.left_behind()
        except OSError as exc:
            _log.warning("recordings_not_looked_at", folder=str(self.folder.path), error=exc.strerror or str(exc))
            return []
        self._given_up = {call_id for call_id in self._given_up if self.folder.has_spool(call_id)}
        return [call_id for call_id in found if call_id not in self._entries and call_id not in self._given_up]

    async def _in_thread(self, work: Callable[..., T], *arguments: Any) -> T:
        """`work` raises nothing. Waits while the system gives no thread: what is unwritten is bounded meanwhile."""
        while True:
            try:
                return await trio.to_thread.run_sync(work, *arguments)
            except RuntimeError as exc:
                self.counts["recordings_without_a_thread"] += 1
                _log.info("recorder_waits_for_a_thread", error=str(exc))
            await trio.sleep(self.flush_seconds)

    async def _decode(self, entry: _Entry) -> None:
        recording = entry.recording
        made = await self._in_thread(self._decode_in_thread, entry)
        del self._entries[recording.call_id]
        if made or (not entry.trouble and self.find(recording.call_id)):
            recording.state = "ready"
            self.counts["recordings_ready"] += 1
        else:
            self._given_up.add(recording.call_id)
            self._fail(recording, entry.trouble or "its spool was taken away")

    async def _decode_left_behind(self, call_id: str) -> None:
        entry = _Entry(Recording(call_id, 0.0, state="waiting"))
        made = await self._in_thread(self._decode_in_thread, entry)
        if made:
            self.counts["recordings_left_behind"] += 1
            _log.info("recording_recovered", call_id=call_id)
        elif entry.trouble:
            self._given_up.add(call_id)
            _log.warning("recording_not_recovered", call_id=call_id, why=entry.trouble)

    def _decode_in_thread(self, entry: _Entry) -> bool:
        """Whether there is a recording now. If not, and there is no trouble, another process has the spool."""
        with self._guarded(entry):
            entry.spool = entry.spool or self.folder.adopt_spool(entry.recording.call_id)
            if entry.spool is None:
                return False
            try:
                self.folder.decode(entry.spool, self._breathe)
            finally:
                entry.spool.close()
                entry.spool = None
            return True
        return False

    def _breathe(self) -> None:
        """Between two windows: the event loop never waits for more than one of them."""
        trio.from_thread.check_cancelled()
        if not self._closing.is_set():
            time.sleep(limits.RECORD_BREATH_SECONDS)
