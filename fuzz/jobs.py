"""Many cases on several processes, and a verdict that names what to do next."""

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from types import FrameType
from typing import Final

import attrs
import psutil
import trio

from db.seed import BankFiles, read_bank_files
from fuzz.batch import BATCH_CASES, TARGETS, BatchOutcome, Flag, Target, run_cases
from torture.workers import in_processes

SHARES: Final[dict[Target, float]] = {"webhook": 0.70, "caller": 0.20, "vapi": 0.10}
BATCH_WALL_SECONDS: Final = 300
"""Real. A decoder that loops is a silent loop under a clock that jumps."""
GROWTH_MIB: Final = 96.0
WARM_BATCHES: Final = 4
PROGRESS_SECONDS: Final = 30.0
SHOWN_FLAGS: Final = 20
Tell = Callable[[str], None]


class Spins(BaseException):
    """A batch does not come to its end. No barrier of the product may take it for a connection's error."""


@attrs.frozen
class Batch:
    target: Target
    cases: range


@attrs.frozen
class Done:
    """`rss_mib`: of the worker, behind the batch."""

    outcome: BatchOutcome
    worker: int
    rss_mib: float


def batches(cases: int) -> Iterator[Batch]:
    """All cases of a run, each target's numbered from 0, mixed as they come."""
    waiting = []
    for target in TARGETS:
        count, size = round(cases * SHARES[target]), BATCH_CASES[target]
        starts = range(0, count, size)
        waiting += [((start + 1) / count, Batch(target, range(start, min(start + size, count)))) for start in starts]
    return (batch for _, batch in sorted(waiting, key=lambda entry: entry[0]))


@cache
def _bank() -> BankFiles:
    return trio.run(read_bank_files)


def run_batch(seed: int, batch: Batch) -> Done:
    """In a worker process. What is of no case is looked for in each of them alone."""
    outcome = run_guarded(seed, batch.target, batch.cases)
    if any(flag.case is None for flag in outcome.flags) and len(batch.cases) > 1:
        outcome.flags += _culprits(seed, batch)
    return Done(outcome, os.getpid(), psutil.Process().memory_info().rss / 2**20)


def _culprits(seed: int, batch: Batch) -> Iterator[Flag]:
    """One case, or as few as it takes, that is flagged alone: by halves."""
    cases, found = batch.cases, None
    while len(cases) > 1:
        middle = len(cases) // 2
        for half in (cases[:middle], cases[middle:]):
            outcome = run_guarded(seed, batch.target, half)
            if any(flag.case is None for flag in outcome.flags):
                cases, found = half, outcome
                break
        else:
            break
    if found is not None and len(cases) == 1:
        yield from (attrs.evolve(flag, case=cases[0]) for flag in found.flags)


def run_guarded(seed: int, target: Target, cases: range) -> BatchOutcome:
    """`run_cases`; a batch that spins is flagged too."""

    def give_up(_signum: int, _frame: FrameType | None) -> None:
        raise Spins

    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, BATCH_WALL_SECONDS, 1.0)
    try:
        return run_cases(seed, target, cases, _bank())
    except (Spins, BaseExceptionGroup) as exc:
        what = f"it ran for {BATCH_WALL_SECONDS} real seconds" if isinstance(exc, Spins) else f"{exc!r:.600}"
        return BatchOutcome(target, cases, [Flag(None, what)])
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@attrs.define
class Tally:
    """Mutable: what all batches so far add up to."""

    counts: Counter[str] = attrs.field(factory=Counter)
    happened: Counter[str] = attrs.field(factory=Counter)
    flagged: list[tuple[Target, range, Flag]] = attrs.field(factory=list)
    memory: dict[int, list[float]] = attrs.field(factory=dict)

    def add(self, done: Done) -> None:
        outcome = done.outcome
        cases = range(outcome.cases[0], outcome.cases[-1] + 1)
        self.counts[outcome.target] += len(cases)
        self.happened.update({f"{outcome.target}: {what}": count for what, count in outcome.happened.items()})
        self.flagged += [(outcome.target, cases, flag) for flag in outcome.flags]
        self.memory.setdefault(done.worker, []).append(done.rss_mib)

    @property
    def growth_mib(self) -> float:
        """Of the worker that has grown the most since it was warm: the least of its last batches over the least of
        its first."""
        grown = [
            min(rss[-WARM_BATCHES:]) - min(rss[WARM_BATCHES : 2 * WARM_BATCHES])
            for rss in self.memory.values()
            if len(rss) >= 3 * WARM_BATCHES
        ]
        return max(grown, default=0.0)


def fuzz(cases: int, seed: int, jobs: int, tell: Tell) -> bool:
    """Run them all. Returns whether none was flagged, and the memory kept its bound."""
    began = shown = time.monotonic()
    tally = Tally()
    for done in _done(seed, list(batches(cases)), jobs):
        tally.add(done)
        for flag in done.outcome.flags:
            if len(tally.flagged) <= SHOWN_FLAGS:
                tell(line_of(seed, done.outcome, flag))
        if time.monotonic() - shown > PROGRESS_SECONDS:
            shown = time.monotonic()
            tell(f"{sum(tally.counts.values())} of {cases} cases, {len(tally.flagged)} flagged, {shown - began:.0f} s")
    return _sum_up(tally, time.monotonic() - began, seed, tell)


def line_of(seed: int, outcome: BatchOutcome, flag: Flag) -> str:
    first, last = (flag.case, flag.case) if flag.case is not None else (outcome.cases[0], outcome.cases[-1])
    which = f"{outcome.target}:{first}..{last}"
    return f"{which}: {flag.what}\n    replay: python -m fuzz --seed {seed} --replay {which}"


def _sum_up(tally: Tally, seconds: float, seed: int, tell: Tell) -> bool:
    for what, count in sorted(tally.happened.items()):
        tell(f"    {what} {count}")
    grown = tally.growth_mib
    if grown > GROWTH_MIB:
        tell(f"memory: a worker grew by {grown:.0f} MiB, allowed {GROWTH_MIB:g}")
    per_target = ", ".join(f"{target} {tally.counts[target]}" for target in TARGETS)
    tell(
        f"{sum(tally.counts.values())} cases ({per_target}), seed {seed}, {seconds:.0f} s, "
        f"memory {grown:+.0f} MiB: {len(tally.flagged)} flagged"
    )
    return not tally.flagged and grown <= GROWTH_MIB


def _done(seed: int, waiting: Sequence[Batch], jobs: int) -> Iterator[Done]:
    """As they come, which is not the order of the cases."""
    run = partial(run_batch, seed)
    return map(run, waiting) if jobs == 1 else in_processes(run, waiting, jobs)
