"""The folder of the recordings, as it is seen from outside."""

from pathlib import Path
from typing import Final

import attrs
import trio

from bench.failure import BenchFailure
from bench.processes import Program

WAV_HEADER_BYTES: Final = 44
WAV_BYTES_PER_SECOND: Final = 24_000 * 2 * 2  # 24 kHz, PCM16, stereo
DECODED_SECONDS: Final = 60.0
POLL_SECONDS: Final = 0.05


@attrs.frozen
class Recordings:
    folder: Path

    async def wait_decoded(self, calls: int, program: Program) -> float:
        """Until so many are there. How long they are, all together, in seconds. Raises BenchFailure."""
        wavs: list[Path] = []
        with trio.move_on_after(DECODED_SECONDS):
            while len(wavs := list(self.folder.glob("c-*.wav"))) < calls:
                program.check()
                await trio.sleep(POLL_SECONDS)
            return sum((path.stat().st_size - WAV_HEADER_BYTES) / WAV_BYTES_PER_SECOND for path in wavs)
        why = f"{program.name}: {len(wavs)} of {calls} recordings were there after {DECODED_SECONDS:g} s"
        raise BenchFailure(why, program.last_lines)

    def remove_all(self) -> None:
        """Those that are whole: what is still being written is its owner's."""
        for suffix in (".wav", ".json"):
            for path in self.folder.glob(f"c-*{suffix}"):
                path.unlink(missing_ok=True)
