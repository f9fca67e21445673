"""A run in real time: `voice serve` as its users start it, a real PostgreSQL, real sockets, and the load in two
processes of its own."""

import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import attrs
import trio

from db.embedded import open_embedded_server
from stress.cloud import API_KEY, HOST
from stress.meter import ProcMeter, left_of, rss_mib
from stress.plan import Plan
from stress.programs import Link, Program, open_program, open_side
from stress.run import Run
from stress.sample import BRIDGE, Memory, Result, Sample
from stress.sides import Options

VOICE: Final = ("runtime.cli", "serve")
BRIDGE_END_SECONDS: Final = 20.0
"""No call is left then: it needs one."""


@attrs.frozen(eq=False)
class _World:
    """What a run needs, running."""

    bridge: Program
    url: str
    callers: Link
    cloud: Link

    @property
    def pids(self) -> dict[str, int]:
        return {BRIDGE: self.bridge.pid, "callers": self.callers.program.pid, "cloud": self.cloud.program.pid}


async def run_for_real(plan: Plan, show: Callable[[Sample], None]) -> Result:
    """Hold the plan's calls. Raises StressFailure, and EmbeddedServerError when there is no PostgreSQL."""
    async with _open_world(plan) as world:
        before_mib = rss_mib(world.bridge.pid)
        run = Run(plan, world.callers, world.cloud, ProcMeter(world.pids), show)
        await run.hold(world.url)
        memory = _memory(before_mib, world.bridge.pid)
        result = await run.end()
        code = await world.bridge.end(BRIDGE_END_SECONDS)
        said = world.bridge.last_lines[-1:] if code else []
    left = left_of(world.pids.values())
    leavings = attrs.evolve(result.leavings, bridge_code=code, bridge_said="".join(said), processes=left)
    return attrs.evolve(result, memory=memory, leavings=leavings)


def _memory(before_mib: float, bridge: int) -> Memory | None:
    """None: the bridge has ended; the verdict tells of it."""
    try:
        return Memory(before_mib, rss_mib(bridge))
    except OSError:
        return None


@asynccontextmanager
async def _open_world(plan: Plan) -> AsyncIterator[_World]:
    with tempfile.TemporaryDirectory(prefix="stress-") as name:
        folder = Path(name)
        options = Options(
            plan.frame_ms,
            account_slots=plan.slots,
            tool_every_seconds=plan.tool_every_seconds,
            asks=plan.asks,
        )
        async with (
            open_embedded_server() as database_url,
            open_side("cloud", options, folder) as (cloud, said),
            open_program(BRIDGE, VOICE, folder, _settings(plan, said["base_url"], database_url)) as bridge,
        ):
            url = await bridge.says("voice listening on ")
            async with open_side("callers", options, folder) as (callers, _):
                await trio.lowlevel.checkpoint()
                yield _World(bridge, url, callers, cloud)


def _settings(plan: Plan, base_url: str, database_url: str) -> dict[str, str]:
    """The runtime's defaults, but for where things are and how many calls it may take."""
    return {
        "VAPI_BASE_URL": base_url,
        "VAPI_API_KEY": API_KEY,
        "VAPI_SLOTS": str(plan.slots),
        "MAX_CALLS": str(plan.calls),
        "TOOL_POLICY": plan.policy,
        "VOICE_HOST": HOST,
        "PORT": "0",
        "WEBHOOK_PORT": "0",
        "CONSOLE_BIND": "none",
        "POD_ID": "stress",
        "DATABASE_URL": database_url,
    }
