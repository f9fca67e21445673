"""One job of a run: a process that holds one conversation after the other, with an agent of its own kept warm."""

import signal
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import attrs
import trio

from db.door import DatabaseUnavailable
from db.seed import read_bank_files
from runtime.logs import configure_logging
from sandbox.agent_process import AgentFailed
from sandbox.crew import Voices, open_crew
from sandbox.hold import conversation_of
from sandbox.options import Options, Task
from sandbox.verdict import Conversation
from sandbox.virtual import Props, hold_virtually
from simulation.events import Event
from simulation.orphans import end_with_the_parent
from simulation.speech import SpeechError

FORESEEN = (SpeechError, AgentFailed, DatabaseUnavailable)


class Post(Protocol):
    """One way between two processes."""

    def get(self) -> Any: ...
    def put(self, item: Any) -> None: ...


@attrs.define(eq=False)
class Job:
    """``number`` counts from 1. ``tasks`` gives Task after Task, then None; ``news`` takes what is told of them:
    ``("started", number, scenario, attempt)``, ``("event", number, line)``, ``("finished", number, Conversation)``.
    Mutable: ``_over``."""

    number: int
    options: Options
    server_url: str | None
    """A PostgreSQL of our own; None when no agent is started."""
    runs: Path
    tasks: Post
    news: Post
    _over: bool = attrs.field(default=False, init=False)

    @property
    def log(self) -> Path:
        """Where tracebacks go."""
        return self.runs / f"job-{self.number}.log"

    def started(self, task: Task) -> None:
        self.news.put(("started", self.number, task.scenario.name, task.attempt))

    def finished(self, conversation: Conversation) -> None:
        self.news.put(("finished", self.number, conversation))

    def on_event(self, event: Event) -> None:
        line = told_of(event)
        if line:
            self.news.put(("event", self.number, line))

    def told_of_failure(self, error: Exception) -> str:
        """One line of why a conversation could not be held; of what nobody foresaw, the rest goes to a file."""
        if isinstance(error, FORESEEN):
            return str(error)
        with self.log.open("a", encoding="utf-8") as output:
            traceback.print_exception(error, file=output)
        return f"{type(error).__name__}: {error}; see {self.log}"

    def next_task(self) -> Task | None:
        """Waits for it. None when there are no more, however often one asks."""
        task: Task | None = None if self._over else self.tasks.get()
        self._over = task is None
        return task

    def each(self) -> Iterator[Task]:
        """Until there are no more."""
        yield from iter(self.next_task, None)


def told_of(event: Event) -> str:
    """What is worth a line while a call is held; no words of a caller, which may be anybody's data."""
    match event.who, event.event:
        case "caller", "turn-started":
            return "the caller speaks"
        case "agent", "speech-started":
            return "the agent speaks"
        case "tool", "posted":
            return f"tool: {', '.join(event.data['tools'])}"
        case _, "call-ended":
            return "the call is over"
    return ""


def run_job(job: Job) -> None:
    """The whole life of a job's process. Ends when there are no more tasks, and with its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for whoever started us, who then ends us
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # an agent of ours may need it
    end_with_the_parent()
    configure_logging("critical")
    try:
        if job.options.virtual:
            _run_virtually(job)
        else:
            trio.run(_run_really, job)
    except Exception as error:  # noqa: BLE001  # the job's barrier: what it cannot open is why it holds nothing
        problem = job.told_of_failure(error)
        for task in job.each():
            job.started(task)
            job.finished(not_held(task, problem))


def _run_virtually(job: Job) -> None:
    ear = None
    if not job.options.scripted:
        from simulation.pocket_ear import EarHere  # only who hears needs it

        ear = EarHere()
    bank, voices = trio.run(read_bank_files), Voices(job.options.scripted)
    for task in job.each():
        job.started(task)
        try:
            held = hold_virtually(task, Props(bank, voices.of(task.scenario), ear), job.options, job.on_event)
            conversation = conversation_of(held)
        except Exception as error:  # noqa: BLE001  # the job's barrier: what one conversation raises ends that one
            conversation = not_held(task, job.told_of_failure(error))
        job.finished(conversation)


def not_held(task: Task, problem: str) -> Conversation:
    """A conversation that could not be begun, or was not finished."""
    return Conversation(
        scenario=task.scenario.name,
        file=str(task.scenario.path),
        about=task.scenario.about,
        attempt=task.attempt,
        seed=task.seed,
        problem=problem,
    )


async def _run_really(job: Job) -> None:
    async with open_crew(job.number, job.options, job.server_url, job.runs) as crew:
        # Not abandoned when the crew breaks down: the thread would take a task that nobody then holds.
        while (task := await trio.to_thread.run_sync(job.next_task)) is not None:
            job.started(task)
            conversation = not_held(task, f"what stands around it broke down: see {job.log}")
            try:
                # Graded in this thread: nothing else goes on in this process now, and the next call is not disturbed.
                conversation = conversation_of(await crew.hold(task, job.on_event))
            except Exception as error:  # noqa: BLE001  # as above
                conversation = not_held(task, job.told_of_failure(error))
            finally:  # also when the crew's failure cancels us: whoever gave the task waits for it
                job.finished(conversation)
