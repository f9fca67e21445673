"""What a job keeps between conversations in real time: cloud, engine, bank, ear, and the agents it has started."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import attrs
import trio

from db.scratch import ScratchBank, TableReader, open_scratch_bank, open_table_reader
from runtime.settings import read_settings
from sandbox.agent_process import Agents, Surroundings
from sandbox.hold import Held, OnEvent, Stage, hold
from sandbox.live import LiveVapi, ended_check, open_live_vapi
from sandbox.options import Options, Task
from simulation.ear import Ear
from simulation.engine import Engine, open_engine
from simulation.scenario import Scenario
from simulation.speech import Speech, Tones, Voice
from simulation.vapi_cloud import VapiCloud, open_vapi_cloud

SCRIPTED_MS_PER_WORD = 80
NOT_OURS = "the agent made no call at the simulated Vapi"
NO_CLOUD = "this agent's Vapi is not ours to look at"
REAL = "the real Vapi's end of the call cannot be looked at"
NO_ENGINE = "the agent was not told of an engine (--engine-port)"
NO_DATABASE = "no database was given (--database-url)"
UNUSED_DATABASE = "the agent was not seen at the DATABASE_URL it was given"
NO_EAR = "speech is tones in scripted mode"


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


@attrs.frozen(eq=False)
class Witnesses:
    """Who sees a conversation beside its caller. None: is not there in this run."""

    cloud: VapiCloud | None = None
    engine: Engine | None = None
    ear: Ear | None = None
    bank: ScratchBank | None = None
    reader: TableReader | None = None
    live: LiveVapi | None = None


@attrs.frozen(eq=False)
class Crew:
    """Ready to hold one conversation after the other. ``agents`` is None when somebody else runs the agent."""

    options: Options
    voices: Voices
    witnesses: Witnesses
    agents: Agents | None

    async def hold(self, task: Task, on_event: OnEvent) -> Held:
        """Raises SpeechError, AgentFailed, DatabaseUnavailable."""
        policy, witnesses = task.scenario.policy, self.witnesses
        agent = await self.agents.of(policy) if self.agents else None
        if witnesses.bank is not None:
            await witnesses.bank.restore()
        created = len(agent.created) if agent else 0
        url = agent.voice_url if agent else self.options.agent_url
        held = await hold(task, await self._stage(task, url), self.options, on_event)
        if agent is not None and witnesses.live is not None:
            held = await _billed(held, witnesses.live, agent.created[created:])
        if self.agents is not None and task.scenario.faults.engine:
            # It may still be trying to report, and must not be heard in the next conversation.
            await self.agents.retire(policy)
        return held

    async def _stage(self, task: Task, url: str) -> Stage:
        witnesses, absent = self.witnesses, {}
        if self.options.agent != "simulated":
            absent["vapi"] = REAL if witnesses.live else NOT_OURS if witnesses.cloud else NO_CLOUD
        if witnesses.engine is None:
            absent["engine"] = NO_ENGINE
        if witnesses.ear is None:
            absent["ear"] = NO_EAR
        reader = witnesses.reader
        if reader is None:
            absent["database"] = NO_DATABASE
        return Stage(
            voice_url=url,
            speech=self.voices.of(task.scenario),
            cloud=witnesses.cloud,
            engine=witnesses.engine,
            read_rows=reader.rows if reader else None,
            ear=witnesses.ear,
            absent=absent,
            database_unused=await self._asks_for_use(reader),
        )

    async def _asks_for_use(self, reader: TableReader | None) -> Callable[[], Awaitable[str]] | None:
        """Somebody's agent need not use the database it is given. To be asked behind the call: it may connect late."""
        if reader is None or self.options.agent != "command" or self.witnesses.bank is None:
            return None
        before = await reader.others_connected()

        async def why_not() -> str:
            return "" if before or await reader.others_connected() else UNUSED_DATABASE

        return why_not


async def _billed(held: Held, vapi: LiveVapi, created: Sequence[str]) -> Held:
    """With what the real Vapi says of the call: that it is over, and what it cost."""
    call = await vapi.outcome(created[-1]) if created else None
    cost = call.cost if call else None
    return attrs.evolve(held, checks=(*held.checks, ended_check(call)), cost_dollars=cost)


@asynccontextmanager
async def open_crew(number: int, options: Options, server_url: str | None, runs: Path) -> AsyncIterator[Crew]:
    """Everything but the agents, which are started when a conversation asks for one. ``server_url``: a PostgreSQL of
    our own for them.

    Raises OSError, DatabaseUnavailable, BadDatabaseUrl.
    """
    name = f"sandbox-{number}"
    async with AsyncExitStack() as stack:
        witnesses = await _call_witnesses(stack, options, server_url, name)

        def around(policy: str) -> Surroundings:
            assert witnesses.engine is not None
            assert witnesses.bank is not None
            return Surroundings(
                vapi_url=witnesses.cloud.base_url if witnesses.cloud else "",
                vapi_key=witnesses.cloud.api_key if witnesses.cloud else "",
                engine_url=witnesses.engine.base_url,
                simulation_id=name,
                database_url=witnesses.bank.url,
                policy=policy,
            )

        async with trio.open_nursery() as nursery:
            agents = None
            if options.agent != "url":
                agents = Agents(options, around, lambda policy: runs / f"agent-{number}-{policy}.log", nursery)
            yield Crew(options, Voices(options.scripted), witnesses, agents)
            nursery.cancel_scope.cancel()


async def _call_witnesses(stack: AsyncExitStack, options: Options, server_url: str | None, name: str) -> Witnesses:
    engine = cloud = ear = bank = reader = live = None
    if not options.scripted:
        from simulation.pocket_ear import open_ear  # only who hears needs it

        ear = await stack.enter_async_context(open_ear(1))
    if options.agent != "url" or options.engine_port:
        engine = await stack.enter_async_context(open_engine(port=options.engine_port))
    if options.agent in ("simulated", "command"):
        cloud = await stack.enter_async_context(open_vapi_cloud(ear=ear))
    if server_url is not None:
        bank = await stack.enter_async_context(open_scratch_bank(server_url, name.replace("-", "_")))
        reader = bank.reader
    if options.database_url is not None:
        reader = await stack.enter_async_context(open_table_reader(options.database_url))
    if options.agent == "live":
        live = await stack.enter_async_context(open_live_vapi(read_settings(options.environ)))
    return Witnesses(cloud, engine, ear, bank, reader, live)
