"""ControlMessageWatcher owns the receiving half of Vapi's socket."""

import attrs
import trio

from runtime import limits
from runtime.channels import AssistantStarted, AssistantStopped, AudioSendChannel, CallerInterrupted
from runtime.leg import Audio, Closed, Leg, Passing, Text
from runtime.record import CallRecord, Ending
from runtime.supervisor import Started
from runtime.vapi_messages import (
    SpeechUpdate,
    StatusUpdate,
    ToolCallsNotice,
    Transcript,
    Unknown,
    UserInterrupted,
    VapiMessage,
    parse_vapi_message,
)


@attrs.define
class ControlMessageWatcher:
    """Puts Vapi's audio and the turns' facts into `agent_audio`, in the order they came.

    Audio enters as whole samples: Vapi promises no framing, and a sample may straddle two messages. The
    odd byte waits here, before the queue, so that an interruption cannot throw away half a sample.
    Ends: with Vapi's socket, or with `status-update ended`, whichever comes first; its result is the
    call's ending. What is queued is still played out: the end of `agent_audio` is the end of the call.
    Restart: never; the odd byte and the place in the stream would be lost.
    Cancelled: the message in hand is lost; audio is counted.
    """

    leg: Leg
    agent_audio: AudioSendChannel
    record: CallRecord
    _odd_byte: bytes = b""
    _unknown: set[str] = attrs.field(factory=set)

    async def run(self, task_status: Started) -> Ending | None:
        task_status.started()
        try:
            while True:
                received = await self.leg.receive(at_once=self._pass_on)
                if isinstance(received, Audio):
                    await self._on_audio(received.pcm)
                elif isinstance(received, Text):
                    message = parse_vapi_message(received.data)
                    if isinstance(message, StatusUpdate) and message.status == "ended":
                        self.record.vapi_said_goodbye = True
                        return Ending("vapi", "call_ended", detail=message.ended_reason or "ended")
                    await self._on_message(message)
                else:
                    return self._ending(received)
        except trio.BrokenResourceError:
            return None  # the padder has ended, and has told why
        finally:
            self.record.counts["downlink_bytes_discarded"] += len(self._odd_byte)
            self.agent_audio.close()

    def _pass_on(self, audio: Passing) -> bool:
        if self._odd_byte or audio.size_bytes % 2:
            return self._pass_on_aligned(audio)
        passed_on = self.agent_audio.offer(audio)
        if passed_on:
            self._count(audio.size_bytes)
        return passed_on

    def _pass_on_aligned(self, audio: Passing) -> bool:
        pcm, odd_byte = self._aligned(audio.pcm)
        passed_on = bool(pcm) and self.agent_audio.offer(Audio(pcm))
        if passed_on:
            self._count(audio.size_bytes)
            self._keep(odd_byte)
        return passed_on

    def _aligned(self, pcm: bytes) -> tuple[bytes, bytes]:
        """Whole samples, and what is left for the next."""
        pcm = self._odd_byte + pcm
        whole = len(pcm) - len(pcm) % limits.SAMPLE_BYTES
        return pcm[:whole], pcm[whole:]

    def _keep(self, odd_byte: bytes) -> None:
        self._odd_byte = odd_byte
        self.record.counts["agent_frames_realigned"] += 1

    def _count(self, size_bytes: int) -> None:
        counts = self.record.counts
        counts["agent_frames"] += 1
        counts["agent_bytes"] += size_bytes

    async def _on_audio(self, pcm: bytes) -> None:
        self._count(len(pcm))
        if self._odd_byte or len(pcm) % 2:
            pcm, odd_byte = self._aligned(pcm)
            self._keep(odd_byte)
        if pcm:
            with self.record.in_hand(pcm, "downlink_bytes_discarded"):
                await self.agent_audio.send(pcm)

    async def _on_message(self, message: VapiMessage) -> None:
        match message:
            case SpeechUpdate(role="assistant", status="started", turn=turn):
                self.record.event("agent", "turn-started", turn=turn)
                await self.agent_audio.send(AssistantStarted())
            case SpeechUpdate(role="assistant", status="stopped", turn=turn):
                self.record.event("agent", "turn-stopped", turn=turn)
                await self.agent_audio.send(AssistantStopped())
            case SpeechUpdate(role="user", status=status, turn=turn):
                self.record.event("caller", f"turn-{status}", turn=turn, heard_by="vapi")
            case UserInterrupted():
                dropped_bytes = self.agent_audio.drop_audio()
                self.record.counts["interruptions"] += 1
                self.record.counts["interrupted_bytes"] += dropped_bytes
                dropped_seconds = dropped_bytes / limits.AUDIO_BYTES_PER_SECOND
                self.record.event("caller", "interrupted", dropped_seconds=round(dropped_seconds, 3))
                await self.agent_audio.send(CallerInterrupted(dropped_seconds))
            case Transcript(role=role, transcript=text, transcript_type="final"):
                self.record.event("caller" if role == "user" else "agent", "transcript", text=text)
            case StatusUpdate(status=status):
                self.record.event("vapi", "status", status=status)
            case Unknown(type=kind):
                self.record.counts["vapi_unknown_messages"] += 1
                if kind not in self._unknown and len(self._unknown) < limits.UNKNOWN_TYPES:
                    self._unknown.add(kind)  # told once: there may be one for every word
                    self.record.event("vapi", "unknown-message", type=kind[:40])
            case _:
                self.record.counts[f"vapi_{message.kind}"] += 1
                if isinstance(message, ToolCallsNotice):
                    self.record.tool_pause.on_announced(trio.current_time())

    def _ending(self, closed: Closed) -> Ending:
        if closed.orderly:
            self.record.vapi_said_goodbye = True
            return Ending("vapi", "call_ended", detail=f"Vapi closed its socket ({closed.code})")
        reason = self.record.masker.text(closed.reason)
        self.record.event("vapi", "lost", code=closed.code, reason=reason)
        how = f"{closed.code} {reason}".strip()
        return Ending("vapi", "vapi_lost", 1011, f"Vapi's socket broke ({how})")
