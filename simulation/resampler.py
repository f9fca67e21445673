"""Changing the sample rate by a ratio of whole numbers: a polyphase windowed-sinc filter.

Method: interpolation by L, low-pass, decimation by M, with only the taps that meet real samples computed. The filter is
a Kaiser-windowed sinc (beta 9: about -90 dB outside the pass band) that cuts just below the lower of the two Nyquist
frequencies, so that nothing folds back. The output is aligned with the input: no delay.
"""

from math import gcd

import numpy as np
import numpy.typing as npt

HALF_WIDTH_SAMPLES = 32
KAISER_BETA = 9.0
PASS_FRACTION = 0.94
"""Share of the lower Nyquist frequency that passes; the rest is the filter's slope."""

Samples = npt.NDArray[np.float64]


def resample(samples: Samples, from_hz: int, to_hz: int) -> Samples:
    """``samples`` (one channel, any scale) at ``to_hz``; ``ceil(len * to / from)`` of them.

    :raises ValueError: a rate that is not positive.
    """
    if from_hz <= 0 or to_hz <= 0:
        raise ValueError("rates are in hertz and positive")
    common = gcd(from_hz, to_hz)
    up, down = to_hz // common, from_hz // common
    if up == down or not len(samples):
        return samples.copy()
    taps, half = _filter(up, down)
    count = -(-len(samples) * up // down)
    reach = half // up
    padded = np.concatenate([np.zeros(reach), samples, np.zeros(reach + 1)])
    offsets = np.arange(-reach, reach + 1)
    windows = np.lib.stride_tricks.sliding_window_view(padded, len(offsets))
    output = np.zeros(count)
    # Output sample n sits at n*down/up input samples. Every up-th has the same phase, and down samples lie between.
    for n in range(min(up, count)):
        first, phase = divmod(n * down, up)
        chosen = windows[first::down][: len(output[n::up])]
        # Not a product of matrices: those are summed in an order that depends on the machine's threads.
        output[n::up] = np.einsum("ij,j->i", chosen, _weights(taps, half, phase, offsets * up))
    return output


def _weights(taps: Samples, half: int, phase: int, steps: npt.NDArray[np.int64]) -> Samples:
    index = half + phase - steps
    inside = (index >= 0) & (index < len(taps))
    return np.where(inside, taps[np.clip(index, 0, len(taps) - 1)], 0.0)


def _filter(up: int, down: int) -> tuple[Samples, int]:
    """Taps at the rate of the interpolated signal, gain ``up``, and the index of the middle one."""
    half = HALF_WIDTH_SAMPLES * max(up, down)
    half -= half % up
    cutoff = PASS_FRACTION / max(up, down)
    at = np.arange(-half, half + 1)
    taps = cutoff * np.sinc(cutoff * at) * np.kaiser(2 * half + 1, KAISER_BETA)
    return taps * (up / taps.sum()), half


def resample_pcm(pcm: bytes, from_hz: int, to_hz: int) -> bytes:
    """The same for PCM16 little-endian bytes, rounded and clipped."""
    samples = np.frombuffer(pcm, dtype="<i2").astype(np.float64)
    rounded = np.rint(resample(samples, from_hz, to_hz))
    return np.clip(rounded, -32768, 32767).astype("<i2").tobytes()
