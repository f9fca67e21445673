"""A whole world in the test's own process: cloud, engine, doors and a database, on whatever network is installed."""

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import trio

from db.door import Database
from db.memory import open_memory_database
from runtime.doors import Doors, open_doors
from runtime.record import Event
from runtime.settings import read_settings
from simulation.caller import Caller
from simulation.caller_report import CallerReport
from simulation.checks import Check, check_expectations, tables_of
from simulation.engine import Engine, open_engine
from simulation.evidence import Evidence
from simulation.scenario import Scenario, load_scenario
from simulation.speech import Tones
from simulation.vapi_call import SimulatedCall
from simulation.vapi_cloud import VapiCloud, open_vapi_cloud
from simulation.virtual_poller import VirtualPoller
from simulation.virtual_socket import VirtualSocket

SCENARIO = Path("scenarios/replace-card.yaml")
VOICE = Tones(ms_per_word=40)


@attrs.frozen
class World:
    cloud: VapiCloud
    engine: Engine
    doors: Doors
    database: Database
    events: list[Event]
    scenario: Scenario

    @property
    def counts(self) -> dict[str, int]:
        return dict(self.doors.house.counts)

    def caller(self, protocol: str = "binary", scenario: Scenario | None = None, **knobs: Any) -> Caller:
        url = f"{self.doors.voice_url}?protocol={protocol}"
        return Caller(url, scenario or self.scenario, protocol=protocol, speech=VOICE, **knobs)  # type: ignore[arg-type]

    async def call(self, protocol: str = "binary", scenario: Scenario | None = None, **knobs: Any) -> CallerReport:
        with trio.fail_after(60):
            return await self.caller(protocol, scenario, **knobs).run()

    async def short_call(self) -> CallerReport:
        """A call that hears the greeting, says goodbye and hangs up: what must still work after a failure."""
        report = await self.call(scenario=attrs.evolve(self.scenario, caller=self.scenario.caller[-2:]))
        assert report.received
        return report

    async def ended(self, call: SimulatedCall, within_seconds: float = 10.0) -> SimulatedCall:
        with trio.fail_after(within_seconds):
            await call.ending.wait()
        return call

    async def until(self, holds: Callable[[], Any], within_seconds: float = 5.0) -> Any:
        """Wait for something to become true."""
        with trio.fail_after(within_seconds):
            while not (value := holds()):
                await trio.sleep(0.01)
        return value

    def event(self, name: str) -> list[Event]:
        return [event for event in self.events if event.event == name]

    async def judge(self, report: CallerReport) -> Sequence[Check]:
        call = self.cloud.calls[-1]
        await self.ended(call)
        with trio.fail_after(5):
            await call.over.wait()
        rows = {table: await self.database.rows(table, {}) for table in tables_of(self.scenario)}
        await self.until(lambda: len(self.engine.events("test")) >= len(self.scenario.expect.tools))
        return check_expectations(self.scenario, Evidence(report, call, self.engine.events("test"), rows))


def poller() -> VirtualPoller | None:
    """Of the network that is installed; None: of this machine."""
    probe = trio.socket.socket()
    probe.close()
    return VirtualPoller() if isinstance(probe, VirtualSocket) else None


@asynccontextmanager
async def open_world(
    database: Database | None = None,
    before: Callable[[VapiCloud], Awaitable[None]] | None = None,
    tls: ssl.SSLContext | None = None,
    signals: AsyncIterator[int] | None = None,
    **environ: str,
) -> AsyncIterator[World]:
    """Open everything; `environ` adds to or replaces the settings of the doors; `tls` is the cloud's.

    The first of `signals` cancels the body, and the doors drain."""
    scenario = load_scenario(SCENARIO)
    events: list[Event] = []
    async with AsyncExitStack() as stack:
        database = database or await stack.enter_async_context(open_memory_database())
        engine = await stack.enter_async_context(open_engine())
        cloud = await stack.enter_async_context(
            open_vapi_cloud(agent=scenario.agent, caller_lines=scenario.caller_lines, speech=VOICE, tls=tls)
        )
        settings = read_settings(
            {
                "PORT": "0",
                "VOICE_HOST": "127.0.0.1",
                "WEBHOOK_PORT": "0",
                "CONSOLE_BIND": "none",
                "POD_ID": "pod-1",
                "VAPI_API_KEY": cloud.api_key,
                "VAPI_BASE_URL": cloud.base_url,
                "ENGINE_URL": engine.base_url,
                "SIMULATION_ID": "test",
                "TOOL_POLICY": scenario.policy,
                **environ,
            }
        )
        doors = await stack.enter_async_context(open_doors(settings, database, events.append, signals, poller()))
        finished = signals is not None  # they end the body on purpose
        yield World(cloud, engine, doors, database, events, scenario)
        finished = True
    assert finished, "a door fell, and cut the test's body short"
