"""What must hold, and whether it does: each bar on a spread of paired measurements."""

from collections.abc import Mapping
from typing import Final, Literal

import attrs

from bench.plan import PAIRS
from bench.spread import Spread

Outcome = Literal["held", "missed", "not decided"]


@attrs.frozen
class Bar:
    """At most `limit`; `goal` is the mark beyond it, where there is one."""

    key: str
    what: str
    limit: float
    goal: float | None = None
    unit: str = "x"


BARS: Final[tuple[Bar, ...]] = (
    Bar("tls_20", "CPU per call, TLS to Vapi, 20 calls, x the reference", 0.65, 0.57),
    Bar("tls_100", "CPU per call, TLS to Vapi, 100 calls, x the reference", 0.45, 0.40),
    Bar("floor_plain_100", "CPU per call, no TLS, 100 calls, x the picows relay", 1.25),
    Bar("p99_tls_20", "p99 added latency, TLS to Vapi, 20 calls, x the reference", 1.0),
    Bar("p99_tls_100", "p99 added latency, TLS to Vapi, 100 calls, x the reference", 1.0),
    Bar("p99_plain_100", "p99 added latency, no TLS, 100 calls, x the reference", 1.0),
    Bar("memory_slope_tls", "memory per call (RSS, 10 to 100 calls), x the reference", 1.0),
    Bar("p99_ms_100", "p99 added latency at 100 calls, the worse of TLS and plain", 20.0, unit="ms"),
)
HARMED: Final = Bar("harmed_100", "frames lost, reordered or damaged at 100 calls, all windows", 0.0, unit="frames")
HARMED_WATCHED: Final = Bar(
    "harmed_watched", "frames lost, reordered or damaged while watched or recorded, all windows", 0.0, unit="frames"
)


@attrs.frozen
class Verdict:
    bar: Bar
    spread: Spread
    outcome: Outcome

    @property
    def why(self) -> str:
        """In words, for an outcome that needs some."""
        if self.outcome != "not decided":
            return ""
        if self.spread.n < PAIRS:
            return f"{self.spread.n} of {PAIRS} repetitions"
        return "the interquartile range crosses the bar: too noisy to tell"


def judge(bar: Bar, spread: Spread) -> Verdict:
    """Held or missed only when both quartiles say so, in at least 7 repetitions."""
    if spread.n < PAIRS or spread.q1 <= bar.limit < spread.q3:
        return Verdict(bar, spread, "not decided")
    return Verdict(bar, spread, "held" if spread.q3 <= bar.limit else "missed")


def judge_harmed(per_window: "list[int]", bar: Bar = HARMED) -> Verdict:
    """Not a matter of statistics: one frame is one too many."""
    total = float(sum(per_window))
    spread = Spread(len(per_window), total, total, total)
    if total:
        return Verdict(bar, spread, "missed")
    return Verdict(bar, spread, "held" if len(per_window) >= PAIRS else "not decided")


def judge_all(spreads: Mapping[str, Spread], harmed_100: "list[int]") -> list[Verdict]:
    """Of every bar for which something was measured."""
    verdicts = [judge(bar, spreads[bar.key]) for bar in BARS if bar.key in spreads]
    return [*verdicts, judge_harmed(harmed_100)] if harmed_100 else verdicts
