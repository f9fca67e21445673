"""The line's damage is the damage asked for: measured in the bytes that come out of it."""

import math
import random

import numpy as np
import numpy.typing as npt
import pytest
from timed_agent import tone

from simulation.pcm import SAMPLE_RATE_HZ, bytes_for
from simulation.phone_line import damaged
from simulation.scenario import Gaps, PhoneLine
from simulation.speech import Tones

WORDS = Tones().pcm("slt", "one two three four five")


def samples(pcm: bytes) -> npt.NDArray[np.float64]:
    return np.frombuffer(pcm, "<i2").astype(np.float64)


def level_db(signal: npt.NDArray[np.float64]) -> float:
    return 20 * math.log10(max(1e-9, float(np.sqrt(np.mean(signal**2)))))


def through(pcm: bytes, line: PhoneLine, seed: int = 1) -> bytes:
    return damaged(pcm, line, random.Random(seed))


def test_line_without_damage_returns_what_it_was_given() -> None:
    assert through(WORDS, PhoneLine()) == WORDS
    assert through(b"", PhoneLine(8_000, 10.0, Gaps(100, 10))) == b""


@pytest.mark.parametrize(("hertz", "loss_db"), [(300.0, 0.0), (3_400.0, 0.0), (4_600.0, 60.0), (9_000.0, 60.0)])
def test_line_of_8_khz_passes_nothing_above_half_of_it(hertz: float, loss_db: float) -> None:
    made = samples(through(tone(0.5, hertz=hertz), PhoneLine(8_000)))[1_000:-1_000]
    lost = level_db(samples(tone(0.5, hertz=hertz))) - level_db(made)
    assert lost == pytest.approx(0.0, abs=0.1) if not loss_db else lost > loss_db


@pytest.mark.parametrize("band", [None, 8_000])
@pytest.mark.parametrize("snr", [0.0, 15.0, 30.0])
def test_line_adds_noise_so_far_under_the_speech_and_within_the_band(band: int | None, snr: float) -> None:
    # The pause in the middle must not count: it would make the speech seem fainter than it is.
    pcm = tone(0.5) + bytes(bytes_for(1.0)) + tone(0.5)
    noise = samples(through(pcm, PhoneLine(band, snr))) - samples(through(pcm, PhoneLine(band)))
    assert level_db(samples(tone(0.5))) - level_db(noise) == pytest.approx(snr, abs=0.15)
    spectrum = np.abs(np.fft.rfft(noise)) ** 2
    above = spectrum[np.fft.rfftfreq(len(noise), 1 / SAMPLE_RATE_HZ) > 4_200].sum() / spectrum.sum()
    # Below a SNR of 30 dB the rounding to whole samples is all that is left above the band.
    assert above == pytest.approx(0.65, abs=0.03) if band is None else above < 0.001


def test_line_adds_no_noise_to_silence() -> None:
    assert not any(through(bytes(9_600), PhoneLine(snr_db=10.0)))


def test_line_loses_so_much_of_every_period_and_nothing_else() -> None:
    pcm = np.full(24_000, 1_000, "<i2").tobytes()
    made, given = samples(through(pcm, PhoneLine(gaps=Gaps(100, 25)))), samples(pcm)
    lost = made != given
    assert not made[lost].any()
    assert lost.mean() == pytest.approx(0.25, abs=0.01)
    begins = np.flatnonzero(np.diff(lost.astype(int)) == 1)
    assert np.diff(begins) == pytest.approx(2_400, abs=3)


def test_line_damages_alike_when_the_seed_is_the_same() -> None:
    line = PhoneLine(8_000, 20.0, Gaps(100, 25))
    assert through(WORDS, line) == through(WORDS, line)
    assert through(WORDS, line) != through(WORDS, line, seed=2)
    assert len(through(WORDS[:-2], line)) == len(WORDS) - 2
    # The gaps lie where they would without the noise.
    gaps_only = samples(through(WORDS, PhoneLine(gaps=Gaps(100, 25)))) == 0
    assert not samples(through(WORDS, line))[gaps_only & (samples(WORDS) != 0)].any()


def test_line_clips_what_is_too_loud() -> None:
    made = samples(through(tone(0.3, dbfs=-3.1), PhoneLine(snr_db=3.0)))
    assert (made.min(), made.max()) == (-32_768, 32_767)
