"""Medians, quartiles and percentiles. Pure."""

import statistics
from collections.abc import Sequence

import attrs


@attrs.frozen
class Spread:
    """Of repeated measurements: the median and the quartiles round it."""

    n: int
    median: float
    q1: float
    q3: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Raises ValueError for no values at all. Quartiles are those within the sample (method "inclusive")."""
        if not values:
            raise ValueError("nothing was measured")
        if len(values) == 1:
            return cls(1, values[0], values[0], values[0])
        q1, median, q3 = statistics.quantiles(values, n=4, method="inclusive")
        return cls(len(values), median, q1, q3)


def percentile(ordered: Sequence[int], share: float) -> int:
    """The smallest value that at least `share` (0 to 1) of all do not exceed; `ordered` ascending, not empty."""
    rank = -int(-share * len(ordered) // 1)  # rounded up
    return ordered[min(max(rank, 1), len(ordered)) - 1]


@attrs.frozen
class Latency:
    """Added latency of one direction, in ms."""

    p50_ms: float
    p99_ms: float
    max_ms: float

    @classmethod
    def of(cls, latencies_ns: Sequence[int]) -> "Latency":
        """Raises ValueError for none."""
        if not latencies_ns:
            raise ValueError("no frame came through")
        ordered = sorted(latencies_ns)
        return cls(percentile(ordered, 0.5) / 1e6, percentile(ordered, 0.99) / 1e6, ordered[-1] / 1e6)
