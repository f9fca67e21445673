"""A run, or a search, as one picture."""

from collections.abc import Sequence
from math import nan
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stress.plan import IDLE_SHARE, P99_MS
from stress.sample import Result
from stress.verdict import first_full


def draw(results: Sequence[Result], path: Path) -> None:
    """One run over its seconds; several over their number of calls."""
    figure = Figure(figsize=(10, 8), layout="constrained")
    latency, use = figure.subplots(2, 1, sharex=True)
    if len(results) == 1:
        _draw_run(latency, use, results[0])
    else:
        _draw_search(latency, use, sorted(results, key=lambda result: result.plan.calls))
    latency.axhline(P99_MS, color="red", linewidth=0.8, linestyle=":")
    latency.set_ylabel("added latency, ms")
    latency.set_ylim(bottom=0)
    use.axhline(IDLE_SHARE, color="red", linewidth=0.8, linestyle=":")
    use.set_ylabel("share of a core; idle: of the machine")
    use.set_ylim(0, 1.05)
    for axes in (latency, use):
        axes.grid(alpha=0.3)
        axes.legend(loc="upper left")
    figure.savefig(path, dpi=110)


def _draw_run(latency: Axes, use: Axes, result: Result) -> None:
    samples = result.samples
    seconds = [sample.at_seconds for sample in samples]
    latency.plot(seconds, _drawn([sample.p50_ms for sample in samples]), label="p50")
    latency.plot(seconds, _drawn([sample.p99_ms for sample in samples]), label="p99")
    calls = latency.twinx()
    calls.plot(seconds, [sample.up for sample in samples], color="grey", linewidth=0.8, linestyle="--")
    calls.set_ylabel("calls up (dashed)")
    calls.set_ylim(bottom=0)
    for name in dict.fromkeys(name for sample in samples for name in sample.cpu):
        use.plot(seconds, _drawn([sample.cpu.get(name) for sample in samples]), label=name)
    use.plot(seconds, _drawn([sample.idle for sample in samples]), color="black", label="idle")
    use.set_xlabel("seconds")
    full = first_full(samples)
    latency.set_title(f"{result.plan.calls} calls; full first: {full}")


def _draw_search(latency: Axes, use: Axes, results: Sequence[Result]) -> None:
    calls = [result.plan.calls for result in results]
    for way in ("up", "down"):
        of_way = [getattr(result.latencies, way) for result in results]
        for share, style in ((0.5, ":"), (0.95, "--"), (0.99, "-")):
            values = _drawn([histogram.percentile_ms(share) for histogram in of_way])
            colour = "tab:blue" if way == "up" else "tab:orange"
            latency.plot(calls, values, f"o{style}", color=colour, label=f"{way}link p{share:.0%}".replace("%", ""))
    for name in dict.fromkeys(name for result in results for name in result.cpu):
        use.plot(calls, _drawn([result.cpu.get(name) for result in results]), "o-", label=name)
    use.plot(calls, _drawn([result.idle for result in results]), "o-", color="black", label="idle")
    use.set_xlabel("calls")
    latency.set_title("added latency and use, by number of calls")


def _drawn(values: Sequence[float | None]) -> list[float]:
    """What is not known is a hole in the line."""
    return [nan if value is None else value for value in values]
