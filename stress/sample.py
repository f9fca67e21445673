"""What was seen in one second of a run, and what a run found. Pure."""

from collections.abc import Mapping, Sequence
from typing import Final, Literal

import attrs

from stress.accounts import Accounts
from stress.histogram import Histogram, Percentiles
from stress.plan import Plan

Phase = Literal["ramp", "steady"]
LOAD: Final = ("callers", "cloud")
BRIDGE: Final = "bridge"
DISPLAY: Final = "display"
"""This process: it starts the rest, asks them how they are, and shows it."""
OTHERS: Final = "others"
"""What the machine does beside the run."""


@attrs.frozen
class Sample:
    """One second. Shares of a core are 0 to 1, of the machine's idle time too; None: not known here (virtual time).

    `up`: calls in which both sides are heard. `frames`: that arrived in it, both ways. `missing`: overtaken so far,
    lost unless they still come. `p99_ms`: added latency, the worse of both ways. `late_ms`: p99 of the load's own
    lateness, by side. `cpu`: shares of a core by process. `refused`: callers that were turned away for want of slots,
    so far.
    """

    at_seconds: float
    phase: Phase
    up: int
    frames: int
    missing: int
    p50_ms: float | None
    p99_ms: float | None
    late_ms: Mapping[str, float | None]
    cpu: Mapping[str, float] = attrs.field(factory=dict)
    idle: float | None = None
    refused: int = 0


@attrs.frozen
class ToolCounts:
    """`refused`: answered with an error where any answer will do. `complaints`: the first of those that were not
    answered as they must be."""

    asked: int = 0
    answered: int = 0
    refused: int = 0
    complaints: tuple[str, ...] = ()
    latency: Percentiles = Percentiles(0, None, None, None, None)


@attrs.frozen
class Latencies:
    """Over the steady window: added latency of both ways, and the load's lateness by side."""

    up: Histogram = attrs.field(factory=Histogram)
    down: Histogram = attrs.field(factory=Histogram)
    late: Mapping[str, Histogram] = attrs.field(factory=dict)


@attrs.frozen
class Leavings:
    """What there was after all had hung up: calls and sockets at the cloud, processes, and how the bridge ended (its
    exit code; None: it did not) with its last line if that was not 0."""

    calls: int = 0
    sockets: int = 0
    processes: tuple[str, ...] = ()
    bridge_code: int | None = 0
    bridge_said: str = ""


@attrs.frozen
class Memory:
    """Of the bridge, in MiB: before the first call, and at the end of the steady window."""

    before_mib: float
    steady_mib: float


@attrs.frozen
class Result:
    """A run. `ended`: how calls ended that nobody hung up, and how often. `set_ups`: from dialling to the assistant's
    first audio. `wall_seconds`: real time, of a run in virtual time."""

    plan: Plan
    samples: Sequence[Sample]
    accounts: Accounts
    latencies: Latencies
    set_ups: Percentiles
    ended: Mapping[str, int]
    tools: ToolCounts
    leavings: Leavings = Leavings()
    memory: Memory | None = None
    wall_seconds: float | None = None

    @property
    def steady(self) -> list[Sample]:
        return [sample for sample in self.samples if sample.phase == "steady"]

    @property
    def idle(self) -> float | None:
        """Of the machine, mean of the steady window."""
        shares = [sample.idle for sample in self.steady if sample.idle is not None]
        return sum(shares) / len(shares) if shares else None

    @property
    def cpu(self) -> dict[str, float]:
        """Shares of a core by process, mean of the steady window."""
        steady = [sample.cpu for sample in self.steady]
        names = dict.fromkeys(name for shares in steady for name in shares)
        return {name: sum(shares.get(name, 0.0) for shares in steady) / len(steady) for name in names}

    @property
    def p99_ms(self) -> float | None:
        """Added latency, the worse of both ways."""
        both = [self.latencies.up.percentile_ms(0.99), self.latencies.down.percentile_ms(0.99)]
        return None if None in both else max(value for value in both if value is not None)

    @property
    def late_ms(self) -> float | None:
        """The load's lateness, p99 of the later side."""
        found = [histogram.percentile_ms(0.99) for histogram in self.latencies.late.values()]
        return max((value for value in found if value is not None), default=None)
