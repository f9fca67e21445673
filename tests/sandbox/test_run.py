"""Tasks spread over processes: each is held once, whatever becomes of a process."""

import multiprocessing
import os
import queue
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from sandbox import job, run
from sandbox.job import Job, not_held
from sandbox.options import Options
from sandbox.run import Free, Plan, run_plan, tasks_of
from sandbox.verdict import Conversation, Tally
from simulation.scenario import HangUp, Scenario


class SilentScreen:
    """Takes what is told and keeps what was finished."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def started(self, total: int) -> None: ...
    def conversation_started(self, job: int, scenario: str, attempt: int) -> None: ...
    def event(self, job: int, line: str) -> None: ...
    def closed(self) -> None: ...

    def finished(self, conversation: Conversation) -> None:
        self.names.append(conversation.scenario)


def told_to(job: Job) -> None:
    """A job that holds nothing: it does what the scenario's name says."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for task in job.each():
        job.started(task)
        if task.scenario.name == "dies":
            job.news.close()  # type: ignore[attr-defined]
            job.news.join_thread()  # type: ignore[attr-defined]
            os._exit(7)
        if task.scenario.name == "is interrupted":
            os.kill(os.getppid(), signal.SIGINT)
            time.sleep(5)
        job.finished(not_held(task, "as told"))


class Once:
    """A gate that lets one through."""

    def __init__(self) -> None:
        self.held = 0

    def refuses(self) -> str:
        return "enough" if self.held else ""

    def spend(self, conversation: Conversation) -> None:
        self.held += bool(conversation.scenario)


def outcome(monkeypatch: pytest.MonkeyPatch, folder: Path, *names: str, jobs: int = 2, gate: Any = None) -> Any:
    monkeypatch.setattr(run, "run_job", told_to)
    scenarios = [Scenario(name, (HangUp(),)) for name in names]
    tasks = tasks_of(scenarios, 1, None, folder)
    screen = SilentScreen()
    verdict = run_plan(Plan(tasks, Options(), jobs, None, folder, gate or Free()), screen)
    assert sorted(screen.names) == sorted(names)
    return verdict


def test_run_tells_of_each_task_in_order_when_processes_take_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    verdict = outcome(monkeypatch, tmp_path, "a", "b", "c")
    assert [one.scenario for one in verdict.conversations] == ["a", "b", "c"]
    assert not verdict.passed


def test_run_goes_on_and_says_so_when_a_process_dies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    verdict = outcome(monkeypatch, tmp_path, "a", "dies", "b", "c")
    assert {one.scenario: one.problem for one in verdict.conversations} == {
        "a": "as told",
        "dies": "the process that held it died with code 7",
        "b": "as told",
        "c": "as told",
    }


def test_run_ends_when_its_only_process_dies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    verdict = outcome(monkeypatch, tmp_path, "dies", "a", jobs=1)
    assert "no process was left" in verdict.conversations[1].problem


def test_run_holds_no_more_when_its_gate_refuses(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    verdict = outcome(monkeypatch, tmp_path, "a", "b", "c", jobs=1, gate=Once())
    assert [one.problem for one in verdict.conversations] == ["as told", "enough", "enough"]


def test_run_ends_at_once_when_ctrl_c_comes_while_trio_waits_for_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(run, "run_job", told_to)
    plan = Plan(tasks_of([Scenario("is interrupted", (HangUp(),))], 1, None, tmp_path), Options(), 1, None, tmp_path)
    screen = SilentScreen()
    with pytest.raises(KeyboardInterrupt):
        trio.run(trio.to_thread.run_sync, run_plan, plan, screen, trio.from_thread.check_cancelled)
    assert screen.names == []
    assert multiprocessing.active_children() == []


class BreaksDown:
    """A crew whose cloud fails while a conversation is held."""

    async def hold(self, *_: object) -> None:
        await trio.sleep_forever()


@asynccontextmanager
async def breaking_crew(*_: object) -> AsyncIterator[BreaksDown]:
    async def fail() -> None:
        await trio.lowlevel.checkpoint()
        raise OSError("no space left")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(fail)
        yield BreaksDown()


def test_job_tells_of_the_conversation_that_it_held_when_its_crew_breaks_down(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(job, "open_crew", breaking_crew)
    tasks, news = queue.Queue[Any](1), queue.Queue[Any](2)
    tasks.put(tasks_of([Scenario("a", (HangUp(),))], 1, None, tmp_path)[0])
    with pytest.RaisesGroup(OSError):
        trio.run(job._run_really, Job(1, Options(), None, tmp_path, tasks, news))
    assert news.get_nowait() == ("started", 1, "a", 1)
    assert "broke down" in news.get_nowait()[2].problem


def test_attempts_have_seeds_of_their_own_when_repeated(tmp_path: Path) -> None:
    scenario = Scenario("a", (HangUp(),), seed=5)
    assert [task.seed for task in tasks_of([scenario], 3, None, tmp_path)] == [5, 1_000_008, 2_000_011]
    assert tasks_of([scenario], 1, 9, tmp_path)[0].seed == 9


def test_tally_tells_how_likely_k_runs_all_pass() -> None:
    tally = Tally("a", runs=4, passed=3)
    assert (tally.pass_all(1), tally.pass_all(2), tally.pass_any(2)) == (0.75, 0.5, 1.0)
    assert tally.pass_all(5) is None
