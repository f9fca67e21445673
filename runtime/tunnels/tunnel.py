"""The tunnel to the webhook door: one agent program per process, started when the first call needs it."""

from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager

import attrs
import structlog
import trio

from runtime import limits
from runtime.errors import NoAnswer
from runtime.http_client import HttpClient
from runtime.setting_values import Bind
from runtime.settings import Settings
from runtime.supervisor import Started
from runtime.tunnels import share
from runtime.tunnels.agent import Agent, State, open_agent
from runtime.tunnels.child import CannotStart
from runtime.tunnels.engine import Engine
from runtime.tunnels.facts import Busy, Failed, Fatal, Trouble
from runtime.tunnels.patience import Patience
from runtime.tunnels.probe import probe, probe_until

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger(actor="Tunnel")
STOPPING = Fatal("tunnel_lost", "the tunnel was interrupted: this process stops, or the tunnel is started anew")


@attrs.define(eq=False)
class _Wish:
    """What all that ask at the same time wait for. Mutable: `outcome`, set once, with `done`."""

    deadline: float
    outcome: str | Trouble = STOPPING
    done: trio.Event = attrs.field(factory=trio.Event)

    def answer(self, outcome: str | Trouble) -> None:
        self.outcome = outcome
        self.done.set()


@attrs.define(eq=False)
class _Address:
    """What calls were made with. Mutable: `why` it is gone, set with `gone`."""

    url: str
    why: str = ""
    gone: trio.Event = attrs.field(factory=trio.Event)


@attrs.define(eq=False)
class Tunnel:
    """A WayIn. An actor of the process: it keeps an agent up while anybody uses it.

    Nothing is started before the first `base_url()`. All that ask meanwhile wait for the same start; a failure answers
    them all, and who asks next tries again. An agent that dies while it is used is started again: with the same address
    the calls go on, with another one, or none in time, they are told by `lost`. One that dies unused waits for the next
    call. With TUNNEL_SHARE=serialize the account is given back when its last user leaves.

    Ends: only by its scope.
    Restart: yes; whoever waits is answered, and the calls lose their address.
    Cancelled: the agent is stopped, within TUNNEL_END_SECONDS; whoever waits is answered.
    """

    engine: Engine
    settings: Settings
    door: Bind
    http: HttpClient
    nonce: str = attrs.field(repr=False)
    counts: Counter[str] = attrs.field(factory=Counter)
    state: str = "idle"
    # Mutable, by run and its callers: _users; _wish, while someone waits; _address, since the agent was first ready.
    _users: int = 0
    _wish: _Wish | None = None
    _address: _Address | None = None
    _up: bool = False
    _asked: trio.Event = attrs.field(factory=trio.Event)
    _stretch: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    _patience: Patience = attrs.field(
        default=attrs.Factory(lambda self: Patience(self.settings.tunnel_attempts), takes_self=True)
    )

    def __repr__(self) -> str:
        at = f" {self._address.url}" if self._address else ""
        return f"<tunnel {self.engine.name}: {self.state}{at}, users: {self._users}, {dict(self.counts)}>"

    @property
    def users(self) -> int:
        return self._users

    @property
    def url(self) -> str:
        """Where the calls were told to be; empty while nowhere."""
        return self._address.url if self._address else ""

    # --- What calls ask.

    @contextmanager
    def use(self) -> Iterator[None]:
        self._users += 1
        try:
            yield
        finally:
            self._users -= 1
            if not self._users and self._shares:
                self._forget("the account was given back: nobody used the tunnel")
                self._stretch.cancel()

    async def base_url(self) -> str:
        with self.use():
            while not (self._up and self._address):
                wish = self._wanted()
                self._asked.set()
                # Never reached while `run` runs: a probe and the agent's end may come behind the deadline.
                with trio.move_on_at(wish.deadline + limits.TUNNEL_PROBE_SECONDS + limits.TUNNEL_END_SECONDS):
                    await wish.done.wait()
                if not isinstance(wish.outcome, str):
                    raise NoAnswer(wish.outcome.cause, wish.outcome.line)
            await trio.lowlevel.checkpoint()
            return self._address.url

    async def lost(self, base_url: str) -> str:
        address = self._address
        if address is None or address.url != base_url:
            return f"the tunnel is not at {base_url} any more; the next call gets a new one"
        await address.gone.wait()
        return address.why

    # --- The actor.

    async def run(self, task_status: Started) -> None:
        task_status.started()
        try:
            while True:
                if self._wish is None:  # else somebody asked while the last stretch was ending
                    await self._asked.wait()
                self._asked = trio.Event()
                with trio.CancelScope() as self._stretch:
                    await self._keep_up()
        finally:
            self._fail(STOPPING)

    async def _keep_up(self) -> None:
        """The account's turn, then one agent after another: until nobody wants any, or none can be had."""
        async with AsyncExitStack() as stack:
            if not self._shares or await self._took_turn(stack):
                await self._agents()

    async def _took_turn(self, stack: AsyncExitStack) -> bool:
        if self._wish is None:
            return False  # whoever asked has left
        folder, name = share.queue_folder(self.engine.account or ""), self.engine.name
        try:
            with trio.move_on_at(self._wish.deadline):
                await stack.enter_async_context(share.turn(folder, self._placed))
                return True
        except share.NoQueue as exc:
            self._fail(Fatal("tunnel_lost", str(exc)))
            return False
        self._fail(Busy(f"{name}: other processes of this machine still had the account, {self.state}"))
        return False

    def _placed(self, ahead: int) -> None:
        self.state = f"{ahead} ahead in the queue"
        self.counts["queued"] += 1
        _log.info("tunnel_queued", engine=self.engine.name, ahead=ahead)

    async def _agents(self) -> None:
        patience = self._patience
        patience.starts, trouble = 0, patience.rest
        pause: float | None = patience.rest_seconds(trio.current_time())
        while wish := self._wish:
            if pause is None or (trouble and trio.current_time() + pause >= wish.deadline):
                self._fail(trouble or STOPPING)
                return
            self.state = f"next start in {pause:.1f} s"
            await trio.sleep(pause)
            patience.starts += 1
            trouble, ready_seconds = await self._one_life(wish)
            self.counts[trouble.cause.removeprefix("tunnel_")] += 1
            pause = patience.pause(trouble, ready_seconds, trio.current_time())
            event = "tunnel_died" if ready_seconds else "tunnel_not_started"
            _log.warning(
                event, engine=self.engine.name, cause=trouble.cause, error=trouble.line, starts=patience.starts
            )

    async def _one_life(self, wish: _Wish) -> tuple[Trouble, float]:
        """Why it ended, and for how long it was ready."""
        self.counts["starts"] += 1
        self.state = "starting"
        try:
            async with open_agent(self.engine, self.door, self.http, self._changed) as agent:
                trouble = await self._getting_ready(agent, wish)
                if trouble is not None:
                    return trouble, 0.0
                since = trio.current_time()
                self._went_up(agent.url or "")
                await agent.until("dead")
                self._went_down(agent.end)
                return agent.end, max(trio.current_time() - since, 0.001)
        except CannotStart as exc:
            return Failed(str(exc)), 0.0
        finally:
            self._up, self.state = False, "idle"

    async def _getting_ready(self, agent: Agent, wish: _Wish) -> Trouble | None:
        seconds = max(0.0, min(self.settings.tunnel_ready_seconds, wish.deadline - trio.current_time()))
        with trio.move_on_after(seconds):
            await agent.until("ready", "degraded", "dead")
        if not agent.is_up and agent.state != "dead":
            why = f": {agent.trouble.line}" if agent.trouble else ""
            return Failed(f"{agent.engine.name} was not ready within {seconds:.3g} s{why}", "tunnel_timeout")
        trouble: Trouble | None = None
        async with trio.open_nursery() as nursery:

            async def ended() -> None:
                await agent.until("dead")
                nursery.cancel_scope.cancel()

            nursery.start_soon(ended)
            trouble = await self._led_astray(agent.url or "", wish)
            nursery.cancel_scope.cancel()
        await trio.lowlevel.checkpoint_if_cancelled()  # the account may have been given back in this very moment
        return agent.end if agent.state == "dead" else trouble

    async def _led_astray(self, url: str, wish: _Wish) -> Trouble | None:
        """What is wrong with where the address leads, as far as TUNNEL_PROBE minds."""
        mode = self.settings.tunnel_probe
        if mode == "off":
            return None
        pod = f"{url}/p/{self.settings.pod_id}"  # as the tools: a gateway may stand between, and answer for itself
        left = max(0.0, min(self.settings.tunnel_ready_seconds, wish.deadline - trio.current_time()))
        found = await (
            probe_until(self.http, pod, self.nonce, left) if mode == "require" else probe(self.http, pod, self.nonce)
        )
        if found.finding == "elsewhere":
            self.counts["probe_elsewhere"] += 1
            return Fatal("tunnel_lost", found.line)
        if found.finding == "nowhere":
            self.counts["probe_failures"] += 1
            _log.warning("tunnel_probe_failed", engine=self.engine.name, error=found.line)
            return Failed(found.line, "tunnel_timeout") if mode == "require" else None
        return None

    # --- What is told to the calls. None of it waits.

    @property
    def _shares(self) -> bool:
        return self.settings.tunnel_share == "serialize" and self.engine.account is not None

    def _wanted(self) -> _Wish:
        if self._wish is None:
            self._wish = _Wish(trio.current_time() + self.settings.tunnel_deadline_seconds)
        return self._wish

    def _changed(self, state: State, line: str) -> None:
        self.state = state
        if state == "dead":
            return  # told when it is known whether it was ready before
        if state == "degraded":
            self.counts["degraded"] += 1
        tell = _log.warning if state == "degraded" else _log.info
        tell("tunnel_state", engine=self.engine.name, state=state, detail=line)

    def _went_up(self, url: str) -> None:
        self._up = True
        if self._address is not None and self._address.url != url:
            self._part(f"{self.engine.name}: the agent was started again, and its address is another one now")
        self._address = self._address or _Address(url)
        if self._wish is not None:
            self._wish.answer(url)
            self._wish = None

    def _went_down(self, trouble: Trouble) -> None:
        self._up = False
        self.counts["deaths"] += 1
        if self._users:
            self.counts["restarts"] += 1
            self._wanted()
        else:
            self._part(trouble.line)

    def _fail(self, trouble: Trouble) -> None:
        if self._wish is not None:
            self._wish.answer(trouble)
        self._forget(trouble.line)

    def _forget(self, why: str) -> None:
        self._up, self._wish = False, None
        self._part(why)

    def _part(self, why: str) -> None:
        if self._address is not None:
            self._address.why = why
            self._address.gone.set()
            self._address = None
