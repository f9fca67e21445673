"""What a run found out, as tables for a terminal."""

from collections.abc import Iterator
from typing import Final

from rich.console import Console
from rich.table import Table

from bench.bridges import KINDS
from bench.growth import LATE_SHARE
from bench.outcome import Outcome
from bench.pods import MANNERS as PODS_MANNERS
from bench.ratios import slopes_mib
from bench.results import grouped
from bench.spread import Spread
from bench.watching import MANNERS, Manner, WatchedWindow
from bench.watching_figures import kib_per_call, more_ms_per_second, of_manner, ratio, slope_between
from bench.windows import Window

FULL_LOAD_SHARE: Final = 0.85


def print_tables(outcome: Outcome, console: Console) -> None:
    made = (_audio, _ratios, _memory, _short_calls, _webhooks, _growth, _watching, _pods, _verdicts)
    for table in (table for make in made for table in make(outcome)):
        if table.row_count:
            console.print(table)
    measured = [(window.bridge, window) for window in outcome.audio.windows]
    for who, window in [*measured, *((one.manner, one.window) for one in outcome.watching.windows)]:
        place = f"not to be trusted: {window.transport}_{window.calls} {who}, repetition {window.repetition + 1}"
        if window.load_share > FULL_LOAD_SHARE:
            console.print(f"{place}: the load process used {window.load_share:.0%} of its core")
        if window.late_share > LATE_SHARE:
            console.print(f"{place}: the load process sent {window.late_share:.0%} of its frames late")
    for failed in [*outcome.audio.failed, *outcome.watching.failed]:
        place = f"{failed.transport}_{failed.calls} {failed.bridge}, repetition {failed.repetition + 1}"
        console.print(f"not measured: {place}: {failed.why}", highlight=False)
    for line in [*(f"growth: {end}" for end in outcome.growth_ends), *_watching_lines(outcome), *_pods_lines(outcome)]:
        console.print(line, highlight=False)


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 else "right", no_wrap=True)
    return table


def _shown(spread: Spread, digits: int = 2) -> str:
    """median [q1-q3]"""
    return f"{spread.median:.{digits}f} [{spread.q1:.{digits}f}-{spread.q3:.{digits}f}]"


def _by_number(key: str) -> tuple[str, int]:
    """`tls_20` behind `tls_1`, before `tls_100`."""
    transport, _, calls = key.rpartition("_")
    return transport, int(calls)


def _median(windows: list[Window], *path: str) -> float:
    """Of an attribute of an attribute of each."""

    def read(window: object) -> float:
        for name in path:
            window = getattr(window, name)
        return float(window)  # type: ignore[arg-type]

    return Spread.of([read(window) for window in windows]).median


def _audio(outcome: Outcome) -> Iterator[Table]:
    table = _table(
        "Audio: medians over the repetitions (quartiles); latency is what the bridge adds, in ms",
        "", "CPU ms per call s", "us per frame", "up p50/p99/max", "down p50/p99/max", "RSS MiB", "harmed", "load",
    )  # fmt: skip
    groups = {kind: grouped(outcome.audio.windows, kind) for kind in KINDS}
    for key in dict.fromkeys(key for kind in KINDS for key in groups[kind]):
        for kind in KINDS:
            of_one = groups[kind].get(key)
            if of_one:
                table.add_row(f"{key} {kind}", *_audio_row(of_one))
        table.add_section()
    yield table


def _audio_row(windows: list[Window]) -> Iterator[str]:
    yield _shown(Spread.of([window.cpu_per_call * 1e3 for window in windows]))
    yield _shown(Spread.of([window.cpu_us_per_frame for window in windows]), 1)
    for way in ("up", "down"):
        worst = max(getattr(window, way).max_ms for window in windows)
        yield f"{_median(windows, way, 'p50_ms'):.2f} / {_median(windows, way, 'p99_ms'):.2f} / {worst:.1f}"
    yield f"{_median(windows, 'memory', 'rss_mib'):.0f}"
    yield f"{sum(window.harmed for window in windows)}"
    yield f"{_median(windows, 'load_share'):.0%}"


def _ratios(outcome: Outcome) -> Iterator[Table]:
    table = _table("Paired ratios, ours / theirs: median (quartiles)", "", "CPU", "x relay's CPU", "p99 latency", "n")
    spreads = outcome.spreads
    for key in sorted((key for key in spreads if key.startswith(("tls_", "plain_"))), key=_by_number):
        row = [_shown(spreads[found]) if found in spreads else "-" for found in (key, f"floor_{key}", f"p99_{key}")]
        table.add_row(key, *row, str(spreads[key].n))
    yield table


def _memory(outcome: Outcome) -> Iterator[Table]:
    table = _table("Memory: RSS in MiB", "", "no call", "10 calls", "100 calls", "KiB per call, 10 to 100")
    for transport in outcome.plan.transports:
        for kind in KINDS:
            points = [point for point in outcome.audio.memory if (point.bridge, point.transport) == (kind, transport)]
            slopes = slopes_mib(points, kind, transport)
            row = []
            for calls in (0, 10, 100):
                rss = [point.memory.rss_mib for point in points if point.calls == calls]
                row.append(_shown(Spread.of(rss), 1) if rss else "-")
            if points:
                shown = _shown(Spread.of([slope * 1024 for slope in slopes.values()]), 0) if slopes else "-"
                table.add_row(f"{transport} {kind}", *row, shown)
    yield table


def _short_calls(outcome: Outcome) -> Iterator[Table]:
    table = _table(
        "Set-up (connect to first audio, less what Vapi takes) and teardown: ms, medians of the rounds (quartiles)",
        "", "set-up p50", "set-up p99", "hang-up to Vapi closed p50", "p99", "to end seen p50", "p99",
    )  # fmt: skip
    for transport in outcome.plan.transports:
        for kind in KINDS:
            rounds = [one for one in outcome.short_calls if (one.bridge, one.transport) == (kind, transport)]
            if not rounds:
                continue
            row = []
            for latencies in (
                [one.setup for one in rounds],
                [one.closed for one in rounds],
                [one.end_seen for one in rounds if one.end_seen is not None],
            ):
                for share in ("p50_ms", "p99_ms"):
                    values = [getattr(latency, share) for latency in latencies]
                    row.append(_shown(Spread.of(values), 1) if values else "never said")
            table.add_row(f"{transport} {kind}", *row)
    yield table


def _webhooks(outcome: Outcome) -> Iterator[Table]:
    table = _table(
        "Webhook: POST /tool in ms, medians of the rounds (quartiles)",
        "", "whole p50", "whole p99", "less the tool p50", "less the tool p99",
    )  # fmt: skip
    for concurrent in outcome.plan.concurrent:
        for kind in KINDS:
            rounds = [one for one in outcome.webhooks if (one.bridge, one.concurrent) == (kind, concurrent)]
            if rounds:
                row = [
                    _shown(Spread.of([getattr(getattr(one, what), share) for one in rounds]), 1)
                    for what in ("whole", "overhead")
                    for share in ("p50_ms", "p99_ms")
                ]
                note = "" if all(one.own_time_known for one in rounds) or kind != "ours" else " (tool not known)"
                table.add_row(f"{concurrent} at once {kind}{note}", *row)
    yield table


def _growth(outcome: Outcome) -> Iterator[Table]:
    table = _table("Growth, TLS to Vapi", "", "core", "us per frame", "RSS MiB", "p99 ms", "harmed", "load")
    for kind in KINDS:
        for window in outcome.growth:
            if window.bridge == kind:
                table.add_row(
                    f"{kind} {window.calls}", f"{window.bridge_share:.0%}", f"{window.cpu_us_per_frame:.1f}",
                    f"{window.memory.rss_mib:.0f}", f"{window.p99_ms:.2f}", f"{window.harmed}",
                    f"{window.load_share:.0%}",
                )  # fmt: skip
        table.add_section()
    yield table


def _watching(outcome: Outcome) -> Iterator[Table]:
    """`x ours` and `more` are of pairs."""
    windows = outcome.watching.windows
    table = _table(
        "Watching, TLS to Vapi: medians over the repetitions (quartiles)",
        "", "CPU ms per call s", "x ours", "more, ms per s", "p99 ms", "x ours", "RSS MiB", "harmed", "load",
    )  # fmt: skip
    groups = {manner: of_manner(windows, manner) for manner in MANNERS}
    for calls in sorted({one.window.calls for one in windows}):
        for manner in MANNERS:
            if of_one := groups[manner].get(calls):
                row = _watched_row(windows, manner, calls, [one.window for one in of_one])
                table.add_row(f"{calls} {manner.replace('_', ' ')}", *row)
        table.add_section()
    yield table


def _watched_row(windows: list[WatchedWindow], manner: Manner, calls: int, plain: list[Window]) -> Iterator[str]:
    def beside_ours(spread: Spread | None, digits: int = 2) -> str:
        return "" if spread is None or manner == "ours" else _shown(spread, digits)

    yield _shown(Spread.of([window.cpu_per_call * 1e3 for window in plain]))
    yield beside_ours(ratio(windows, manner, calls, lambda window: window.cpu_per_call))
    yield beside_ours(more_ms_per_second(windows, manner, calls), 1)
    yield _shown(Spread.of([window.p99_ms for window in plain]))
    yield beside_ours(ratio(windows, manner, calls, lambda window: window.p99_ms))
    yield f"{_median(plain, 'memory', 'rss_mib'):.0f}"
    yield f"{sum(window.harmed for window in plain)}"
    yield f"{_median(plain, 'load_share'):.0%}"


def _watching_lines(outcome: Outcome) -> Iterator[str]:
    watching = outcome.watching
    if between := slope_between(watching.windows):
        slopes = {manner: kib_per_call(watching.windows, manner) for manner in MANNERS}
        shown = (f"{manner.replace('_', ' ')} {_shown(slope, 0)}" for manner, slope in slopes.items() if slope)
        yield f"watching: KiB per call, {between[0]} to {between[1]} calls: {', '.join(shown)}"
    if watching.decodings:
        spread = Spread.of([one.cpu_per_call_minute for one in watching.decodings])
        seconds = Spread.of([one.recorded_seconds for one in watching.decodings]).median / outcome.plan.decoding_calls
        yield f"watching: decoding {_shown(spread, 3)} CPU s per minute of call, after calls of {seconds:.1f} s"
    for calls, of_one in of_manner(watching.windows, "watched").items():
        looked = [one.looked for one in of_one if one.looked is not None]
        if not looked:
            continue
        kib = Spread.of([one.stream_bytes_per_second / 1024 for one in looked]).median
        states = Spread.of([one.states_per_second for one in looked]).median
        scrape = Spread.of([one.scrape_bytes / 1024 for one in looked]).median
        yield f"watching {calls} calls: {states:.1f} states a second, {kib:.0f} KiB; figures of {scrape:.0f} KiB"


def _pods(outcome: Outcome) -> Iterator[Table]:
    found = outcome.pods
    table = _table(
        "Two pods behind nginx beside one, all on one core, TLS to Vapi: medians (quartiles); ratios are of pairs",
        "calls of each", "CPU ms per call s", "x one", "x one with as many in all", "p99 ms", "RSS MiB", "tools",
        "harmed",
    )  # fmt: skip
    for calls in sorted({one.calls for one in found.windows}):
        for manner in PODS_MANNERS:
            if of_one := found.of(manner, calls):
                plain = [one.window for one in of_one]
                ratios = [found.ratio(calls, of) if manner == "two_pods" else None for of in (calls, 2 * calls)]
                table.add_row(
                    f"{calls} {manner.replace('_', ' ')}",
                    _shown(Spread.of([window.cpu_per_call * 1e3 for window in plain])),
                    *("" if spread is None else _shown(spread) for spread in ratios),
                    _shown(Spread.of([window.p99_ms for window in plain])),
                    f"{_median(plain, 'memory', 'rss_mib'):.0f}",
                    f"{sum(one.posts for one in of_one)}",
                    f"{sum(window.harmed for window in plain)}",
                )
        table.add_section()
    yield table


def _pods_lines(outcome: Outcome) -> Iterator[str]:
    if nginx := outcome.pods.nginx_ms_per_tool():
        yield f"pods: nginx used {_shown(nginx)} ms of CPU for a tool call"
    yield from (f"pods: not measured: {why}" for why in outcome.pods.failed)


def _verdicts(outcome: Outcome) -> Iterator[Table]:
    table = _table("The bar", "", "measured", "at most", "goal", "n", "outcome")
    for verdict in outcome.verdicts:
        bar = verdict.bar
        outcome_shown = f"{verdict.outcome} ({verdict.why})" if verdict.why else verdict.outcome
        goal = "-" if bar.goal is None else f"{bar.goal:g}"
        measured = f"{verdict.spread.median:.0f}" if bar.unit == "frames" else _shown(verdict.spread)
        table.add_row(bar.what, measured, f"{bar.limit:g} {bar.unit}", goal, str(verdict.spread.n), outcome_shown)
    yield table
