"""`latest.json`: the ratios and their spread, and all that lies behind them. Pure but for the machine's own data."""

import os
import platform
from collections.abc import Callable, Sequence
from importlib import metadata
from typing import Any, Final

import attrs

from bench.bridges import KINDS, Kind
from bench.outcome import Outcome
from bench.pods import MANNERS as PODS_MANNERS
from bench.pods import PodsFound
from bench.ratios import slopes_mib
from bench.spread import Latency, Spread
from bench.watching import MANNERS, TRANSPORT, Looked, Manner, WatchedWindow, Watching
from bench.watching_figures import kib_per_call, more_ms_per_second, of_manner, ratio, slope_between
from bench.windows import Window

UNIT: Final = "cpu_seconds_per_call_second"
PACKAGES: Final = ("trio", "uvloop", "picows", "aiofastnet", "fastapi", "uvicorn", "websockets", "httpx")


def document(outcome: Outcome, *, finished_at: str) -> dict[str, Any]:
    """Ratios are ours / theirs, medians; `iqr` holds their quartiles as [q1, q3], the floor's as `floor_…`."""
    spreads = outcome.spreads
    cpu = {key: spread for key, spread in spreads.items() if key.startswith(("tls_", "plain_"))}
    floor = {key: spread for key, spread in spreads.items() if key.startswith("floor_")}
    return {
        "schema": 1,
        "unit": UNIT,
        "ratios": {key: _round(spread.median) for key, spread in cpu.items()},
        "floor": {key.removeprefix("floor_"): _round(spread.median) for key, spread in floor.items()},
        "n": min((spread.n for spread in cpu.values()), default=0),
        "iqr": {key: [_round(spread.q1), _round(spread.q3)] for key, spread in (cpu | floor).items()},
        "verdicts": [
            {
                "key": verdict.bar.key, "what": verdict.bar.what, "outcome": verdict.outcome, "why": verdict.why,
                "limit": verdict.bar.limit, "goal": verdict.bar.goal, "unit": verdict.bar.unit,
                **_spread(verdict.spread),
            }
            for verdict in outcome.verdicts
        ],
        "audio": _audio(outcome.audio.windows),
        "not_measured": [attrs.asdict(failed) for failed in outcome.audio.failed],
        "memory": _memory(outcome),
        "setup_ms": _short_calls(outcome),
        "webhook_ms": _webhooks(outcome),
        "growth": {"ends": outcome.growth_ends, "windows": [_growth(window) for window in outcome.growth]},
        "watching": _watching(outcome.watching),
        "pods": _pods(outcome.pods),
        "plan": attrs.asdict(outcome.plan),
        "machine": _machine(),
        "finished_at": finished_at,
    }  # fmt: skip


def _round(value: float) -> float:
    return float(f"{value:.4g}")


def _spread(spread: Spread) -> dict[str, Any]:
    return {"n": spread.n, "median": _round(spread.median), "q1": _round(spread.q1), "q3": _round(spread.q3)}


def _of(windows: Sequence[Window], value: Callable[[Window], float]) -> dict[str, Any]:
    return _spread(Spread.of([value(window) for window in windows]))


def _audio(windows: Sequence[Window]) -> dict[str, Any]:
    """By bridge, then by `tls_20` and the like."""
    told: dict[str, Any] = {}
    for kind in KINDS:
        for key, of_one in grouped(windows, kind).items():
            told.setdefault(kind, {})[key] = {
                UNIT: _of(of_one, lambda window: window.cpu_per_call),
                "cpu_us_per_frame": _of(of_one, lambda window: window.cpu_us_per_frame),
                "up_ms": _latency([window.up for window in of_one]),
                "down_ms": _latency([window.down for window in of_one]),
                "rss_mib": _of(of_one, lambda window: window.memory.rss_mib),
                "load_share": _of(of_one, lambda window: window.load_share),
                "late_share": _of(of_one, lambda window: window.late_share),
                "frames": sum(window.frames for window in of_one),
                "lost": sum(window.lost for window in of_one),
                "reordered": sum(window.reordered for window in of_one),
                "damaged": sum(window.damaged for window in of_one),
            }
    return told


def grouped(windows: Sequence[Window], kind: Kind) -> dict[str, list[Window]]:
    """One bridge's windows by `tls_20` and the like, the fewest calls first."""
    groups: dict[str, list[Window]] = {}
    for window in sorted(windows, key=lambda window: (window.transport, window.calls)):
        if window.bridge == kind:
            groups.setdefault(f"{window.transport}_{window.calls}", []).append(window)
    return groups


def _latency(latencies: Sequence[Latency]) -> dict[str, Any]:
    """Percentiles are of a window each, and then the median of the windows; `max` is of all."""
    return {
        "p50": _round(Spread.of([latency.p50_ms for latency in latencies]).median),
        "p99": _round(Spread.of([latency.p99_ms for latency in latencies]).median),
        "max": _round(max(latency.max_ms for latency in latencies)),
    }


def _memory(outcome: Outcome) -> dict[str, Any]:
    told: dict[str, Any] = {}
    points = outcome.audio.memory
    for kind in KINDS:
        for transport in outcome.plan.transports:
            at: dict[int, list[float]] = {}
            for point in points:
                if (point.bridge, point.transport) == (kind, transport):
                    at.setdefault(point.calls, []).append(point.memory.rss_mib)
            slopes = slopes_mib(points, kind, transport)
            told.setdefault(kind, {})[transport] = {
                "rss_mib": {str(calls): _spread(Spread.of(values)) for calls, values in sorted(at.items())},
                "slope_mib_per_call": _spread(Spread.of([*slopes.values()])) if slopes else None,
            }
    return told if points else {}


def _short_calls(outcome: Outcome) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for kind in KINDS:
        for transport in outcome.plan.transports:
            rounds = [one for one in outcome.short_calls if (one.bridge, one.transport) == (kind, transport)]
            if rounds:
                ends = [one.end_seen for one in rounds if one.end_seen is not None]
                told.setdefault(kind, {})[transport] = {
                    "setup": _latency([one.setup for one in rounds]),
                    "hang_up_to_closed": _latency([one.closed for one in rounds]),
                    "hang_up_to_end_seen": _latency(ends) if ends else None,
                }
    return told


def _webhooks(outcome: Outcome) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for kind in KINDS:
        for concurrent in outcome.plan.concurrent:
            rounds = [one for one in outcome.webhooks if (one.bridge, one.concurrent) == (kind, concurrent)]
            if rounds:
                told.setdefault(kind, {})[str(concurrent)] = {
                    "whole": _latency([one.whole for one in rounds]),
                    "less_the_tool": _latency([one.overhead for one in rounds]),
                    "tool_measured": all(one.own_time_known for one in rounds),
                }
    return told


def _growth(window: Window) -> dict[str, Any]:
    return {
        "bridge": window.bridge, "calls": window.calls, "cpu_share": _round(window.bridge_share),
        "cpu_us_per_frame": _round(window.cpu_us_per_frame), "rss_mib": _round(window.memory.rss_mib),
        "p99_ms": _round(window.p99_ms), "load_share": _round(window.load_share), "harmed": window.harmed,
    }  # fmt: skip


def _watching(watching: Watching) -> dict[str, Any]:
    """By manner, then by `tls_20` and the like; ratios are theirs / ours."""
    windows = watching.windows
    told: dict[str, Any] = {}
    for manner in MANNERS:
        slope = kib_per_call(windows, manner)
        told[manner] = {"kib_per_call": slope and _spread(slope)}
        for calls, of_one in of_manner(windows, manner).items():
            told[manner][f"{TRANSPORT}_{calls}"] = _watched(windows, manner, calls, of_one)
    told["kib_per_call_between_calls"] = slope_between(windows)
    if decodings := [one.cpu_per_call_minute for one in watching.decodings]:
        told["decoding_cpu_seconds_per_call_minute"] = _spread(Spread.of(decodings))
    told["not_measured"] = [attrs.asdict(failed) for failed in watching.failed]
    return told if windows or watching.failed else {}


def _watched(
    windows: Sequence[WatchedWindow], manner: Manner, calls: int, of_one: Sequence[WatchedWindow]
) -> dict[str, Any]:
    plain = [one.window for one in of_one]
    paired = {
        "cpu_ratio": ratio(windows, manner, calls, lambda window: window.cpu_per_call),
        "p99_ratio": ratio(windows, manner, calls, lambda window: window.p99_ms),
        "more_cpu_ms_per_second": more_ms_per_second(windows, manner, calls),
    }
    return {
        UNIT: _of(plain, lambda window: window.cpu_per_call),
        **{name: _spread(spread) for name, spread in paired.items() if spread is not None and manner != "ours"},
        "p99_ms": _of(plain, lambda window: window.p99_ms),
        "rss_mib": _of(plain, lambda window: window.memory.rss_mib),
        "load_share": _of(plain, lambda window: window.load_share),
        "late_share": _of(plain, lambda window: window.late_share),
        **{name: sum(getattr(window, name) for window in plain) for name in ("frames", "lost", "reordered", "damaged")},
        **_looked([one.looked for one in of_one if one.looked is not None]),
    }


def _pods(found: PodsFound) -> dict[str, Any]:
    """By manner, then by `tls_20` and the like: calls of each pod. Ratios are two pods / one."""
    told: dict[str, Any] = {}
    for calls in sorted({one.calls for one in found.windows}):
        for manner in PODS_MANNERS:
            of_one = found.of(manner, calls)
            if not of_one:
                continue
            plain = [one.window for one in of_one]
            told.setdefault(manner, {})[f"{TRANSPORT}_{calls}"] = {
                UNIT: _of(plain, lambda window: window.cpu_per_call),
                "p99_ms": _of(plain, lambda window: window.p99_ms),
                "rss_mib": _of(plain, lambda window: window.memory.rss_mib),
                "harmed": sum(window.harmed for window in plain),
                "tools": sum(one.posts for one in of_one),
            }
        ratios = {"cpu_ratio": found.ratio(calls, calls), "cpu_ratio_same_calls_in_all": found.ratio(calls, calls * 2)}
        for name, spread in ratios.items():
            if spread is not None:
                told["two_pods"][f"{TRANSPORT}_{calls}"][name] = _spread(spread)
    if nginx := found.nginx_ms_per_tool():
        told["nginx_cpu_ms_per_tool"] = _spread(nginx)
    return told | ({"not_measured": found.failed} if found.failed else {})


def _looked(looked: Sequence[Looked]) -> dict[str, Any]:
    if not looked:
        return {}
    return {
        "states_per_second": _spread(Spread.of([one.states_per_second for one in looked])),
        "stream_bytes_per_second": _spread(Spread.of([one.stream_bytes_per_second for one in looked])),
        "scrape_bytes": _spread(Spread.of([one.scrape_bytes for one in looked])),
    }


def _machine() -> dict[str, Any]:
    return {
        "python": platform.python_version(),
        "system": platform.system(),
        "architecture": platform.machine(),
        "cores": os.cpu_count(),
        "packages": {name: metadata.version(name) for name in PACKAGES},
    }
