"""A conversation with our own agent in memory, under a clock that jumps: the same seed gives the same bytes."""

import gc
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import attrs

from db.door import Database
from db.memory import open_memory_database
from db.seed import BankFiles
from runtime.doors import open_doors
from runtime.record import Event as ProductEvent
from runtime.settings import Settings, read_settings
from sandbox.hold import Held, OnEvent, Stage, hold
from sandbox.options import Options, Task
from simulation.ear import Ear
from simulation.engine import Engine, open_engine
from simulation.events import Event
from simulation.evidence import Rows
from simulation.network import VirtualNetwork
from simulation.speech import Voice
from simulation.vapi_cloud import VapiCloud, open_vapi_cloud
from simulation.virtual_poller import VirtualPoller

SIMULATION_ID = "sandbox"


@attrs.frozen
class Props:
    """What all conversations of a process share: the bank's rows, the voice, and an ear that hears in this process."""

    bank: BankFiles
    speech: Voice
    ear: Ear | None


def hold_virtually(task: Task, props: Props, options: Options, on_event: OnEvent | None = None) -> Held:
    """The conversation, its every draw decided by the task's seed. For a process without another Trio run."""
    from torture.determinism import run_decided  # hypothesis takes a while, and nobody else here needs it

    gc.disable()  # what a conversation leaves is collected behind it
    try:
        held: Held = run_decided(task.seed, lambda _trace: _held(task, props, options, on_event), traced=False)
    finally:
        gc.enable()
        gc.collect()
    return held


async def _held(task: Task, props: Props, options: Options, on_event: OnEvent | None) -> Held:
    network = VirtualNetwork(rng=random.Random(f"network {task.seed}"))
    with network.installed():
        async with _stage(task, props, options) as stage:
            held = await hold(task, stage, options, on_event)
    return held


@asynccontextmanager
async def _stage(task: Task, props: Props, options: Options) -> AsyncIterator[Stage]:
    told: list[ProductEvent] = []
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(open_memory_database(files=props.bank))
        engine = await stack.enter_async_context(open_engine())
        cloud = await stack.enter_async_context(
            open_vapi_cloud(speech=props.speech, ear=props.ear, rng=random.Random(task.seed))
        )
        settings = _settings(task, cloud, engine, options)
        doors = await stack.enter_async_context(open_doors(settings, database, told.append, None, VirtualPoller()))
        yield Stage(
            voice_url=doors.voice_url,
            speech=props.speech,
            cloud=cloud,
            engine=engine,
            read_rows=lambda tables: _rows(database, tables),
            ear=props.ear,
            events=lambda: [Event(e.t, e.mono, e.call, e.who, e.event, e.data) for e in told],
        )


async def _rows(database: Database, tables: set[str]) -> Rows:
    return {table: await database.rows(table, {}) for table in sorted(tables)}


def _settings(task: Task, cloud: VapiCloud, engine: Engine, options: Options) -> Settings:
    return read_settings(
        {
            "PORT": "0",
            "VOICE_HOST": "127.0.0.1",
            "WEBHOOK_PORT": "0",
            "CONSOLE_BIND": "none",
            "POD_ID": SIMULATION_ID,
            "VAPI_API_KEY": cloud.api_key,
            "VAPI_BASE_URL": cloud.base_url,
            "ENGINE_URL": engine.base_url,
            "SIMULATION_ID": SIMULATION_ID,
            "TOOL_POLICY": task.scenario.policy,
            "TAIL_MODE": options.tail_mode,
        }
    )
