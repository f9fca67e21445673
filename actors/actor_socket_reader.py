"""ActorSocketReader owns the receiving half of the caller's socket."""

from contextlib import suppress

import attrs
import trio

from runtime.channels import AudioSendChannel
from runtime.leg import Audio, Closed, Leg, Passing
from runtime.record import CallRecord, Ending
from runtime.supervisor import Started


@attrs.define
class ActorSocketReader:
    """Carries the caller's audio into `caller_audio`; past it, while whoever takes it from there can do so at once.

    Backpressure: a full channel stops the reads, and TCP then stops the caller.
    Ends: with the caller's socket; its result is the call's ending. A violation raises CallerError.
    Restart: never; the end of its input is the end of the call.
    Cancelled: the message in hand is lost, and counted.
    """

    leg: Leg
    caller_audio: AudioSendChannel
    record: CallRecord

    async def run(self, task_status: Started) -> Ending:
        task_status.started()
        try:
            while True:
                received = await self.leg.receive(at_once=self._pass_on)
                if isinstance(received, Audio):
                    await self._forward(received.pcm)
                elif isinstance(received, Closed):
                    how = (
                        "the caller closed" if received.orderly else f"the caller's connection broke ({received.code})"
                    )
                    return Ending("caller", "call_ended", detail=how)
        finally:
            self.caller_audio.close()

    def _pass_on(self, audio: Passing) -> bool:
        passed_on = self.caller_audio.offer(audio)
        if passed_on:
            self._count(audio)
        return passed_on

    def _count(self, audio: Passing) -> None:
        record = self.record
        counts = record.counts
        counts["caller_frames"] += 1
        counts["caller_bytes"] += audio.size_bytes
        if record.recording is not None:
            record.recording.caller.append((trio.current_time(), audio))
        if counts["caller_bytes"] >= record.caller_level.look_at_bytes:
            record.caller_level.look(audio.first_frame, record.age_seconds, counts["caller_bytes"])

    async def _forward(self, pcm: bytes) -> None:
        if not pcm:
            return
        self._count(Audio(pcm))
        # Nobody takes it any more: the call is ending, and the caller must not be held up.
        with suppress(trio.BrokenResourceError), self.record.in_hand(pcm, "uplink_bytes_discarded"):
            await self.caller_audio.send(pcm)
