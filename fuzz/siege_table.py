"""What a siege measured, and whether it kept its bars. Pure."""

import statistics
from collections.abc import Sequence
from typing import Any, Final

import attrs

LATENCY_FACTOR: Final = 3.0
LATENCY_MS: Final = 5.0
STEP_MS: Final = 10.0
GROWTH_MIB: Final = 64.0
"""That an attack may leave behind."""


@attrs.frozen
class Calm:
    p99_ms: float
    harmed: int
    meter: dict[str, Any]

    def __str__(self) -> str:
        return f"quiet: p99 {self.p99_ms:.2f} ms, longest step {self.meter['step_cpu_ms']} ms"


@attrs.frozen
class Assault:
    """`rss_*`: MiB of the server, before, in and behind it. `broken`: what did not work afterwards."""

    name: str
    dialled: int
    p99_ms: float
    harmed: int
    meter: dict[str, Any]
    rss_before: float
    rss_during: float
    rss_after: float
    broken: str

    def __str__(self) -> str:
        return (
            f"{self.name}: {self.dialled} connections, p99 {self.p99_ms:.2f} ms, {self.harmed} frames harmed, longest "
            f"step {self.meter['step_cpu_ms']} ms ({self.meter['step_wall_ms']} by the clock, turn "
            f"{self.meter['turn_cpu_ms']}, collection {self.meter['gc_cpu_ms']}) in "
            f"{self.meter['slowest']}, RSS {self.rss_before:.0f}, {self.rss_during:.0f}, {self.rss_after:.0f} MiB"
            + (f"; afterwards {self.broken}" if self.broken else "")
            + "".join(f"\n    {count} x {where}" for where, count in self.meter["blames"])
        )

    def missed(self, quiet_p99_ms: float) -> list[str]:
        """The bars that were missed, in words."""
        allowed = LATENCY_FACTOR * quiet_p99_ms + LATENCY_MS
        found = []
        if self.p99_ms > allowed:
            found.append(f"p99 {self.p99_ms:.1f} ms, allowed {allowed:.1f}")
        if self.meter["step_cpu_ms"] > STEP_MS:
            found.append(f"a step of {self.meter['step_cpu_ms']} ms in {self.meter['slowest']}, allowed {STEP_MS:g}")
        if self.rss_after - self.rss_before > GROWTH_MIB:
            found.append(f"{self.rss_after - self.rss_before:.0f} MiB left behind, allowed {GROWTH_MIB:g}")
        if self.harmed:
            found.append(f"{self.harmed} frames harmed")
        if self.broken:
            found.append(f"afterwards {self.broken}")
        return found


def quiet_p99(calms: Sequence[Calm]) -> float:
    return statistics.median(calm.p99_ms for calm in calms)


def table(calms: Sequence[Calm], assaults: Sequence[Assault]) -> str:
    """One line for each attack."""
    quiet = quiet_p99(calms)
    head = (
        f"{'attack':<28} {'p99 ms':>7} {'x quiet':>8} {'step ms':>8} {'gc ms':>6} {'turn ms':>8} {'RSS MiB':>15} "
        f"{'connections':>12}  verdict"
    )
    lines = [head, f"{'none':<28} {quiet:7.2f} {'':>8} {max(calm.meter['step_cpu_ms'] for calm in calms):8.2f}"]
    for one in assaults:
        rss = f"{one.rss_before:.0f}/{one.rss_during:.0f}/{one.rss_after:.0f}"
        verdict = "; ".join(one.missed(quiet)) or "held"
        lines.append(
            f"{one.name:<28} {one.p99_ms:7.2f} {one.p99_ms / quiet:8.2f} {one.meter['step_cpu_ms']:8.2f} "
            f"{one.meter['gc_cpu_ms']:6.1f} {one.meter['turn_cpu_ms']:8.2f} "
            f"{rss:>15} {one.dialled:>12}  {verdict}"
        )
    return "\n".join(lines)


def as_json(calms: Sequence[Calm], assaults: Sequence[Assault]) -> dict[str, Any]:
    quiet = quiet_p99(calms)
    return {
        "quiet_p99_ms": quiet,
        "bars": {
            "p99_ms": LATENCY_FACTOR * quiet + LATENCY_MS, "step_cpu_ms": STEP_MS, "growth_mib": GROWTH_MIB,
        },
        "quiet": [attrs.asdict(calm) for calm in calms],
        "attacks": [attrs.asdict(one) | {"missed": one.missed(quiet)} for one in assaults],
    }  # fmt: skip
