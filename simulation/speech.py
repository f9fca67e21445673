"""Words to sound, offline: recordings made beforehand, or plain tones where the words do not matter.

The lines of the shipped scenarios are recorded (see :mod:`simulation.recordings`), so running one needs no synthesiser.
``python -m simulation.speech render scenarios/*.yaml`` records what is missing beside the scenarios, with Debian's
``flite``; ``prune`` removes what no scenario beside them needs.
"""

import hashlib
import math
import shutil
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import attrs

from simulation.ear import REPROMPT
from simulation.pcm import BYTES_PER_SAMPLE, SAMPLE_RATE_HZ, bytes_for
from simulation.recordings import (
    RECORDING_RATE_HZ,
    NoRecording,
    SpeechError,
    cache_folder,
    file_name,
    read_recording,
    read_wav,
    render,
    write_recording,
    write_wav,
)
from simulation.resampler import resample_pcm
from simulation.scenario import Backchannel, Persona, Say, Scenario, ScenarioError, load_scenario

CALLER_VOICE = Persona().voice
"""Of a caller whose scenario names no other."""
AGENT_VOICE = "rms"
SWEEP_HZ_PER_SECOND = 37.0

__all__ = [
    "AGENT_VOICE", "CALLER_VOICE", "NoRecording", "Speech", "SpeechError", "Tones", "Voice", "caller_lines",
    "file_name", "read_wav", "spoken_lines", "write_wav",
]  # fmt: skip


class Voice(Protocol):
    """Anything that can say a text."""

    def pcm(self, voice: str, text: str) -> bytes:
        """PCM16 24 kHz mono. Raises SpeechError when it has no sound for the text."""


@attrs.frozen
class Speech:
    """A folder of recordings; what is missing there is rendered into ``cache`` where flite is installed.

    ``cache``: None is the user's cache folder. Each recording is read once and kept: ``_read`` grows to the lines that
    were said.
    """

    folder: Path
    cache: Path | None = None
    _read: dict[str, bytes] = attrs.field(factory=dict, repr=False)

    def pcm(self, voice: str, text: str) -> bytes:
        """The recording of ``text``. Blocks for a few milliseconds; for about 0.1 s where it must be rendered.

        :raises SpeechError: there is none and flite is not installed, or the file is no recording.
        """
        name = file_name(voice, text)
        if name not in self._read:
            self._read[name] = self._find(name, voice, text)
        return self._read[name]

    def prepare(self, scenario: Scenario) -> None:
        """Have everything at hand that is said in ``scenario``, so that nothing blocks during the call.

        :raises SpeechError: see :meth:`pcm`.
        """
        for voice, text in spoken_lines(scenario):
            self.pcm(voice, text)

    def require(self, lines: Iterable[tuple[str, str]]) -> None:
        """See that each (voice, text) has a recording, or can get one. Reads none.

        :raises NoRecording: the first that has none.
        """
        if shutil.which("flite") is not None:
            return
        for voice, text in lines:
            name = file_name(voice, text)
            if not ((self.folder / name).exists() or (self._cache / name).exists()):
                raise NoRecording(
                    f"no recording of {text!r} by {voice} in {self.folder}; install Debian's flite, or render it where "
                    "there is one: python -m simulation.speech render SCENARIO.yaml"
                )

    @property
    def _cache(self) -> Path:
        return self.cache or cache_folder()

    def _find(self, name: str, voice: str, text: str) -> bytes:
        for path in (self.folder / name, self._cache / name):
            if path.exists():
                return read_recording(path)
        self.require([(voice, text)])
        pcm, cached = render(voice, text), self._cache / name
        # Without a cache it is rendered again next time, and that is all.
        with suppress(OSError):
            cached.parent.mkdir(parents=True, exist_ok=True)
            write_recording(cached, pcm)
        return resample_pcm(pcm, RECORDING_RATE_HZ, SAMPLE_RATE_HZ)


@attrs.frozen
class Tones:
    """A stand-in voice: a rising tone, ``ms_per_word`` long for each word. No files, no flite: for tests and load.

    Each text begins at a pitch of its own and no two 20 ms of it are alike, so that a frame lost, doubled or swapped
    shows in a comparison. What was made is kept: ``_made`` grows to the texts of the scenarios in use.
    """

    ms_per_word: int = 120
    level_dbfs: float = -18.0
    _made: dict[tuple[str, str], bytes] = attrs.field(factory=dict, repr=False)

    def pcm(self, voice: str, text: str) -> bytes:
        """A tone as long as the text, audible from its first frame to its last."""
        if (voice, text) not in self._made:
            self._made[voice, text] = self._make(voice, text)
        return self._made[voice, text]

    def _make(self, voice: str, text: str) -> bytes:
        hertz = 180.0 + hashlib.sha256(f"{voice}\n{text}".encode()).digest()[0]
        peak = 32_768 * 10 ** (self.level_dbfs / 20) * math.sqrt(2)
        seconds = self.ms_per_word / 1000 * max(1, len(text.split()))
        times = (n / SAMPLE_RATE_HZ for n in range(bytes_for(seconds) // BYTES_PER_SAMPLE))
        wave_form = (peak * math.sin(2 * math.pi * (hertz + SWEEP_HZ_PER_SECOND * t) * t) for t in times)
        return b"".join(round(sample).to_bytes(2, "little", signed=True) for sample in wave_form)


def caller_lines(scenario: Scenario) -> list[tuple[str, str]]:
    """Every (voice, text) of the caller."""
    voice = scenario.persona.voice
    return [(voice, step.text) for step in scenario.caller if isinstance(step, Say | Backchannel)]


def spoken_lines(scenario: Scenario) -> list[tuple[str, str]]:
    """Every (voice, text) a scenario needs, each once: of its caller, of its agent, and the agent's reprompt."""
    filler = str(scenario.faults.vapi.get("filler", ""))
    said = [*(turn.say for turn in scenario.agent), filler, REPROMPT]
    return list(dict.fromkeys([*caller_lines(scenario), *((AGENT_VOICE, text) for text in said if text)]))


def render_scenarios(paths: Iterable[Path], folder: Path) -> tuple[list[Path], list[str]]:
    """Record what is missing in ``folder``; returns the files made, and a line for whatever could not be done."""
    folder.mkdir(parents=True, exist_ok=True)
    made, problems = [], []
    for path in paths:
        try:
            for voice, text in spoken_lines(load_scenario(path)):
                target = folder / file_name(voice, text)
                if not target.exists():
                    write_recording(target, render(voice, text))
                    made.append(target)
        except (ScenarioError, SpeechError) as error:
            problems.append(str(error))
    return made, problems


def prune_recordings(folder: Path) -> list[Path]:
    """Remove the recordings in ``folder`` that no scenario beside it needs; returns them.

    :raises ScenarioError: a scenario cannot be read; then nothing is removed.
    """
    needed = {
        file_name(voice, text)
        for path in sorted(folder.parent.glob("*.yaml"))
        for voice, text in spoken_lines(load_scenario(path))
    }
    unused = [path for path in sorted(folder.iterdir()) if path.suffix in (".flac", ".wav") and path.name not in needed]
    for path in unused:
        path.unlink()
    return unused


def main(arguments: list[str]) -> int:
    """``render`` or ``prune``, then scenarios; the recordings are in ``audio`` beside the first of them."""
    if len(arguments) < 2 or arguments[0] not in ("render", "prune"):
        sys.stderr.write("use: python -m simulation.speech render|prune SCENARIO.yaml ...\n")
        return 2
    paths = [Path(argument) for argument in arguments[1:]]
    folder = paths[0].parent / "audio"
    problems: list[str] = []
    if arguments[0] == "render":
        changed, problems = render_scenarios(paths, folder)
        told = [f"{path} {path.stat().st_size} bytes" for path in changed] or ["nothing to render"]
    else:
        try:
            told = [f"removed {path}" for path in prune_recordings(folder)] or ["nothing to remove"]
        except (ScenarioError, OSError) as error:
            told, problems = [], [str(error)]
    sys.stdout.write("".join(f"{line}\n" for line in told))
    sys.stderr.write("".join(f"{problem}\n" for problem in problems))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
