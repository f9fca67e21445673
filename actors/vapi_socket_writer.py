"""VapiSocketWriter owns the sending half of Vapi's socket."""

from contextlib import suppress

import attrs
import trio

from runtime import limits
from runtime.channels import AudioReceiveChannel
from runtime.errors import VapiLost
from runtime.leg import Leg, LegClosed, LegStalled, Passing
from runtime.record import CallRecord
from runtime.supervisor import Started

_SILENT_FRAME = bytes(limits.FRAME_BYTES)


@attrs.define
class VapiSocketWriter:
    """Carries `caller_audio` to Vapi, and 20 ms zero frames while the caller's line is silent.

    Vapi's end-of-turn detection counts what it hears: gaps stall it, and audio faster than real time
    breaks it. So the zero frames begin UPLINK_SILENT_SECONDS after the last frame, one per 20 ms.
    Ends: with `caller_audio`. A Vapi that takes nothing for UPLINK_STALL_SECONDS raises VapiLost, unless it has said
    goodbye: then what it last said is played out, and what is meant for it is discarded.
    Restart: never; the silence since the last frame would be forgotten.
    Cancelled: the frame in hand and what is queued are lost, and counted.
    """

    caller_audio: AudioReceiveChannel
    leg: Leg
    record: CallRecord
    _silent_frame_at: float = 0.0
    _wakes_at: float = 0.0

    async def run(self, task_status: Started) -> None:
        task_status.started()
        self._silent_frame_at = trio.current_time() + limits.UPLINK_SILENT_SECONDS
        try:
            while True:
                self._wakes_at = self._silent_frame_at
                pcm = await self.caller_audio.receive_by(self._silent_frame_at, at_once=self._pass_on)
                now = trio.current_time()
                if isinstance(pcm, bytes):
                    self._silent_frame_at = now + limits.UPLINK_SILENT_SECONDS
                    await self._forward(pcm)
                elif now >= self._silent_frame_at:  # else something has passed meanwhile
                    self._silent_frame_at = now + limits.FRAME_SECONDS
                    await self._fill_in()
        except (trio.EndOfChannel, trio.ClosedResourceError):
            return
        finally:
            self.record.counts["uplink_bytes_discarded"] += self.caller_audio.close()

    def _pass_on(self, audio: Passing) -> bool:
        passed_on = self.leg.offer(audio)
        if passed_on:
            self._silent_frame_at = trio.current_time() + limits.UPLINK_SILENT_SECONDS
            if self._silent_frame_at - self._wakes_at > limits.UPLINK_SILENT_SECONDS / 2:  # not for every frame
                self._wakes_at = self._silent_frame_at
                self.caller_audio.postpone(self._wakes_at)
            self._count(audio.size_bytes)
        return passed_on

    def _count(self, size_bytes: int) -> None:
        counts = self.record.counts
        counts["uplink_frames"] += 1
        counts["uplink_bytes"] += size_bytes

    async def _forward(self, pcm: bytes) -> None:
        # How Vapi's socket ended is told by the watcher; until then the caller is not held up.
        with suppress(LegClosed), self.record.in_hand(pcm, "uplink_bytes_discarded"):
            await self._send(pcm)
            self._count(len(pcm))

    async def _fill_in(self) -> None:
        with suppress(LegClosed):
            await self._send(_SILENT_FRAME)
            self.record.counts["uplink_silent_frames"] += 1

    async def _send(self, pcm: bytes) -> None:
        try:
            await self.leg.send_audio(pcm)
        except LegStalled:
            if self.record.vapi_said_goodbye:
                raise LegClosed from None
            raise VapiLost(f"Vapi took no audio for {limits.UPLINK_STALL_SECONDS:g} s") from None
