"""What a run found out, as one picture."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.bars import BARS
from bench.bridges import KINDS
from bench.outcome import Outcome
from bench.results import grouped
from bench.spread import Spread
from bench.windows import Window

COLOURS: Final = {"ours": "#1b6ca8", "reference": "#c0504d", "relay": "#7f7f7f"}


def draw(outcome: Outcome, path: Path) -> None:
    figure = Figure(figsize=(13, 9), layout="constrained")
    (ratios, cpu), (latency, growth) = figure.subplots(2, 2)
    _draw_ratios(ratios, outcome)
    _draw_bars(cpu, outcome, "CPU us per frame", lambda window: window.cpu_us_per_frame)
    _draw_bars(latency, outcome, "p99 added latency, ms", lambda window: window.p99_ms)
    _draw_growth(growth, outcome.growth)
    figure.suptitle(f"bench: {outcome.plan.repetitions} repetitions, windows of {outcome.plan.seconds:g} s")
    figure.savefig(path, dpi=110)


def _draw_ratios(axes: Axes, outcome: Outcome) -> None:
    """Median and quartiles; the bar as a red mark, the goal as a green one."""
    spreads = {
        key: spread for key, spread in outcome.spreads.items() if key.startswith(("tls_", "plain_", "floor_plain_"))
    }
    bars = {bar.key: bar for bar in BARS}
    for row, (key, spread) in enumerate(spreads.items()):
        axes.plot([spread.q1, spread.q3], [row, row], color=COLOURS["ours"], linewidth=6, alpha=0.4)
        axes.plot([spread.median], [row], "o", color=COLOURS["ours"])
        bar = bars.get(key)
        if bar is not None:
            axes.plot([bar.limit], [row], "|", color="red", markersize=20)
            if bar.goal is not None:
                axes.plot([bar.goal], [row], "|", color="green", markersize=20)
    axes.set_yticks(range(len(spreads)), list(spreads))
    axes.set_title("CPU per call, ours / the reference (floor: / the relay); red: bar, green: goal")
    axes.set_xlim(left=0)
    axes.grid(axis="x", alpha=0.3)


def _draw_bars(axes: Axes, outcome: Outcome, title: str, value: Callable[[Window], float]) -> None:
    groups = {kind: grouped(outcome.audio.windows, kind) for kind in KINDS}
    keys = list(dict.fromkeys(key for kind in KINDS for key in groups[kind]))
    for number, kind in enumerate(KINDS):
        spreads = [Spread.of([value(window) for window in groups[kind].get(key, ())] or [0.0]) for key in keys]
        places = [place + (number - 1) * 0.27 for place in range(len(keys))]
        medians = [spread.median for spread in spreads]
        reach = [[s.median - s.q1 for s in spreads], [s.q3 - s.median for s in spreads]]
        axes.bar(places, medians, 0.25, yerr=reach, label=kind, color=COLOURS[kind], ecolor="black", capsize=2)
    axes.set_xticks(range(len(keys)), keys)
    axes.set_title(f"{title} (whiskers: quartiles)")
    if keys:
        axes.legend()


def _draw_growth(axes: Axes, windows: Sequence[Window]) -> None:
    """CPU on the left, memory on the right and dashed."""
    memory = axes.twinx()
    for kind in KINDS:
        of_one = [window for window in windows if window.bridge == kind]
        calls = [window.calls for window in of_one]
        axes.plot(calls, [window.bridge_share for window in of_one], "o-", label=kind, color=COLOURS[kind])
        memory.plot(calls, [window.memory.rss_mib for window in of_one], ".--", color=COLOURS[kind], alpha=0.6)
    axes.set_title("growth, TLS to Vapi: share of a core (solid), RSS in MiB (dashed, right)")
    axes.set_xlabel("calls")
    axes.set_ylim(0, 1.05)
    axes.grid(alpha=0.3)
    if windows:
        axes.legend(loc="upper left")
