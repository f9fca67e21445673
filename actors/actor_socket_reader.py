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
            self._count(audio.size_bytes)
        return passed_on

    def _count(self, size_bytes: int) -> None:
        counts = self.record.counts
        counts["caller_frames"] += 1
        counts["caller_bytes"] += size_bytes

    async def _forward(self, pcm: bytes) -> None:
        if not pcm:
            return
        self._count(len(pcm))
        # Nobody takes it any more: the call is ending, and the caller must not be held up.
        with suppress(trio.BrokenResourceError), self.record.in_hand(pcm, "uplink_bytes_discarded"):
            await self.caller_audio.send(pcm)
