"""Paired ratios, ours / theirs: each of one repetition, in which both ran one after the other."""

from collections.abc import Callable, Sequence
from typing import Final

from bench.alternations import Audio
from bench.bridges import Kind, Transport
from bench.plan import MEMORY_FROM_CALLS, MEMORY_TO_CALLS
from bench.spread import Spread
from bench.windows import MemoryPoint, Window

FRAMES_PER_SECOND: Final = 50
Place = tuple[Transport, int, int]
"""Transport, number of calls, repetition."""


def paired(windows: Sequence[Window], theirs: Kind, value: Callable[[Window], float]) -> dict[str, list[float]]:
    """By `tls_20` and the like, one ratio per repetition in which both were measured."""
    by_place: dict[tuple[Place, Kind], Window] = {
        ((window.transport, window.calls, window.repetition), window.bridge): window for window in windows
    }
    ratios: dict[str, list[float]] = {}
    for (place, bridge), window in by_place.items():
        other = by_place.get((place, theirs))
        if bridge == "ours" and other is not None:
            ratios.setdefault(f"{place[0]}_{place[1]}", []).append(value(window) / value(other))
    return ratios


def slopes_mib(points: Sequence[MemoryPoint], kind: Kind, transport: Transport) -> dict[int, float]:
    """By repetition, MiB of RSS per call between 10 and 100 calls."""
    rss = {
        (point.repetition, point.calls): point.memory.rss_mib
        for point in points
        if point.bridge == kind and point.transport == transport
    }
    return {
        repetition: (rss[repetition, MEMORY_TO_CALLS] - low) / (MEMORY_TO_CALLS - MEMORY_FROM_CALLS)
        for (repetition, calls), low in rss.items()
        if calls == MEMORY_FROM_CALLS and (repetition, MEMORY_TO_CALLS) in rss
    }


def all_spreads(audio: Audio) -> dict[str, Spread]:
    """By the key of a bar or of `latest.json`: CPU as `tls_20`, the floor as `floor_plain_100`, the rest prefixed."""
    values = dict(paired(audio.windows, "reference", lambda window: window.cpu_per_call))
    for key, ratios in paired(audio.windows, "relay", lambda window: window.cpu_per_call).items():
        values[f"floor_{key}"] = ratios
    for key, ratios in paired(audio.windows, "reference", lambda window: window.p99_ms).items():
        values[f"p99_{key}"] = ratios
    for transport in sorted({point.transport for point in audio.memory}):
        ours, theirs = (slopes_mib(audio.memory, kind, transport) for kind in ("ours", "reference"))
        both = [repetition for repetition in ours if repetition in theirs]
        values[f"memory_slope_{transport}"] = [ours[repetition] / theirs[repetition] for repetition in both]
    values["p99_ms_100"] = _worst_p99_ms(audio.windows)
    return {key: Spread.of(measured) for key, measured in values.items() if measured}


def _worst_p99_ms(windows: Sequence[Window]) -> list[float]:
    """Ours at 100 calls, per repetition the worse transport."""
    worst: dict[int, float] = {}
    for window in windows:
        if window.bridge == "ours" and window.calls == MEMORY_TO_CALLS:
            worst[window.repetition] = max(worst.get(window.repetition, 0.0), window.p99_ms)
    return list(worst.values())


def harmed_at_100(audio: Audio, seconds: float) -> list[int]:
    """Ours, per window of that length; one that could not be measured lost all of its frames."""
    at_100 = [window.harmed for window in audio.windows if window.bridge == "ours" and window.calls == MEMORY_TO_CALLS]
    all_frames = int(seconds * 2 * FRAMES_PER_SECOND * MEMORY_TO_CALLS)
    failed = [window for window in audio.failed if window.bridge == "ours" and window.calls == MEMORY_TO_CALLS]
    return at_100 + [all_frames] * len(failed)
