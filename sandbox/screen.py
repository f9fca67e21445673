"""What somebody sees of a run: what happens now, what has failed so far, and the verdict.

A terminal shows a row for each job and a bar for the whole. A pipe or a file gets one line for each conversation that
is over, without control characters. Whatever an agent, a tool or a file has said is shown as text, never obeyed.
"""

import time
from collections.abc import Callable, Iterator
from typing import Final, Protocol

import attrs
from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from sandbox.verdict import Conversation, Verdict
from sandbox.wording import (
    FIGURES,
    NOTHING,
    Row,
    closing_line,
    lateness_warning,
    most_runs,
    printable,
    reason_of,
    rows_of,
    title_of,
    told,
    unchecked_of,
)

PLAIN_COLUMNS: Final = 160
"""Where nobody's window is the limit, a table need not fold."""
REFRESHES_PER_SECOND: Final = 8
CAPTION: Final = "milliseconds at the caller's ear; of several runs the worst, responses of all"


class Screen(Protocol):
    """Told of everything in a run, in order, by one thread. ``job`` is a number that one conversation at a time has."""

    def started(self, total: int) -> None:
        """``total`` conversations will be held."""

    def conversation_started(self, job: int, scenario: str, attempt: int) -> None:
        """One begins."""

    def event(self, job: int, line: str) -> None:
        """Something happened in the conversation that this job holds now."""

    def finished(self, conversation: Conversation) -> None:
        """One is over and graded, whether it was begun or not."""

    def closed(self) -> None:
        """Nothing more will be told; may be said twice."""


def open_screen(console: Console) -> Screen:
    """The one that suits this console; shows nothing before it is told something."""
    return LiveScreen(console) if console.is_terminal else PlainScreen(console)


@attrs.frozen
class PlainScreen:
    """A line for each conversation that is over."""

    console: Console

    def started(self, total: int) -> None: ...

    def conversation_started(self, job: int, scenario: str, attempt: int) -> None: ...

    def event(self, job: int, line: str) -> None: ...

    def finished(self, conversation: Conversation) -> None:
        _say(self.console, _outcome(conversation))

    def closed(self) -> None: ...


@attrs.define
class _Job:
    """Mutable: ``now``, the latest that happened."""

    scenario: str
    attempt: int
    began: float
    now: str = "begins"


@attrs.define(eq=False)
class LiveScreen:
    """Rows that change in place; each failure is printed above them as it comes.

    Mutable: ``_jobs``, the conversations that are being held, by job; ``_total``, ``_passed`` and ``_failed``;
    ``_live``, None before the start and after the end. A thread of rich's draws, and only reads these.
    """

    console: Console
    clock: Callable[[], float] = time.monotonic
    _total: int = 0
    _passed: int = 0
    _failed: int = 0
    _jobs: dict[int, _Job] = attrs.field(factory=dict)
    _live: Live | None = None

    def started(self, total: int) -> None:
        self._total = total
        self._live = Live(
            console=self.console,
            get_renderable=self.picture,
            refresh_per_second=REFRESHES_PER_SECOND,
            transient=True,
        )
        self._live.start()

    def conversation_started(self, job: int, scenario: str, attempt: int) -> None:
        self._jobs[job] = _Job(scenario, attempt, self.clock())

    def event(self, job: int, line: str) -> None:
        if job in self._jobs:
            self._jobs[job].now = printable(line)

    def finished(self, conversation: Conversation) -> None:
        held = (conversation.scenario, conversation.attempt)
        self._jobs = {number: job for number, job in self._jobs.items() if (job.scenario, job.attempt) != held}
        self._passed += conversation.passed
        self._failed += not conversation.passed
        if not conversation.passed:
            _say(self.console, _outcome(conversation))

    def closed(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def picture(self) -> RenderableType:
        """Everything as it is now."""
        jobs = Table(box=None, show_header=False, pad_edge=False, expand=True)
        jobs.add_column(no_wrap=True, overflow="ellipsis", ratio=2)
        jobs.add_column(no_wrap=True, overflow="ellipsis", ratio=3, style="dim")
        jobs.add_column(no_wrap=True, justify="right", width=7, style="dim")
        for _, job in sorted(list(self._jobs.items())):  # noqa: C414  # a copy, in one step: the other thread may write
            name = printable(job.scenario) + (f" [{job.attempt}]" if job.attempt > 1 else "")
            jobs.add_row(Text(name, "cyan"), Text(job.now), Text(f"{self.clock() - job.began:.0f} s"))
        if not self._jobs and not self._passed + self._failed:
            jobs.add_row(Text("starting", "dim"), Text(), Text())
        return Group(jobs, self._whole())

    def _whole(self) -> RenderableType:
        over = self._passed + self._failed
        whole = Table(box=None, show_header=False, pad_edge=False)
        counts = Text(f"{over} of {self._total}: {self._passed} passed, ")
        counts.append(f"{self._failed} failed", "bold red" if self._failed else "")
        whole.add_row(ProgressBar(total=max(1, self._total), completed=over, width=30), counts)
        return whole


def print_verdict(console: Console, verdict: Verdict) -> None:
    """The table, each failed conversation with its failed checks, what was not checked, and the verdict in a line."""
    if not console.is_terminal:
        columns = max(console.width, PLAIN_COLUMNS)
        console = Console(file=console.file, width=columns, color_system=None, force_terminal=False)
    if verdict.conversations:
        console.print()
        console.print(_table(verdict))
        _say(console, Text(CAPTION, "dim"))
        if warning := lateness_warning(verdict):
            _say(console, Text(warning, "yellow"))
    for line in _failures(verdict):
        _say(console, line)
    for line in _unchecked(verdict):
        _say(console, line)
    console.print()
    colour = "bold green" if verdict.passed else "bold red"
    _say(console, Text(closing_line(verdict), colour))


def _say(console: Console, line: Text) -> None:
    """One line, however long: it is folded by whoever shows it, so that it can be searched and copied."""
    console.print(line, soft_wrap=True)


def _outcome(conversation: Conversation) -> Text:
    if conversation.passed:
        return Text.assemble(("PASSED", "green"), f" {title_of(conversation)}, {conversation.seconds:.1f} s")
    seconds = "" if conversation.problem else f", {conversation.seconds:.1f} s"
    return Text.assemble(("FAILED", "bold red"), f" {title_of(conversation)}{seconds}: {reason_of(conversation)}")


def _table(verdict: Verdict) -> Table:
    most = most_runs(verdict)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    table.add_column("scenario", overflow="fold", vertical="bottom")
    heads = ["runs", "passed", *([f"pass^{most}"] if most > 1 else []), *FIGURES]
    for head in heads:
        # Over two lines where that makes a column narrower: a window of 80 columns must do.
        folded = head.replace(" ", "\n", 1) if " " in head else head.replace("-", "-\n")
        table.add_column(folded, justify="right", no_wrap=True)
    for row in rows_of(verdict):
        table.add_row(*_cells(row, most))
    return table


def _cells(row: Row, most: int) -> Iterator[Text]:
    yield Text(printable(row.tally.scenario), "" if row.passed else "red")
    yield Text(str(row.tally.runs))
    yield Text(str(row.tally.passed), "green" if row.passed else "bold red")
    if most > 1:
        yield Text(NOTHING if row.pass_all is None else f"{row.pass_all:.2f}")
    yield from (Text(figure) for figure in row.figures)


def _failures(verdict: Verdict) -> Iterator[Text]:
    for one in verdict.conversations:
        if one.passed:
            continue
        yield Text()
        yield Text.assemble(
            ("FAILED", "bold red"), f" {title_of(one)}", (f", seed {one.seed}, {printable(one.file)}", "dim")
        )
        if not one.failures:
            yield Text(f"  {reason_of(one)}")
        for check in one.failures:
            yield Text(f"  {told(check)}")
        if one.folder is not None:
            yield Text(f"  {printable(one.folder)}", "dim")


def _unchecked(verdict: Verdict) -> Iterator[Text]:
    summed = unchecked_of(verdict)
    if summed:
        yield Text()
        yield Text("not checked", "yellow")
    for reason, count, names in summed:
        yield Text.assemble(f"  {count} ", (f"{reason}: ", "yellow"), "; ".join(names))
