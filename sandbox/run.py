"""Many conversations on several processes: what `voice run` does between its options and its reports."""

import multiprocessing
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from queue import Empty
from typing import Any, Final, Protocol

import attrs

from sandbox.job import Job, not_held, run_job
from sandbox.options import Options, Task
from sandbox.screen import Screen
from sandbox.verdict import Conversation, Verdict
from simulation.scenario import Scenario

LOOK_SECONDS: Final = 0.5
END_SECONDS: Final = 15.0
QUEUED_TASKS: Final = 64
"""More than there are processes: each has one task at a time."""
QUEUED_NEWS: Final = 10_000
SEED_STEP: Final = 1_000_003
"""Between the attempts of a scenario: their seeds must not be those of another."""


def tasks_of(scenarios: Sequence[Scenario], repeat: int, seed: int | None, runs: Path) -> list[Task]:
    """``repeat`` attempts of each scenario, first all first attempts. ``seed`` stands in for the scenarios' own."""
    tasks = []
    for attempt in range(1, repeat + 1):
        for scenario in scenarios:
            first = scenario.seed if seed is None else seed
            folder = runs / (scenario.name if repeat == 1 else f"{scenario.name}-{attempt}")
            tasks.append(Task(scenario, attempt, first + (attempt - 1) * SEED_STEP, folder))
    return tasks


class Gate(Protocol):
    """Decides before each conversation whether it is held."""

    def refuses(self) -> str:
        """Why not; "" when it is."""

    def spend(self, conversation: Conversation) -> None:
        """One that was held."""


@attrs.frozen
class Free:
    """Costs nothing: all are held."""

    def refuses(self) -> str:
        return ""

    def spend(self, conversation: Conversation) -> None: ...


@attrs.frozen
class Plan:
    """What is held, how, on how many processes, and where it leaves its artifacts. ``server_url``: a PostgreSQL of
    our own for the agents; None when none is started."""

    tasks: Sequence[Task]
    options: Options
    jobs: int
    server_url: str | None
    runs: Path
    gate: Gate = attrs.field(factory=Free)


def run_plan(plan: Plan, screen: Screen, may_stop: Callable[[], None] = lambda: None) -> Verdict:
    """Hold them all. Ctrl-C ends the processes, and is raised.

    ``may_stop`` is called at least every LOOK_SECONDS; what it raises does the same. In a thread of Trio's it must be
    ``trio.from_thread.check_cancelled``: Ctrl-C does not come to such a thread by itself.
    """
    began = time.monotonic()
    screen.started(len(plan.tasks))
    try:
        with _open_jobs(plan) as jobs:
            held = list(_Run(plan, jobs, screen, may_stop).held())
    finally:
        screen.closed()
    order = {(task.scenario.name, task.attempt): place for place, task in enumerate(plan.tasks)}
    held.sort(key=lambda one: order[one.scenario, one.attempt])
    return Verdict(tuple(held), plan.options.how, time.monotonic() - began)


@attrs.frozen
class _Jobs:
    """The processes, and the post between them and us."""

    processes: dict[int, BaseProcess]
    tasks: Any
    news: Any

    @property
    def all_dead(self) -> bool:
        return not any(process.is_alive() for process in self.processes.values())

    def close(self) -> None:
        """All of them, in bounded time."""
        deadline = time.monotonic() + END_SECONDS
        for process in self.processes.values():
            process.join(max(0.0, deadline - time.monotonic()))
            if process.is_alive():
                process.terminate()
                process.join(1.0)
            if process.is_alive():
                process.kill()


@contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """Processes started in here do not hear it, also before they can say so themselves; we hear it behind."""
    heard = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, heard)


@contextmanager
def _open_jobs(plan: Plan) -> Iterator[_Jobs]:
    context = multiprocessing.get_context("spawn")
    jobs = _Jobs({}, context.Queue(maxsize=QUEUED_TASKS), context.Queue(maxsize=QUEUED_NEWS))
    try:
        with _deaf_to_ctrl_c():
            for number in range(1, min(plan.jobs, len(plan.tasks)) + 1):
                job = Job(number, plan.options, plan.server_url, plan.runs, jobs.tasks, jobs.news)
                process: BaseProcess = context.Process(target=run_job, args=(job,), name=f"voice job {number}")
                process.start()
                jobs.processes[number] = process
        yield jobs
        for _ in jobs.processes:
            jobs.tasks.put(None)
    except BaseException:
        for process in jobs.processes.values():
            process.terminate()
        raise
    finally:
        jobs.close()


@attrs.define(eq=False)
class _Run:
    """Gives a task to each process that is free, and takes what comes back. Mutable: ``_waiting``, ``_given`` (tasks
    that are with a process) and ``_holding`` (which process holds which)."""

    plan: Plan
    jobs: _Jobs
    screen: Screen
    may_stop: Callable[[], None]
    _waiting: deque[Task] = attrs.field(factory=deque)
    _given: dict[tuple[str, int], Task] = attrs.field(factory=dict)
    _holding: dict[int, Task] = attrs.field(factory=dict)

    def held(self) -> Iterator[Conversation]:
        """Each conversation as it ends; those of a process that died are problems of their own."""
        self._waiting.extend(self.plan.tasks)
        while self._waiting or self._given:
            self.may_stop()
            yield from self._give()
            if not self._given:
                return
            try:
                told = self.jobs.news.get(timeout=LOOK_SECONDS)
            except Empty:
                yield from self._lost()
            else:
                yield from self._hear(*told)

    def _give(self) -> Iterator[Conversation]:
        """As many as there are processes; when the gate refuses, none of the rest is held any more."""
        while self._waiting and len(self._given) < len(self.jobs.processes):
            refusal = self.plan.gate.refuses()
            if refusal:
                for task in self._waiting:
                    yield self._finished(not_held(task, refusal))
                self._waiting.clear()
                return
            task = self._waiting.popleft()
            self._given[task.key] = task
            self.jobs.tasks.put(task)

    def _hear(self, kind: str, number: int, *rest: Any) -> Iterator[Conversation]:
        if kind == "started":
            self._holding[number] = self._given[rest[0], rest[1]]
            self.screen.conversation_started(number, rest[0], rest[1])
        elif kind == "event":
            self.screen.event(number, rest[0])
        else:
            conversation: Conversation = rest[0]
            del self._given[conversation.scenario, conversation.attempt]
            self._holding.pop(number, None)
            self.plan.gate.spend(conversation)
            yield self._finished(conversation)

    def _finished(self, conversation: Conversation) -> Conversation:
        self.screen.finished(conversation)
        return conversation

    def _lost(self) -> Iterator[Conversation]:
        """Of processes that died while they held one; of all that is left when none lives."""
        for number, task in list(self._holding.items()):
            process = self.jobs.processes[number]
            if not process.is_alive():
                del self._holding[number], self._given[task.key]
                yield self._finished(not_held(task, f"the process that held it died with code {process.exitcode}"))
        if self.jobs.all_dead:
            left = [*self._given.values(), *self._waiting]
            self._given.clear()
            self._waiting.clear()
            for task in left:
                yield self._finished(not_held(task, "no process was left to hold it: see what was printed above"))
