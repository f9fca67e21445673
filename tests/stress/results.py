"""Results as a run would have them, all sound until a test changes something."""

from collections import Counter
from typing import Any

import attrs

from stress.accounts import Accounts, CallAccount, Direction
from stress.histogram import Histogram
from stress.plan import Plan
from stress.sample import Latencies, Result, Sample, ToolCounts

PLAN = Plan(calls=2, seconds=3.0, per_second=10.0)
SECOND = Sample(
    at_seconds=1.0, phase="steady", up=2, frames=200, missing=0, p50_ms=0.5, p99_ms=2.0,
    late_ms={"callers": 0.5, "cloud": 0.5}, cpu={"bridge": 0.4, "callers": 0.2, "cloud": 0.2}, idle=0.5,
)  # fmt: skip


def second(**changes: Any) -> Sample:
    return attrs.evolve(SECOND, **changes)


def latencies(ms: float = 1.0, down_ms: float | None = None) -> Latencies:
    up, down = Histogram(), Histogram()
    up.add(round(ms * 1e6))
    down.add(round((ms if down_ms is None else down_ms) * 1e6))
    return Latencies(up, down)


def accounts(up: Direction | None = None, down: Direction | None = None, calls: int = 2) -> Accounts:
    sound = Direction(sent=100, arrived=100)
    first = CallAccount(0, up or sound, down or sound)
    return Accounts((first, *(CallAccount(number, sound, sound) for number in range(1, calls))))


def result(**changes: Any) -> Result:
    sound = Result(
        plan=PLAN, samples=[SECOND] * 3, accounts=accounts(), latencies=latencies(),
        set_ups=Histogram().percentiles(), ended=Counter(), tools=ToolCounts(asked=5, answered=5),
    )  # fmt: skip
    return attrs.evolve(sound, **changes)
