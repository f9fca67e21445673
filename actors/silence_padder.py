"""SilencePadder owns the sending half of the caller's socket."""

from math import inf

import attrs
import trio

from actors.tail import Tail, silence_behind
from runtime import limits
from runtime.channels import AssistantStarted, AssistantStopped, AudioReceiveChannel, CallerInterrupted, TurnEvent
from runtime.errors import CallerStalled
from runtime.leg import Audio, Leg, LegClosed, LegStalled, Passing
from runtime.record import CallRecord
from runtime.settings import TailMode
from runtime.supervisor import Started


@attrs.define
class SilencePadder:
    """Writes the agent's audio to the caller, and the tail of silence that each stretch of speech owes.

    `burst`: chunks go out as Vapi sent them, and the tail at once. `paced`: 20 ms frames in real time,
    the tail too. Speech that arrives cuts the rest of a tail: the queue always goes first. A tail that falls due while
    a tool is called, or before the assistant speaks of its answer (runtime/tool_pause.py), is held until that is over.
    Ends: with `agent_audio`, once all of it is written; a tail is cut then. A caller who reads nothing for
    DOWNLINK_STALL_SECONDS raises CallerStalled.
    Restart: never; what is owed would be forgotten.
    Cancelled: what is in hand and queued is lost, and counted; the tail stays unpaid.
    """

    agent_audio: AudioReceiveChannel
    leg: Leg
    record: CallRecord
    mode: TailMode
    tail: Tail = attrs.field(factory=Tail)
    _next_frame_at: float = 0.0
    _inserted_bytes: int = 0
    _held_until: float = -inf
    """The tail that is owed was due, and waits until then at least."""

    async def run(self, task_status: Started) -> None:
        task_status.started()
        most_bytes = limits.FRAME_BYTES if self.mode == "paced" else None
        try:
            while True:
                if self.mode == "paced":
                    await trio.sleep_until(self._next_frame_at)  # then take all that has come for it
                at_once = self._pass_on if self.mode == "burst" else None
                item = await self.agent_audio.receive_by(self._due_at(), most_bytes, at_once)
                if isinstance(item, bytes):
                    await self._speak(item)
                elif item is not None:
                    self._on_turn(item)
                elif trio.current_time() >= self._due_at() and not self._hold():  # else something has passed meanwhile
                    await self._pay()
        except trio.EndOfChannel:
            return
        finally:
            self.record.counts["downlink_bytes_discarded"] += self.agent_audio.close()
            self._report_tail(cut=True)

    def _on_turn(self, event: TurnEvent) -> None:
        pause, now = self.record.tool_pause, trio.current_time()
        match event:
            case AssistantStarted():
                self.tail.on_started()
                pause.on_started(now)
            case AssistantStopped():
                self.tail.on_stopped()
            case CallerInterrupted():
                pause.on_interrupted()
        if pause.ends_by(now) <= now:
            self._held_until = -inf

    def _due_at(self) -> float:
        return max(self.tail.due_at(), self._held_until)

    def _hold(self) -> bool:
        """Whether the tail, which is due, must wait for what comes of a tool call. It may be paid when the pause ends:
        a paced one begins that much earlier, for speech would cut it."""
        now = trio.current_time()
        lasts_seconds = limits.TAIL_SECONDS if self.mode == "paced" else 0.0
        until = self.record.tool_pause.ends_by(now) - lasts_seconds
        if until > now:
            self.record.counts["tails_held"] += self._held_until == -inf
            self._held_until = until
            return True
        self.record.counts["tails_held_in_vain"] += self._held_until > -inf  # nothing was said behind the answer
        self._held_until = -inf
        return False

    def _pass_on(self, audio: Passing) -> bool:
        """Not what begins a stretch of speech: the tail is due at a time then, and `run` must wait no longer."""
        pcm = audio.pcm
        behind = silence_behind(pcm)
        passed_on = (self.tail.owed or behind is None) and self.leg.offer(audio)
        if passed_on:
            self._on_sent(pcm, behind)
        return passed_on

    async def _speak(self, pcm: bytes) -> None:
        with self.record.in_hand(pcm, "downlink_bytes_discarded"):
            await self._send(pcm)
        self._on_sent(pcm, silence_behind(pcm))

    def _on_sent(self, pcm: bytes, silent_bytes: int | None) -> None:
        record = self.record
        counts = record.counts
        counts["downlink_frames"] += 1
        counts["downlink_bytes"] += len(pcm)
        if record.recording is not None:
            record.recording.agent.append((trio.current_time(), pcm))
        if counts["downlink_bytes"] >= record.agent_level.look_at_bytes:
            record.agent_level.look(pcm[: limits.FRAME_BYTES], record.age_seconds, counts["downlink_bytes"])
        audible = silent_bytes is not None
        self.tail.on_sent(len(pcm), silent_bytes, trio.current_time())
        if self._inserted_bytes and (audible or not self.tail.owed):
            self._report_tail(cut=audible)

    async def _pay(self) -> None:
        """The rest of the tail, until it is paid, or the queue has something to say or has ended."""
        most_bytes = limits.FRAME_BYTES if self.mode == "paced" else limits.TAIL_PIECE_BYTES
        while self.tail.owed and not self.agent_audio.ready():
            piece = self.tail.next_piece(most_bytes)
            if self.mode == "paced" or not self.leg.offer(Audio(piece)):
                await self._send(piece)
            if self.record.recording is not None:
                self.record.recording.agent.append((trio.current_time(), piece))
            self._inserted_bytes += len(piece)
            self.record.counts["tail_bytes"] += len(piece)
            self.tail.on_paid(piece)
        if not self.tail.owed:
            self._report_tail(cut=False)

    def _report_tail(self, *, cut: bool) -> None:
        if not self._inserted_bytes:
            return
        self.record.counts["tails_cut" if cut else "tails"] += 1
        self.record.counts["tails_overdue"] += self.tail.overdue
        seconds = self._inserted_bytes / limits.AUDIO_BYTES_PER_SECOND
        self.record.event("runtime", "tail", seconds=round(seconds, 3), overdue=self.tail.overdue, cut=cut)
        self._inserted_bytes = 0
        self.tail.overdue = False

    async def _send(self, pcm: bytes) -> None:
        if self.mode == "paced":
            await trio.sleep_until(self._next_frame_at)
            self._next_frame_at = (
                max(self._next_frame_at, trio.current_time()) + len(pcm) / limits.AUDIO_BYTES_PER_SECOND
            )
        try:
            await self.leg.send_audio(pcm)
        except LegStalled:
            raise CallerStalled from None
        except LegClosed:
            await trio.sleep_forever()  # the caller is gone: the reader tells how, and the call ends
