"""What a telephone line does to speech: a narrow band, noise, gaps. The same seed damages the same bytes alike.

Method: the band is that of a line sampled at ``band_hz`` (down and up again with this project's resampler). The noise
is white within that band; its level is measured against the speech alone, pauses left out, as the field states an SNR.
Gaps come last, as packets lost behind everything else.
"""

import random

import numpy as np
import numpy.typing as npt

from simulation.pcm import SAMPLE_RATE_HZ
from simulation.resampler import resample
from simulation.scenario import Gaps, PhoneLine
from simulation.voice_activity import speech_segments

Samples = npt.NDArray[np.float64]
BAND_STEP_HZ = 100
"""A band is rounded to this: a rate without a large common divisor with 24,000 Hz would take seconds to resample."""
LOWEST, HIGHEST = -32_768, 32_767


def damaged(pcm: bytes, line: PhoneLine, rng: random.Random) -> bytes:
    """``pcm`` (PCM16, 24 kHz, mono) as it comes out of ``line``, as long as it went in.

    Draws from ``rng`` the same number of times whatever the line does, so that one damage does not move another.
    """
    noise_seed, phase = rng.getrandbits(64), rng.random()
    if line == PhoneLine() or not pcm:
        return pcm
    speech = _in_band(np.frombuffer(pcm, dtype="<i2").astype(np.float64), line.band_hz)
    if line.snr_db is not None:
        noise = _in_band(np.random.Generator(np.random.PCG64(noise_seed)).standard_normal(len(speech)), line.band_hz)
        wanted = _level(speech, pcm) * 10 ** (-line.snr_db / 20)
        speech = speech + noise * (wanted / np.sqrt(np.mean(noise**2)))
    if line.gaps is not None:
        speech[_lost(len(speech), line.gaps, phase)] = 0.0
    return np.clip(np.rint(speech), LOWEST, HIGHEST).astype("<i2").tobytes()


def _in_band(samples: Samples, band_hz: int | None) -> Samples:
    if band_hz is None or band_hz >= SAMPLE_RATE_HZ:
        return samples
    rate_hz = round(band_hz / BAND_STEP_HZ) * BAND_STEP_HZ
    narrow = resample(samples, SAMPLE_RATE_HZ, rate_hz)
    return resample(narrow, rate_hz, SAMPLE_RATE_HZ)[: len(samples)]


def _level(samples: Samples, pcm: bytes) -> float:
    """RMS of the speech in ``samples``; where it lies is found in ``pcm``, which it was made of. 0.0 without any."""
    parts = [samples[part.start : part.end] for part in speech_segments(pcm)]
    return float(np.sqrt(np.mean(np.concatenate(parts) ** 2))) if parts else 0.0


def _lost(count: int, gaps: Gaps, phase: float) -> npt.NDArray[np.bool_]:
    """Of every ``every_ms`` the last ``lose_ms``; ``phase`` (0 to 1) of the first period is over already."""
    period = gaps.every_ms * SAMPLE_RATE_HZ // 1000
    kept = (gaps.every_ms - gaps.lose_ms) * SAMPLE_RATE_HZ // 1000
    return (np.arange(count) + int(phase * period)) % period >= kept
