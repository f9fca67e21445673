"""VapiSocketWriter owns the sending half of Vapi's socket."""

from contextlib import suppress

import attrs
import trio

from runtime import limits
from runtime.channels import AudioReceiveChannel
from runtime.errors import VapiLost
from runtime.leg import Leg, LegClosed, LegStalled
from runtime.record import CallRecord
from runtime.supervisor import Started

_SILENT_FRAME = bytes(limits.FRAME_BYTES)


@attrs.define
class VapiSocketWriter:
    """Carries `caller_audio` to Vapi, and 20 ms zero frames while the caller's line is silent.

    Vapi's end-of-turn detection counts what it hears: gaps stall it, and audio faster than real time
    breaks it. So the zero frames begin UPLINK_SILENT_SECONDS after the last frame, one per 20 ms.
    Ends: with `caller_audio`; closed under it, after the frame in hand. A Vapi that takes nothing for
    UPLINK_STALL_SECONDS raises VapiLost, unless it has said goodbye: then what it last said is played out, and
    what is meant for it is discarded.
    Restart: never; half a frame may be on the wire.
    Cancelled: the frame in hand and what is queued are lost, and counted; the leg may be torn.
    """

    caller_audio: AudioReceiveChannel
    leg: Leg
    record: CallRecord

    async def run(self, task_status: Started) -> None:
        task_status.started()
        silent_frame_at = trio.current_time() + limits.UPLINK_SILENT_SECONDS
        try:
            while True:
                pcm = await self.caller_audio.receive_by(silent_frame_at)
                if isinstance(pcm, bytes):
                    silent_frame_at = trio.current_time() + limits.UPLINK_SILENT_SECONDS
                    await self._forward(pcm)
                else:
                    silent_frame_at = max(silent_frame_at, trio.current_time()) + limits.FRAME_SECONDS
                    await self._fill_in()
        except (trio.EndOfChannel, trio.ClosedResourceError):
            return
        finally:
            self.record.counts["uplink_bytes_discarded"] += self.caller_audio.close()

    async def _forward(self, pcm: bytes) -> None:
        # How Vapi's socket ended is told by the watcher; until then the caller is not held up.
        with suppress(LegClosed), self.record.in_hand(pcm, "uplink_bytes_discarded"):
            await self._send(pcm)
            self.record.counts["uplink_frames"] += 1
            self.record.counts["uplink_bytes"] += len(pcm)

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
