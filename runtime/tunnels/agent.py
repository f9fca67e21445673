"""One life of an agent program: started, an address, ready, perhaps degraded and ready again, dead."""

import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Literal

import attrs
import trio

from runtime import limits
from runtime.http_client import HttpClient, Unreachable
from runtime.setting_values import Bind
from runtime.tunnels.child import CannotStart, Child, open_child
from runtime.tunnels.engine import Command, Engine, one_line
from runtime.tunnels.facts import Busy, Degraded, Fact, Failed, Fatal, Metrics, Ready, Recovered, Trouble, Url

State = Literal["starting", "url", "ready", "degraded", "dead"]


@attrs.define(eq=False)
class Agent:
    """Facts in, states out. Pure. Mutable: all fields but the first two.

    Busy and Fatal end its life, whatever the program does then; Failed only explains an end.
    """

    engine: Engine
    changed: Callable[[State, str], None] = attrs.field(repr=False)
    """Told of each new state, with a line of explanation that may be empty."""
    state: State = "starting"
    url: str | None = None
    metrics: str | None = None
    trouble: Trouble | None = None
    connected: bool = False
    _news: trio.Event = attrs.field(factory=trio.Event, repr=False)

    def __attrs_post_init__(self) -> None:
        self.url = self.engine.url

    @property
    def is_up(self) -> bool:
        return self.state in ("ready", "degraded")

    def heard(self, line: str) -> None:
        for fact in self.engine.facts(line):
            self.learn(fact)

    def learn(self, fact: Fact) -> None:
        if self.state == "dead":
            return
        match fact:
            case Url(url) if self.engine.url is None:
                self.url = url.rstrip("/")
            case Metrics(url):
                self.metrics = url
            case Ready():
                self.connected = True
            case Degraded(line) if self.is_up:
                self._turn("degraded", line)
            case Degraded(line):
                self.trouble = self.trouble or Failed(line)  # what it waits for, if it is never ready
            case Busy() | Fatal():
                self.die(fact)
            case Failed():
                self.trouble = fact
        if isinstance(fact, Ready | Recovered) and self.state == "degraded":
            self._turn("ready", "connected again")
        elif self.state in ("starting", "url") and self.url:
            self._turn("ready" if self.connected else "url", self.url)
        self._tell()

    def die(self, trouble: Trouble) -> None:
        if self.state != "dead":
            self.trouble = trouble
            self._turn("dead", trouble.line)

    @property
    def end(self) -> Trouble:
        return self.trouble or Failed(f"{self.engine.name}: the agent is gone")

    def _turn(self, state: State, line: str) -> None:
        if state != self.state:
            self.state = state
            self.changed(state, line)
            self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._news = trio.Event()

    async def until(self, *states: State) -> None:
        while self.state not in states:
            await self._news.wait()

    async def until_metrics(self) -> str:
        while self.metrics is None:
            await self._news.wait()
        return self.metrics


@asynccontextmanager
async def open_agent(
    engine: Engine, door: Bind, http: HttpClient, changed: Callable[[State, str], None]
) -> AsyncIterator[Agent]:
    """Run the engine's program for the body. It is dead as soon as the program has ended, with whatever code.

    Raises CannotStart, before the body.
    """
    agent = Agent(engine, changed)
    try:
        home = tempfile.mkdtemp(prefix="voice-tunnel-")
    except OSError as exc:
        raise CannotStart(f"{engine.name}: no temporary folder can be made: {exc.strerror or exc}") from exc
    try:
        command = engine.command(door, home)
        async with open_child(command, agent.heard) as child, trio.open_nursery() as nursery:
            nursery.start_soon(_bury, agent, child, command)
            nursery.start_soon(_watch_ready, agent, http)
            yield agent
            nursery.cancel_scope.cancel()
    finally:
        shutil.rmtree(home, ignore_errors=True)


async def _bury(agent: Agent, child: Child, command: Command) -> None:
    await child.ended.wait()
    name, trouble = agent.engine.name, agent.trouble
    if child.could_not_run:
        trouble = Fatal("tunnel_lost", f"{name}: the program {command.argv[0]!r} cannot be run: is it still there?")
    said = f"; its last line: {one_line(child.last_line)}" if child.last_line else " without a word"
    agent.die(trouble or Failed(f"{name}: the program ended with code {child.code}{said}"))


async def _watch_ready(agent: Agent, http: HttpClient) -> None:
    """Ask an agent that tells of itself whether it is connected."""
    url = f"{await agent.until_metrics()}/ready"
    while True:
        was_up = agent.is_up  # an answer from before it was ready may come behind the line that says so
        try:
            status = (await http.request("GET", url, seconds=limits.TUNNEL_PROBE_SECONDS)).status
        except Unreachable:
            status = 0  # its lines and its end tell more
        if status == 200:
            agent.learn(Ready())
        elif status and was_up:
            agent.learn(Degraded(f"{agent.engine.name}: its /ready answers {status}"))
        await trio.sleep(limits.TUNNEL_WATCH_SECONDS if agent.is_up else limits.TUNNEL_READY_POLL_SECONDS)
