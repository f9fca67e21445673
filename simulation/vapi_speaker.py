"""The downlink: the assistant's voice, sent as Vapi sends it.

Measured on the live service (rvoip): chunks of about 46 ms in pairs, then a gap; sizes irregular and sometimes odd, so
that a PCM16 sample can straddle two; real time on average. What is cut short still ends on a whole sample.
"""

import random
import struct
from collections.abc import Callable

import attrs
import trio

from simulation.behaviour import Behaviour
from simulation.pcm import BYTES_PER_SAMPLE, bytes_for, seconds_of

SIZE_SPREAD = 0.15
CATCH_UP_ROUNDS = 4

Outbox = trio.MemorySendChannel[str | bytes]


@attrs.define(eq=False)
class Speaker:
    """Plays one text at a time into ``outbox``.

    Mutable: ``playing``, ``_cut`` (set to stop what plays), ``_queued`` (bytes put into the outbox so far).
    ``resumptions`` gets the position of each text that follows one that was cut.
    """

    outbox: Outbox
    behaviour: Callable[[], Behaviour]
    rng: random.Random
    resumptions: list[int]
    playing: bool = False
    _queued: int = 0
    _cut: trio.Event = attrs.field(factory=trio.Event, repr=False)

    async def play(self, pcm: bytes, cut: trio.Event) -> bool:
        """Send ``pcm`` in real time; True when it was played out, False when ``cut`` was set.

        Returns when the last sample would have been played. Cancelled: the rest is not sent.
        """
        if self._cut.is_set():
            self.resumptions.append(self._queued)
        self._cut = cut
        self.playing = True
        try:
            start = trio.current_time()
            position = 0
            while position < len(pcm) and not await self._cut_before(start + seconds_of(position) + self._late()):
                for _ in range(self.behaviour().chunks_on_end):
                    chunk = pcm[position : position + self._size()]
                    position += len(chunk)
                    if chunk:
                        await self._send(chunk)
            if self._cut.is_set() and position % BYTES_PER_SAMPLE:
                await self._send(pcm[position : position + 1])
            return not await self._cut_before(start + seconds_of(len(pcm)))
        finally:
            self.playing = False

    def cut(self) -> bool:
        """Stop what plays, at once; False when it was stopped already."""
        if self._cut.is_set():
            return False
        self._cut.set()
        return True

    @property
    def was_cut(self) -> bool:
        """What plays, or played last, was stopped."""
        return self._cut.is_set()

    async def stream_silence(self) -> None:
        """While ``streams_silence`` is set and nothing plays, send silence at the same cadence; never returns."""
        due = trio.current_time()
        while True:
            behaviour = self.behaviour()
            round_seconds = behaviour.chunks_on_end * behaviour.chunk_ms / 1000
            due = max(due + round_seconds, trio.current_time() - CATCH_UP_ROUNDS * round_seconds)
            await trio.sleep_until(due)
            if self.behaviour().streams_silence and not self.playing:
                await self._send(self._silence(bytes_for(round_seconds)))

    def _silence(self, length: int) -> bytes:
        """Zero PCM, or a noise floor no louder than ``silence_peak``."""
        peak = self.behaviour().silence_peak
        if not peak:
            return bytes(length)
        samples = [self.rng.randint(-peak, peak) for _ in range(length // BYTES_PER_SAMPLE)]
        return struct.pack(f"<{len(samples)}h", *samples)

    async def _send(self, chunk: bytes) -> None:
        self._queued += len(chunk)
        await self.outbox.send(chunk)

    async def _cut_before(self, when: float) -> bool:
        with trio.move_on_at(when):
            await self._cut.wait()
        return self._cut.is_set()

    def _late(self) -> float:
        return self.rng.uniform(0.0, self.behaviour().jitter_ms) / 1000

    def _size(self) -> int:
        behaviour = self.behaviour()
        size = bytes_for(behaviour.chunk_ms / 1000 * self.rng.uniform(1 - SIZE_SPREAD, 1 + SIZE_SPREAD))
        odd = behaviour.odd_chunks and self.rng.random() < 0.3
        return max(BYTES_PER_SAMPLE, size) + (1 if odd else 0)
