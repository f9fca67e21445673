"""Words to sound, offline: recordings made beforehand, or plain tones where the words do not matter.

A recording lies in a folder under ``sha256(voice, rate, text)[:16].wav``. It is rendered once, by a developer who has
Debian's ``flite`` (``python -m simulation.speech render scenarios/*.yaml``); running a scenario needs no synthesiser.
"""

import hashlib
import math
import subprocess
import sys
import tempfile
import wave
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

import attrs

from simulation.pcm import BYTES_PER_SAMPLE, SAMPLE_RATE_HZ, bytes_for
from simulation.scenario import Say, Scenario, ScenarioError, load_scenario

CALLER_VOICE = "slt"
AGENT_VOICE = "rms"
RENDER_SECONDS = 30.0
SWEEP_HZ_PER_SECOND = 37.0


class SpeechError(Exception):
    """There is no sound for a text; the message is one line that says what to do."""


class Voice(Protocol):
    """Anything that can say a text."""

    def pcm(self, voice: str, text: str) -> bytes:
        """PCM16 24 kHz mono. Raises SpeechError when it has no sound for the text."""


def file_name(voice: str, text: str) -> str:
    """The name of the recording of ``text`` by ``voice`` at this project's rate."""
    key = f"{voice}\n{SAMPLE_RATE_HZ}\n{text}".encode()
    return f"{hashlib.sha256(key).hexdigest()[:16]}.wav"


@attrs.frozen
class Speech:
    """A folder of recordings. Each file is read once and kept: ``_read`` grows to what the folder holds."""

    folder: Path
    _read: dict[str, bytes] = attrs.field(factory=dict, repr=False)

    def pcm(self, voice: str, text: str) -> bytes:
        """The recording of ``text``.

        :raises SpeechError: it was not rendered, or the file is not PCM16 24 kHz mono.
        """
        name = file_name(voice, text)
        if name not in self._read:
            path = self.folder / name
            if not path.exists():
                raise SpeechError(
                    f"no recording of {text!r} by {voice} in {self.folder}; "
                    "render it with: python -m simulation.speech render SCENARIO.yaml (needs Debian's flite)"
                )
            self._read[name] = read_wav(path)
        return self._read[name]


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


def read_wav(path: Path) -> bytes:
    """The samples of a WAV file.

    :raises SpeechError: missing, broken, or not PCM16 24 kHz mono.
    """
    try:
        with wave.open(str(path), "rb") as recording:
            shape = (recording.getnchannels(), recording.getsampwidth(), recording.getframerate())
            pcm = recording.readframes(recording.getnframes())
    except (OSError, EOFError, wave.Error) as error:
        raise SpeechError(f"{path} cannot be read: {error}; render it again") from error
    if shape != (1, BYTES_PER_SAMPLE, SAMPLE_RATE_HZ):
        raise SpeechError(f"{path} is not mono PCM16 at {SAMPLE_RATE_HZ} Hz; convert it")
    return pcm


def write_wav(path: Path, pcm: bytes, channels: int = 1) -> None:
    """PCM16 at this project's rate; ``pcm`` interleaved when there are several channels."""
    with wave.open(str(path), "wb") as recording:
        recording.setnchannels(channels)
        recording.setsampwidth(BYTES_PER_SAMPLE)
        recording.setframerate(SAMPLE_RATE_HZ)
        recording.writeframes(pcm)


def spoken_lines(scenario: Scenario) -> list[tuple[str, str]]:
    """Every (voice, text) a scenario needs, each once."""
    lines = [(CALLER_VOICE, step.text) for step in scenario.caller if isinstance(step, Say)]
    lines += [(AGENT_VOICE, turn.say) for turn in scenario.agent if turn.say]
    return list(dict.fromkeys(lines))


def render(voice: str, text: str) -> bytes:
    """Speak ``text`` with flite, resample to 24 kHz, trim the silence round it.

    The same text gives the same bytes (the command line of flite 2.2 is deterministic).

    :raises SpeechError: flite is missing, fails, or takes longer than RENDER_SECONDS.
    """
    from simulation.resampler import resample_pcm
    from simulation.voice_activity import speech_segments

    # flite spells some typographic signs out; a comma is the pause they stand for.
    plain = text.replace(" — ", ", ").replace("—", ", ").replace("\u2019", "'")
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "said.wav"
        try:
            subprocess.run(
                ["flite", "-voice", voice, "-t", plain, "-o", str(target)],
                check=True,
                capture_output=True,
                timeout=RENDER_SECONDS,
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise SpeechError(f"flite could not speak {text!r}: {error}; apt-get install flite") from error
        with wave.open(str(target), "rb") as recording:
            pcm = resample_pcm(recording.readframes(recording.getnframes()), recording.getframerate(), SAMPLE_RATE_HZ)
    segments = speech_segments(pcm)
    if not segments:
        raise SpeechError(f"flite made no sound of {text!r}; write words")
    return pcm[segments[0].start * BYTES_PER_SAMPLE : segments[-1].end * BYTES_PER_SAMPLE]


def render_scenarios(paths: Iterable[Path], folder: Path) -> list[Path]:
    """Render what is missing in ``folder``; returns the files made.

    :raises SpeechError, ScenarioError: see :func:`render` and :func:`simulation.scenario.load_scenario`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for path in paths:
        for voice, text in spoken_lines(load_scenario(path)):
            target = folder / file_name(voice, text)
            if not target.exists():
                write_wav(target, render(voice, text))
                made.append(target)
    return made


def main(arguments: list[str]) -> int:
    """``python -m simulation.speech render SCENARIO…``: recordings go to ``audio`` beside the first scenario."""
    if len(arguments) < 2 or arguments[0] != "render":
        sys.stderr.write("use: python -m simulation.speech render SCENARIO.yaml ...\n")
        return 2
    paths = [Path(argument) for argument in arguments[1:]]
    try:
        made = render_scenarios(paths, paths[0].parent / "audio")
    except (SpeechError, ScenarioError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write("".join(f"{path} {path.stat().st_size} bytes\n" for path in made) or "nothing to render\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
