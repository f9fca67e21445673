"""One job of a run: a process that holds one conversation after the other, with an agent of its own kept warm."""

import os
import signal
import threading
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from multiprocessing import parent_process
from pathlib import Path
from typing import Any, Protocol

import attrs
import trio

from db.door import DatabaseUnavailable
from db.scratch import ScratchBank, TableReader, open_scratch_bank, open_table_reader
from db.seed import read_bank_files
from runtime.logs import configure_logging
from runtime.settings import read_settings
from sandbox.agent_process import AgentFailed, AgentProcess, Surroundings, open_agent
from sandbox.hold import Held, Stage, conversation_of, hold
from sandbox.live import LiveVapi, ended_check, open_live_vapi
from sandbox.options import Options, Task
from sandbox.verdict import Conversation
from sandbox.virtual import Props, hold_virtually
from simulation.ear import Ear
from simulation.engine import Engine, open_engine
from simulation.events import Event
from simulation.scenario import Scenario
from simulation.speech import Speech, SpeechError, Tones, Voice
from simulation.vapi_cloud import VapiCloud, open_vapi_cloud

SCRIPTED_MS_PER_WORD = 80
NOT_OURS = "the agent made no call at the simulated Vapi"
REAL = "the real Vapi's end of the call cannot be looked at"
NO_ENGINE = "the agent was not told of an engine (--engine-port)"
NO_DATABASE = "no database was given (--database-url)"
UNUSED_DATABASE = "the agent never connected to the DATABASE_URL it was given"
NO_EAR = "speech is tones in scripted mode"


FORESEEN = (SpeechError, AgentFailed, DatabaseUnavailable)


class Post(Protocol):
    """One way between two processes."""

    def get(self) -> Any: ...
    def put(self, item: Any) -> None: ...


@attrs.frozen
class Job:
    """``number`` counts from 1. ``tasks`` gives Task after Task, then None; ``news`` takes what is told of them:
    ``("started", number, scenario, attempt)``, ``("event", number, line)``, ``("finished", number, Conversation)``."""

    number: int
    options: Options
    server_url: str | None
    """A PostgreSQL of our own; None when no agent is started."""
    runs: Path
    tasks: Post
    news: Post

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
        log = self.runs / f"job-{self.number}.log"
        with log.open("a", encoding="utf-8") as output:
            traceback.print_exception(error, file=output)
        return f"{type(error).__name__}: {error}; see {log}"

    def each(self) -> Iterator[Task]:
        """Until there are no more."""
        yield from iter(self.tasks.get, None)


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
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    configure_logging("critical")
    if job.options.virtual:
        _run_virtually(job)
    else:
        trio.run(_run_really, job)


def _end_with_the_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@attrs.frozen
class Voices:
    """The voice for each scenario: tones when scripted, else the recordings that lie beside it. ``_opened`` grows with
    the folders in use."""

    scripted: bool
    _opened: dict[Path, Voice] = attrs.field(factory=dict)

    def of(self, scenario: Scenario) -> Voice:
        """Each recording is read once."""
        folder = Path() if self.scripted else scenario.path.parent / "audio"
        if folder not in self._opened:
            self._opened[folder] = Tones(SCRIPTED_MS_PER_WORD) if self.scripted else Speech(folder)
        return self._opened[folder]


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
    async with open_crew(job) as crew:
        while (task := await trio.to_thread.run_sync(job.tasks.get, abandon_on_cancel=True)) is not None:
            job.started(task)
            try:
                # Graded in this thread: nothing else goes on in this process now, and the next call is not disturbed.
                conversation = conversation_of(await crew.hold(task))
            except Exception as error:  # noqa: BLE001  # as above
                conversation = not_held(task, job.told_of_failure(error))
            job.finished(conversation)


@attrs.define(eq=False)
class Crew:
    """Everything a job keeps between conversations. Mutable: ``_agents``, one for each policy that was asked for."""

    job: Job
    voices: Voices
    stack: AsyncExitStack
    cloud: VapiCloud | None
    engine: Engine | None
    ear: Ear | None
    bank: ScratchBank | None
    reader: TableReader | None
    live: LiveVapi | None
    on_event: Callable[[Event], None]
    _agents: dict[str, AgentProcess] = attrs.field(factory=dict)

    async def hold(self, task: Task) -> Held:
        """Raises SpeechError, AgentFailed, DatabaseUnavailable."""
        url = self.job.options.agent_url or (await self._agent(task.scenario.policy)).voice_url
        if self.bank is not None:
            await self.bank.restore()
        made_before = self._created()
        held = await hold(task, await self._stage(task, url), self.job.options, self.on_event)
        return held if self.live is None else await self._billed(held, self.live, made_before)

    def _created(self) -> int:
        return sum(len(agent.created) for agent in self._agents.values())

    async def _billed(self, held: Held, vapi: LiveVapi, made_before: int) -> Held:
        """With what the real Vapi says of the call: that it is over, and what it cost."""
        agent = self._agents[held.task.scenario.policy]
        call = await vapi.outcome(agent.created[-1]) if self._created() > made_before else None
        cost = call.cost if call else None
        return attrs.evolve(held, checks=(*held.checks, ended_check(call)), cost_dollars=cost)

    async def _agent(self, policy: str) -> AgentProcess:
        agent = self._agents.get(policy)
        if agent is None or agent.child.ended.is_set():
            assert self.engine is not None
            assert self.bank is not None
            around = Surroundings(
                vapi_url=self.cloud.base_url if self.cloud else "",
                vapi_key=self.cloud.api_key if self.cloud else "",
                engine_url=self.engine.base_url,
                simulation_id=self._simulation_id,
                database_url=self.bank.url,
                policy=policy,
            )
            log = self.job.runs / f"agent-{self.job.number}-{policy}.log"
            agent = await self.stack.enter_async_context(open_agent(self.job.options, around, log))
            self._agents[policy] = agent
        return agent

    @property
    def _simulation_id(self) -> str:
        return f"sandbox-{self.job.number}"

    async def _stage(self, task: Task, url: str) -> Stage:
        absent: dict[str, str] = {}
        if self.job.options.agent != "simulated":
            absent["vapi"] = REAL if self.live else NOT_OURS
        if self.engine is None:
            absent["engine"] = NO_ENGINE
        if self.ear is None:
            absent["ear"] = NO_EAR
        reader = self.reader
        if reader is None:
            absent["database"] = NO_DATABASE
        elif self.job.options.agent == "command" and not await reader.others_connected():
            absent["database"] = UNUSED_DATABASE
            reader = None
        return Stage(
            voice_url=url,
            speech=self.voices.of(task.scenario),
            cloud=self.cloud,
            engine=self.engine,
            read_rows=reader.rows if reader else None,
            ear=self.ear,
            absent=absent,
        )


@asynccontextmanager
async def open_crew(job: Job) -> AsyncIterator[Crew]:
    """Cloud, engine, bank and ear for the body; agents are started when the first conversation asks for one.

    Raises OSError, DatabaseUnavailable, BadDatabaseUrl.
    """
    options, voices = job.options, Voices(job.options.scripted)
    async with AsyncExitStack() as stack:
        ear = None
        if not options.scripted:
            from simulation.pocket_ear import open_ear  # as above

            ear = await stack.enter_async_context(open_ear(1))
        engine = cloud = bank = reader = None
        if options.agent != "url" or options.engine_port:
            engine = await stack.enter_async_context(open_engine(port=options.engine_port))
        if options.agent in ("simulated", "command"):
            cloud = await stack.enter_async_context(open_vapi_cloud(**({"ear": ear} if ear else {})))
        if job.server_url is not None:
            bank = await stack.enter_async_context(open_scratch_bank(job.server_url, f"sandbox_{job.number}"))
            reader = bank.reader
        if options.database_url is not None:
            reader = await stack.enter_async_context(open_table_reader(options.database_url))
        live = None
        if options.agent == "live":
            live = await stack.enter_async_context(open_live_vapi(read_settings(options.environ)))
        yield Crew(job, voices, stack, cloud, engine, ear, bank, reader, live, job.on_event)
