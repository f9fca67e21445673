"""Latencies, counted in steps: what many frames took, small enough to be sent from process to process. Pure."""

from collections import Counter
from typing import Any, Final

import attrs

STEP_NS: Final = 50_000


@attrs.frozen
class Percentiles:
    """In ms, each rounded up to a step of 0.05 ms, the greatest exact. None: there was nothing to measure."""

    count: int
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    max_ms: float | None


@attrs.define(eq=False)
class Histogram:
    """Mutable: how many values lie in each step, and the greatest of them."""

    counts: Counter[int] = attrs.field(factory=Counter)
    most_ns: int = 0

    def add(self, value_ns: int) -> None:
        self.counts[value_ns // STEP_NS] += 1
        if value_ns > self.most_ns:
            self.most_ns = value_ns

    def merge(self, other: "Histogram") -> None:
        self.counts.update(other.counts)
        self.most_ns = max(self.most_ns, other.most_ns)

    def take(self) -> "Histogram":
        """What was counted so far; counting begins anew."""
        taken = Histogram(self.counts, self.most_ns)
        self.counts, self.most_ns = Counter(), 0
        return taken

    def percentile_ms(self, share: float) -> float | None:
        """What at least `share` (0 to 1) of the values do not exceed."""
        left = -int(-share * self.counts.total() // 1)  # rounded up
        for step in sorted(self.counts):
            left -= self.counts[step]
            if left <= 0:
                return round(min((step + 1) * STEP_NS, self.most_ns) / 1e6, 3)
        return None

    def percentiles(self) -> Percentiles:
        most_ms = round(self.most_ns / 1e6, 3) if self.counts else None
        p50_ms, p95_ms, p99_ms = (self.percentile_ms(share) for share in (0.5, 0.95, 0.99))
        return Percentiles(self.counts.total(), p50_ms, p95_ms, p99_ms, most_ms)

    def as_json(self) -> dict[str, Any]:
        return {"most_ns": self.most_ns, "counts": sorted(self.counts.items())}

    @classmethod
    def of_json(cls, told: dict[str, Any]) -> "Histogram":
        return cls(Counter(dict(told["counts"])), told["most_ns"])
