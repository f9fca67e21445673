"""The agent under test as a process of its own: ours as `voice serve` starts it, or anybody's command."""

import socket
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import attrs
import trio

from runtime.tunnels.child import CannotStart, Child, open_child
from runtime.tunnels.engine import Command
from sandbox.live import created_call
from sandbox.options import Options

READY_SECONDS: Final = 40.0
LOOK_SECONDS: Final = 0.05
OURS: Final = (sys.executable, "-m", "runtime.cli", "serve")


class AgentFailed(Exception):
    """The agent did not start, or has ended. One line that says what it said last."""


@attrs.frozen
class Surroundings:
    """What a started agent is told of: where Vapi and the engine are, its database, and the tools' policy."""

    vapi_url: str
    vapi_key: str
    engine_url: str
    simulation_id: str
    database_url: str
    policy: str


@attrs.frozen
class AgentProcess:
    """A running agent that takes callers at ``voice_url``."""

    voice_url: str
    child: Child
    created: Sequence[str]
    """Ids of the calls it said it created at Vapi; it grows. Only our own agent says so, at LOG_LEVEL=debug."""

    @property
    def problem(self) -> str:
        """What it ended with; "" while it runs."""
        if not self.child.ended.is_set():
            return ""
        return f"the agent ended with code {self.child.code}: {self.child.last_line or 'it said nothing'}"


@attrs.define(eq=False)
class Agents:
    """The agents of a job, one for each policy that was asked for. Mutable: ``_kept``.

    Each lives in a task of its own, so that one can be ended before another that was started later.
    """

    options: Options
    around: Callable[[str], Surroundings]
    log: Callable[[str], Path]
    nursery: trio.Nursery
    _kept: dict[str, "_Kept"] = attrs.field(factory=dict)

    async def of(self, policy: str) -> AgentProcess:
        """The running agent; it is started when there is none. Raises AgentFailed."""
        kept = self._kept.get(policy)
        if kept is not None and kept.agent.problem:
            await self.retire(policy)
            kept = None
        if kept is None:
            kept = self._kept[policy] = await self.nursery.start(self._keep, policy)
        return kept.agent

    async def retire(self, policy: str) -> None:
        """End it; the next conversation gets a new one."""
        kept = self._kept.pop(policy)
        kept.stop.set()
        await kept.gone.wait()

    async def _keep(self, policy: str, *, task_status: trio.TaskStatus["_Kept"]) -> None:
        async with open_agent(self.options, self.around(policy), self.log(policy)) as agent:
            kept = _Kept(agent)
            task_status.started(kept)
            await kept.stop.wait()
        kept.gone.set()


@attrs.frozen(eq=False)
class _Kept:
    agent: AgentProcess
    stop: trio.Event = attrs.field(factory=trio.Event)
    gone: trio.Event = attrs.field(factory=trio.Event)


@asynccontextmanager
async def open_agent(options: Options, around: Surroundings, log: Path) -> AsyncIterator[AgentProcess]:
    """Start it and wait until it takes connections; all it prints goes to ``log``. Stopped on the way out.

    Raises AgentFailed.
    """
    port = _free_port()
    argv = options.agent_command if options.agent == "command" else OURS
    command = Command(argv, {**options.environ, **_environment(port, around, options)})
    created: list[str] = []
    problem = ""
    with log.open("a", encoding="utf-8", buffering=1) as output:

        def keep(line: str) -> None:
            output.write(line + "\n")
            if (call_id := created_call(line)) is not None:
                created.append(call_id)

        try:
            async with open_child(command, keep) as child:
                agent = AgentProcess(f"ws://127.0.0.1:{port}/voice", child, created)
                problem = await _why_not_ready(agent, port, argv[0])
                if not problem:
                    yield agent
        except CannotStart as error:
            raise AgentFailed(str(error)) from error
    if problem:
        raise AgentFailed(problem)


async def _why_not_ready(agent: AgentProcess, port: int, program: str) -> str:
    """Waits until it takes a connection; "" when it did."""
    with trio.move_on_after(READY_SECONDS):
        while not agent.problem:
            try:
                stream = await trio.open_tcp_stream("127.0.0.1", port)
            except OSError:
                await trio.sleep(LOOK_SECONDS)
                continue
            await trio.aclose_forcefully(stream)
            return ""
        return agent.problem
    return f"{program!r} took no connection on PORT={port} within {READY_SECONDS:g} s"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _environment(port: int, around: Surroundings, options: Options) -> Mapping[str, str]:
    ours = {
        "PORT": str(port),
        "ENGINE_URL": around.engine_url,
        "SIMULATION_ID": around.simulation_id,
        "DATABASE_URL": around.database_url,
        "TOOL_POLICY": around.policy,
        "CONSOLE_BIND": "none",  # there may be several, and a `voice serve` beside them
    }
    if options.agent == "live":
        return ours | {"LOG_LEVEL": "debug"}  # it tells which calls it creates
    return ours | {
        "VOICE_HOST": "127.0.0.1",
        "WEBHOOK_PORT": "0",
        "POD_ID": f"{around.simulation_id}-{around.policy}",
        "VAPI_API_KEY": around.vapi_key,
        "VAPI_BASE_URL": around.vapi_url,
        "TAIL_MODE": options.tail_mode,
    }
