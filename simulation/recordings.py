"""Recordings of spoken lines: what flite makes, and the files it is kept in.

A line is kept as flite speaks it, without the silence round it and with no pause above 300 ms: FLAC, PCM16, 16 kHz,
mono, under ``sha256(voice, text)[:16].flac``. Reading brings it to this project's 24 kHz.
"""

import hashlib
import os
import subprocess
import tempfile
import wave
from pathlib import Path

import numpy as np

from simulation.pcm import BYTES_PER_SAMPLE, SAMPLE_RATE_HZ
from simulation.resampler import resample_pcm
from simulation.voice_activity import speech_segments

RECORDING_RATE_HZ = 16_000
RENDER_SECONDS = 30.0
MAX_PAUSE_SAMPLES = RECORDING_RATE_HZ * 300 // 1000
"""What is left of a longer pause: 300 ms, below the 400 ms that end a turn."""


class SpeechError(Exception):
    """There is no sound for a text; the message is one line that says what to do."""


class NoRecording(SpeechError):
    """Nobody has recorded the text, and there is no flite to speak it."""


def file_name(voice: str, text: str) -> str:
    """The name of the recording of ``text`` by ``voice``."""
    key = f"{voice}\n{text}".encode()
    return f"{hashlib.sha256(key).hexdigest()[:16]}.flac"


def cache_folder() -> Path:
    """Where lines are kept that were rendered on the way: ``voice-sandbox`` in the user's caches."""
    caches = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(caches) if Path(caches).is_absolute() else Path.home() / ".cache") / "voice-sandbox"


def read_recording(path: Path) -> bytes:
    """PCM16 24 kHz mono.

    :raises SpeechError: the file is missing, broken, or not of the shape of a recording; or soundfile is not installed.
    """
    try:
        # Here: it takes a tenth of a second and more, and who speaks in tones never needs it.
        import soundfile

        samples, rate_hz = soundfile.read(path, dtype="int16", always_2d=True)
    except (OSError, ImportError, RuntimeError) as error:
        raise SpeechError(f"{path} cannot be read: {error}; render it again") from error
    if samples.shape[1] != 1 or rate_hz != RECORDING_RATE_HZ:
        raise SpeechError(f"{path} is not mono at {RECORDING_RATE_HZ} Hz; render it again")
    return resample_pcm(samples.astype("<i2").tobytes(), RECORDING_RATE_HZ, SAMPLE_RATE_HZ)


def write_recording(path: Path, pcm: bytes) -> None:
    """``pcm``: PCM16 16 kHz mono. The file appears whole or not at all.

    :raises OSError: it cannot be written.
    """
    import soundfile

    handle, partial = tempfile.mkstemp(dir=path.parent, suffix=".part")
    os.close(handle)
    try:
        samples = np.frombuffer(pcm, dtype="<i2")
        soundfile.write(partial, samples, RECORDING_RATE_HZ, "PCM_16", format="FLAC", compression_level=1.0)
        Path(partial).chmod(0o644)
        os.replace(partial, path)
    finally:
        Path(partial).unlink(missing_ok=True)


def render(voice: str, text: str) -> bytes:
    """Speak ``text`` with flite: PCM16 16 kHz mono, the silence round it trimmed. Blocks for about 0.1 s.

    The same text gives the same bytes (the command line of flite 2.2 is deterministic).

    :raises SpeechError: flite is missing, fails, or takes longer than RENDER_SECONDS.
    """
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
            with wave.open(str(target), "rb") as recording:
                rate_hz, pcm = recording.getframerate(), recording.readframes(recording.getnframes())
        except (OSError, EOFError, wave.Error, subprocess.SubprocessError) as error:
            raise SpeechError(f"flite could not speak {text!r}: {error}; apt-get install flite") from error
    return _trimmed(resample_pcm(pcm, rate_hz, RECORDING_RATE_HZ), text)


def _trimmed(pcm: bytes, text: str) -> bytes:
    """Without the silence round it, and with no pause that an assistant would take for the end of a turn."""
    spoken = speech_segments(resample_pcm(pcm, RECORDING_RATE_HZ, SAMPLE_RATE_HZ), min_silence_ms=20)
    if not spoken:
        raise SpeechError(f"flite made no sound of {text!r}; write words")
    # Segments begin and end on whole 10 ms, so these are whole samples at either rate.
    ends = [at * RECORDING_RATE_HZ // SAMPLE_RATE_HZ for segment in spoken for at in (segment.start, segment.end)]
    kept, start = b"", ends[0]
    for pause_start, pause_end in zip(ends[1:-1:2], ends[2::2], strict=True):
        if pause_end - pause_start > MAX_PAUSE_SAMPLES:
            kept += pcm[start * BYTES_PER_SAMPLE : (pause_start + MAX_PAUSE_SAMPLES // 2) * BYTES_PER_SAMPLE]
            start = pause_end - MAX_PAUSE_SAMPLES // 2
    return kept + pcm[start * BYTES_PER_SAMPLE : ends[-1] * BYTES_PER_SAMPLE]


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
