"""What is shown while a run lasts: on a terminal one table that is renewed, elsewhere one line a second."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import attrs
from rich.console import Console
from rich.live import Live
from rich.table import Table

from stress.plan import Plan
from stress.sample import DISPLAY, OTHERS, Sample

ROWS: Final = 12
_UNKNOWN: Final = "-"


def ms(value: float | None) -> str:
    return _UNKNOWN if value is None else f"{value:.1f} ms"


def share(value: float | None) -> str:
    return _UNKNOWN if value is None else f"{value:.0%}"


def shares(cpu: "dict[str, float]") -> str:
    return " ".join(f"{name} {value:.0%}" for name, value in cpu.items()) or _UNKNOWN


@attrs.define(eq=False)
class Screen:
    """Mutable: what it showed last."""

    console: Console
    _plan: Plan | None = None
    _samples: list[Sample] = attrs.field(factory=list)
    _live: Live | None = None

    @contextmanager
    def of(self, plan: Plan) -> Iterator["Screen"]:
        """For the length of one run."""
        self._plan, self._samples = plan, []
        title = f"{plan.calls} calls, {plan.per_second:g} more a second, {plan.seconds:g} s of steady state"
        self.console.print(title, soft_wrap=True)
        if not self.console.is_terminal:
            yield self
            return
        with Live(console=self.console, refresh_per_second=2, transient=True) as self._live:
            yield self
        self._live = None

    def show(self, sample: Sample) -> None:
        """One more second."""
        if self._live is None:
            self.console.print(_line(sample), soft_wrap=True, highlight=False)
            return
        self._samples.append(sample)
        self._live.update(_table(self._samples[-ROWS:]))


def _line(sample: Sample) -> str:
    line = (
        f"{sample.at_seconds:6.1f} s  {sample.phase:<6}  {sample.up:4} up  {sample.frames:6} frames"
        f"  {sample.missing} lost  p50 {ms(sample.p50_ms)}  p99 {ms(sample.p99_ms)}"
    )
    if not sample.cpu:
        return line  # virtual time: nothing is used, and nothing is late
    return f"{line}  load late {ms(_latest(sample))}  cpu {shares(dict(sample.cpu))}  idle {share(sample.idle)}"


def _latest(sample: Sample) -> float | None:
    return max((value for value in sample.late_ms.values() if value is not None), default=None)


def _table(samples: list[Sample]) -> Table:
    """Times in ms, processes in percent of a core."""
    processes = [name for name in samples[-1].cpu if name not in (DISPLAY, OTHERS)]  # it must fit in 80 columns
    table = Table(box=None, pad_edge=False)
    for name in ("phase", "up", "frames", "lost", "p50", "p99", "late", *processes, "idle"):
        table.add_column(name, justify="left" if name == "phase" else "right", no_wrap=True)
    for sample in samples:
        times = (sample.p50_ms, sample.p99_ms, _latest(sample))
        table.add_row(
            sample.phase, str(sample.up), str(sample.frames), str(sample.missing),
            *(_UNKNOWN if value is None else f"{value:.1f}" for value in times),
            *(share(sample.cpu.get(name)) for name in processes), share(sample.idle),
        )  # fmt: skip
    return table
