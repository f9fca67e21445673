"""One torture run: a world in memory, the product's doors in it unmodified, callers, faults, and what came of it."""

import random
import signal
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import attrs
import trio

from db.memory import open_memory_database
from db.seed import BankFiles
from runtime.doors import Doors, open_doors
from runtime.errors import StoppedAtStart
from runtime.house import House
from runtime.settings import Settings, read_settings
from simulation.caller import Caller
from simulation.caller_report import CallerReport
from simulation.engine import Engine, open_engine
from simulation.network import Link, TrioSockets, VirtualNetwork
from simulation.scenario import Scenario
from simulation.speech import Tones
from simulation.vapi_cloud import VapiCloud, open_vapi_cloud
from simulation.virtual_poller import VirtualPoller
from torture.chronicle import Chronicle
from torture.faulty_database import FaultyDatabase
from torture.plan import FaultKind, Plan, PlannedCall

RUN_SECONDS = 300.0
"""Virtual: longer than anything in a run may take, a lost reply's search included."""
SETTLE_SECONDS = 60.0
SIMULATION_ID = "torture"


@attrs.frozen
class Rig:
    """What all runs of a process share: the simulated Vapi's certificate and the authority that vouches for it, the
    bank's rows, and the sounds of words."""

    tls: ssl.SSLContext
    ca_file: Path
    bank: BankFiles
    voice: Tones


@attrs.define(eq=False)
class Dialled:
    """A caller's network that remembers which connection was this caller's."""

    address: str = ""

    async def listen(self, host: str, port: int) -> Sequence[trio.SocketListener]:
        return await TrioSockets().listen(host, port)

    async def dial(self, host: str, port: int) -> trio.SocketStream:
        stream = await TrioSockets().dial(host, port)
        name = stream.socket.getsockname()
        self.address = f"{name[0]}:{name[1]}"
        return stream


@attrs.define(eq=False)
class HeldCall:
    """One planned call as it went. `report` is None while it lasts."""

    plan: PlannedCall
    dialled: Dialled = attrs.field(factory=Dialled)
    report: CallerReport | None = None


@attrs.frozen
class Struck:
    """A fault of a call's connection that did befall one, where it is known which."""

    at: float
    kind: FaultKind
    call: int


@attrs.define(eq=False)
class World:
    """What a run is made of, and what is left of it. Mutable: all below `chronicle` grows while it runs."""

    plan: Plan
    network: VirtualNetwork
    cloud: VapiCloud
    engine: Engine
    database: FaultyDatabase
    chronicle: Chronicle
    calls: list[HeldCall] = attrs.field(factory=list)
    struck: list[Struck] = attrs.field(factory=list)
    breaking: set[int] = attrs.field(factory=set)
    """Ports whose new connections break."""
    signalled_at: list[float] = attrs.field(factory=list)
    held_at: float = 0.0
    """When every caller, guest and fault of the plan was over."""
    settled_at: float | None = None
    """When nothing of the calls was left in the product; None when that was never seen."""
    replacements: int = 0
    """Rows that the tools have added."""
    signals: "trio.MemorySendChannel[int] | None" = None
    house: House | None = None
    voice_port: int = 0
    webhook_port: int = 0
    tasks_left: Counter[str] = attrs.field(factory=Counter)
    legs_left: list[Link] = attrs.field(factory=list)
    sockets_left: list[str] = attrs.field(factory=list)
    closing_since: float | None = None
    """When the doors were told to close because all was over; None when a signal closed them."""
    doors_closed_at: float = 0.0
    finished: bool = False

    def terminate(self) -> None:
        """SIGTERM, as the doors hear of it."""
        if self.signals is not None:
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):  # the doors are closed
                self.signals.send_nowait(signal.SIGTERM)
                self.signalled_at.append(trio.current_time())

    def on_link(self, link: Link) -> None:
        """Of the network: a connection was made."""
        if link.port in self.breaking:
            for half in (link.half("client"), link.half("server")):
                half.be_reset_at(trio.current_time() + 4 * half.inbound.weather.latency_seconds)

    def link_of(self, call: int) -> Link | None:
        """The caller's connection, once there is one."""
        address = self.calls[call].dialled.address if call < len(self.calls) else ""
        found = (link for link in self.network.links_to(self.voice_port) if link.client_address == address)
        return next(found, None) if address else None


Misfortunes = Callable[[World], Awaitable[None]]


async def run_plan(plan: Plan, rig: Rig, chronicle: Chronicle, misfortunes: Misfortunes) -> World:
    """Hold the plan's calls while `misfortunes` happen. The world that comes back has ended, one way or another."""
    network = VirtualNetwork(weather=plan.caller_weather, rng=random.Random(f"network {plan.seed}"))
    with chronicle.capturing_logs(), network.installed():
        with trio.move_on_after(RUN_SECONDS):
            async with _open_simulation(plan, network, rig, chronicle) as world:
                await _Run(world, _settings(world, rig), rig.voice, misfortunes).run()
                world.finished = True
        world.sockets_left = sorted(map(repr, network.open_sockets))
    return world


@asynccontextmanager
async def _open_simulation(plan: Plan, network: VirtualNetwork, rig: Rig, chronicle: Chronicle) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        memory = await stack.enter_async_context(open_memory_database(files=rig.bank))
        engine = await stack.enter_async_context(open_engine(on_event=chronicle.on_simulated_event))
        cloud = await stack.enter_async_context(
            open_vapi_cloud(
                agent=plan.agent,
                behaviour=plan.behaviour,
                speech=rig.voice,
                rng=random.Random(f"cloud {plan.seed}"),
                on_event=chronicle.on_simulated_event,
                tls=rig.tls if plan.tls else None,
            )
        )
        network.weather_at |= {cloud.port: plan.vapi_weather, cloud.transport_port: plan.vapi_weather}
        world = World(plan, network, cloud, engine, FaultyDatabase(memory), chronicle)
        network.on_link = world.on_link
        seeded = len(await memory.rows("replacements", {}))
        yield world
        world.replacements = len(await memory.rows("replacements", {})) - seeded


def _settings(world: World, rig: Rig) -> Settings:
    return read_settings(
        {
            "PORT": "0",
            "VOICE_HOST": "127.0.0.1",
            "WEBHOOK_PORT": "0",
            "CONSOLE_BIND": "none",
            "POD_ID": "torture",
            "VAPI_API_KEY": world.cloud.api_key,
            "VAPI_BASE_URL": world.cloud.base_url,
            "ENGINE_URL": world.engine.base_url,
            "SIMULATION_ID": SIMULATION_ID,
            "TOOL_POLICY": "open",
            "TAIL_MODE": world.plan.tail_mode,
            "SSL_CERT_FILE": str(rig.ca_file),
        }
    )


@attrs.frozen
class _Run:
    """Doors, callers and misfortunes. The callers live outside the doors' body: SIGTERM ends that, and not them."""

    world: World
    settings: Settings
    voice: Tones
    misfortunes: Misfortunes

    async def run(self) -> None:
        world = self.world
        world.signals, signals = trio.open_memory_channel[int](4)
        held = trio.Event()
        async with trio.open_nursery() as outside:
            with signals, suppress(StoppedAtStart):
                async with self._doors(signals) as doors:
                    world.house = doors.house
                    world.voice_port = _port_in(doors.voice_url)
                    world.webhook_port = _port_in(f"//{doors.webhook}")
                    before = product_tasks()
                    url = doors.voice_url
                    outside.start_soon(self._hold_all, url, held)
                    await held.wait()
                    await self._settle(before)
                    world.closing_since = trio.current_time()
            world.doors_closed_at = trio.current_time()
            if world.house is not None:
                await held.wait()
        self._look_at_legs()

    def _doors(self, signals: AsyncIterator[int]) -> AbstractAsyncContextManager[Doors]:
        world = self.world
        sink = world.chronicle.on_record_event
        return open_doors(self.settings, world.database, sink, signals, VirtualPoller())

    async def _hold_all(self, url: str, held: trio.Event) -> None:
        async with trio.open_nursery() as nursery:
            for planned in self.world.plan.calls:
                call = HeldCall(planned)
                self.world.calls.append(call)
                nursery.start_soon(self._hold, call, f"{url}?protocol={planned.protocol}")
            nursery.start_soon(self.misfortunes, self.world)
        self.world.held_at = trio.current_time()
        held.set()

    async def _hold(self, call: HeldCall, url: str) -> None:
        planned = call.plan
        await trio.sleep_until(planned.at)
        scenario = Scenario(name=f"torture {self.world.plan.seed}", caller=planned.steps, agent=self.world.plan.agent)
        call.report = await Caller(
            url,
            scenario,
            protocol=planned.protocol,
            speech=self.voice,
            on_event=self.world.chronicle.on_simulated_event,
            patience_seconds=planned.patience_seconds,
            max_call_seconds=90.0,
            network=call.dialled,
            call=f"caller {self.world.calls.index(call)}",
            frame_ms=planned.frame_ms,
        ).run()

    async def _settle(self, before: Counter[str]) -> None:
        """Until nothing of the calls is left in the product, or for SETTLE_SECONDS; what is left then stays noted."""
        with trio.move_on_after(SETTLE_SECONDS):
            while product_tasks() - before:  # noqa: ASYNC110
                await trio.sleep(0.05)  # no event tells of a task's end
            self.world.settled_at = trio.current_time()
        self.world.tasks_left = product_tasks() - before
        self._look_at_legs()

    def _look_at_legs(self) -> None:
        world = self.world
        world.legs_left += [link for link in world.network.links_to(world.voice_port) if not link.server.closed]
        world.legs_left += [
            link for link in world.network.links_to(world.cloud.transport_port) if not link.client.closed
        ]


def _port_in(url: str) -> int:
    return urlsplit(url).port or 0


def product_tasks() -> Counter[str]:
    """The tasks of the product that run now, by name: those below the process's supervisor."""
    root = trio.lowlevel.current_root_task()
    assert root is not None
    waiting, found = [(root, False)], Counter[str]()
    while waiting:
        task, inside = waiting.pop()
        inside = inside or task.name.startswith("process ")
        found[task.name] += inside
        waiting += [(child, inside) for nursery in task.child_nurseries for child in nursery.child_tasks]
    return +found
