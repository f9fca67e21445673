"""Many seeds on several processes: progress while they run, and a verdict that names what to do next."""

import atexit
import gc
import signal
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import cache
from types import FrameType

import attrs
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from torture.chronicle import Entry
from torture.plan import plan_for
from torture.run import Outcome, open_rig, run_seed
from torture.workers import in_processes
from torture.world import Rig

SEED_WALL_SECONDS = 120
"""Of real time, for one seed: a deadlock in virtual time is a silent loop."""
BATCH_SEEDS = 10
SHOWN_BREACHES = 4
PLAIN_PROGRESS_SEEDS = 500
"""A line that often where there is no terminal to draw a bar in."""


@attrs.define
class Tally:
    """Mutable: what all runs so far add up to."""

    runs: int = 0
    failed: list[Outcome] = attrs.field(factory=list)
    calls: int = 0
    virtual_seconds: float = 0.0
    peaks: dict[str, float] = attrs.field(factory=dict)
    happened: Counter[str] = attrs.field(factory=Counter)

    def add(self, outcome: Outcome) -> None:
        self.runs += 1
        self.calls += outcome.calls
        self.virtual_seconds += outcome.virtual_seconds
        self.happened.update(outcome.happened)
        for name, peak in outcome.peaks.items():
            self.peaks[name] = max(peak, self.peaks.get(name, 0.0))
        if outcome.breaches:
            self.failed.append(outcome)


@cache
def _rig_of_this_process() -> Rig:
    stack = ExitStack()
    atexit.register(stack.close)
    rig = stack.enter_context(open_rig())
    gc.collect()
    gc.freeze()  # what is here now stays: the collection after each run need not look at it
    return rig


def run_batch(seeds: Sequence[int]) -> list[Outcome]:
    """In a worker process: each seed in turn."""
    return [run_guarded(seed, _rig_of_this_process()) for seed in seeds]


class Spins(BaseException):
    """A run does not come to its end. No barrier of the product may take it for a connection's error."""


def run_guarded(seed: int, rig: Rig, show: Callable[[Entry], None] | None = None) -> Outcome:
    """`run_seed`; a run that raises, or spins, is an outcome too."""

    def give_up(_signum: int, _frame: FrameType | None) -> None:
        raise Spins(f"it ran for {SEED_WALL_SECONDS} real seconds")

    began = time.perf_counter()
    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, SEED_WALL_SECONDS, 1.0)
    try:
        return run_seed(seed, rig, show)
    except (Exception, Spins, BaseExceptionGroup) as exc:  # noqa: BLE001  # what the harness raises is a breach of the seed, and told as one
        where = traceback.format_exception(exc)[-4:]
        line = f"the run raised {exc!r}: {' '.join(' '.join(where).split())}"
        return Outcome(seed, str(plan_for(seed)), (line,), "", 0.0, time.perf_counter() - began, 0, {}, Counter())
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def torture(first: int, last: int, jobs: int, console: Console) -> bool:
    """Run the seeds `first` to `last`, both included. Returns whether every invariant held in all of them."""
    began, tally = time.perf_counter(), Tally()
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, refresh_per_second=2) as progress:
        shown = progress.add_task("seeds", total=last - first + 1)
        for outcome in _outcomes(range(first, last + 1), jobs):
            tally.add(outcome)
            if outcome.breaches:
                _tell(outcome, console)
            progress.update(shown, completed=tally.runs, description=f"{len(tally.failed)} failed")
            if not console.is_terminal and tally.runs % PLAIN_PROGRESS_SEEDS == 0:
                wall_seconds = time.perf_counter() - began
                console.print(f"{tally.runs} seeds, {len(tally.failed)} failed, {wall_seconds:.0f} s", soft_wrap=True)
    _sum_up(tally, time.perf_counter() - began, console)
    return not tally.failed


def _outcomes(seeds: Sequence[int], jobs: int) -> Iterator[Outcome]:
    """As they come, which is not the order of the seeds."""
    size = max(1, min(BATCH_SEEDS, -(-len(seeds) // jobs)))
    batches = [seeds[start : start + size] for start in range(0, len(seeds), size)]
    for outcomes in in_processes(run_batch, batches, jobs):
        yield from outcomes


def _tell(outcome: Outcome, console: Console) -> None:
    console.print(f"[red]seed {outcome.seed}[/red]  {escape(outcome.plan)}", soft_wrap=True)
    for breach in outcome.breaches[:SHOWN_BREACHES]:
        console.print(f"    {escape(breach[:600])}", soft_wrap=True)
    if len(outcome.breaches) > SHOWN_BREACHES:
        console.print(f"    and {len(outcome.breaches) - SHOWN_BREACHES} more")
    console.print(
        f"    [dim]replay: voice torture --seeds {outcome.seed}..{outcome.seed} --trace[/dim]", soft_wrap=True
    )


def _sum_up(tally: Tally, wall_seconds: float, console: Console) -> None:
    peaks = ", ".join(_shown(name, peak) for name, peak in sorted(tally.peaks.items()))
    console.print(
        f"{tally.runs} seeds, {tally.calls} calls at Vapi, {tally.virtual_seconds / 3600:.2f} simulated hours"
        f" in {wall_seconds:.0f} s of wall time; fullest channels: {peaks or 'none'}",
        soft_wrap=True,
    )
    happened = ", ".join(f"{name} {count}" for name, count in sorted(tally.happened.items()))
    console.print(f"[dim]{happened}[/dim]", soft_wrap=True)
    if tally.failed:
        seeds = " ".join(str(outcome.seed) for outcome in sorted(tally.failed, key=lambda failed: failed.seed)[:20])
        console.print(f"[red]{len(tally.failed)} seeds failed[/red]: {seeds}")
    else:
        console.print("[green]every invariant held in every run[/green]")


def _shown(name: str, peak: float) -> str:
    what, _, unit = name.rpartition("_")
    return f"{what} {peak:.2f} s" if unit == "seconds" else f"{what} {peak:g}"


def replay(seed: int, console: Console) -> bool:
    """Run one seed here and show all that happened in it. Returns whether every invariant held."""
    with open_rig() as rig:
        console.print(f"seed {seed}: {escape(str(plan_for(seed)))}", soft_wrap=True)
        outcome = run_guarded(
            seed, rig, lambda entry: console.print(escape(str(entry)), soft_wrap=True, highlight=False)
        )
    console.print(f"trace {outcome.trace}, {outcome.virtual_seconds:.2f} virtual seconds")
    if outcome.breaches:
        _tell(outcome, console)
    return not outcome.breaches
