"""`voice pods N`: N `voice serve` on this machine that share PORT, and nginx before their webhook doors.

We carry no call and no request: callers come to a pod through the kernel (VOICE_PORT_SHARED), Vapi's tool calls through
nginx (docs/fleet.md). We start, watch and end; a program that dies is started again, and the others are not touched.

SIGTERM or SIGINT: all pods drain. A second one: they end their calls now. A third: they are killed.
SIGHUP: the pods are replaced one after the other. A new one takes callers before the old one begins to drain. One that
comes while they start, or while they are replaced, is remembered: one more round follows.
"""

import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import attrs
import structlog
import trio

from runtime import limits
from runtime.errors import StartError
from runtime.listeners import bound, close_all, listen, shared_sockets
from runtime.pods_folder import PodsFolder, open_pods_folder
from runtime.pods_plan import PodsPlan
from runtime.pods_program import Kept, Program
from runtime.serve import open_database_url
from runtime.setting_values import Bind

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger(actor="Pods")


@attrs.define(eq=False)
class Pods:
    """All of them, and nginx. Mutable: `_serving`, the pods that should take calls, by their numbers; `_retired`, one
    that drains because another has taken its place; `_told_to_end`, how often; `_round_due`, set when the pods are to
    be replaced."""

    plan: PodsPlan
    folder: PodsFolder
    port: int
    database_url: str
    _serving: dict[int, Kept] = attrs.field(factory=dict)
    _retired: Kept | None = None
    _told_to_end: int = 0
    _round_due: trio.Event = attrs.field(factory=trio.Event)
    _failure: str = ""

    async def run(self, signals: AsyncIterator[int], ready: Callable[[str], None]) -> None:
        """Until told to end. `ready` is given the callers' address. Raises StartError."""
        command = self.plan.write_nginx(self.folder.path)
        nginx = Kept("nginx", command, None, self._until_it_listens, self.folder.tell)
        async with trio.open_nursery() as nursery:
            async with trio.open_nursery() as pods:
                # `pods` closes when all have left, and from then on nothing is started in it.
                nursery.start_soon(self._obey, signals, pods.cancel_scope)  # noqa: ASYNC111
                if not await nursery.start(nginx.run):
                    self._failure = f"nginx did not start: {nginx.why}"
                elif await self._begin(pods, ready):
                    nursery.start_soon(self._replace_when_told, pods)  # noqa: ASYNC111
            nursery.cancel_scope.cancel()
        if self._failure and not self._told_to_end:
            raise StartError(self._failure)

    async def _begin(self, pods: trio.Nursery, ready: Callable[[str], None]) -> bool:
        """The first alone: what is wrong with the settings is told once. False: not all take calls, and all leave."""
        first = await self._start(pods, 1)
        if first:
            async with trio.open_nursery() as others:
                for number in range(2, self.plan.count + 1):
                    others.start_soon(self._start, pods, number)
        if self._failure and not self._told_to_end:
            self._tell_all()
        if self._failure or self._told_to_end or first is None:
            return False
        if first.program:
            ready(first.program.voice_url)
        return True

    async def _start(self, pods: trio.Nursery, number: int) -> Kept | None:
        """Of that number, ready and serving; None: it does not start, or is not to any more."""
        if self._told_to_end:
            return None  # whom we start now, nobody would tell to leave
        settings = self.plan.environment(number, self.folder.path, self.port, self.database_url)
        command = [sys.executable, "-m", "runtime.cli", "serve"]
        pod = Kept(settings["POD_ID"], command, settings, _until_it_takes_callers, self.folder.tell)
        self._serving[number] = pod  # at once: it may be told to end before it is ready
        if await pods.start(pod.run):
            return pod
        self._serving.pop(number, None)
        self._failure = f"{pod.name} did not start: {pod.why}"
        return None

    async def _until_it_listens(self, _nginx: Program) -> None:
        at = self.plan.gateway_address
        while True:
            try:
                await trio.aclose_forcefully(await trio.open_tcp_stream(at.host, at.port))
            except OSError:
                await trio.sleep(limits.GATEWAY_POLL_SECONDS)
            else:
                return

    async def _obey(self, signals: AsyncIterator[int], starting: trio.CancelScope) -> None:
        async for number in signals:
            name = signal.Signals(number).name
            if number == signal.SIGHUP:
                _log.info("pods_told_to_be_replaced", signal=name)
                self._round_due.set()
                continue
            self._told_to_end += 1
            words = {1: "the pods drain", 2: "the pods end their calls"}.get(self._told_to_end, "the pods are killed")
            _log.info("pods_told_to_end", signal=name, so=words)
            self._tell_all()
            if not self._serving:
                starting.cancel()  # nginx does not listen yet, and there is nobody to wait for

    def _tell_all(self) -> None:
        """Once, and then as often as we are told. A second time ends a pod's calls: one that drains already, because
        another has taken its place, is not told by the first."""
        for pod in (*self._serving.values(), self._retired):
            if pod is not None and (self._told_to_end > 1 or not pod.leaving.is_set()):
                pod.leave(signal.SIGTERM if self._told_to_end <= 2 else signal.SIGKILL)

    async def _replace_when_told(self, pods: trio.Nursery) -> None:
        while True:
            await self._round_due.wait()
            self._round_due = trio.Event()
            await self._replace_all(pods)

    async def _replace_all(self, pods: trio.Nursery) -> None:
        """Stops at the first that does not start; the others stay as they are."""
        for number in sorted(self._serving):
            successor = await self._start(pods, self.plan.successor(number))
            if self._told_to_end:
                return
            if successor is None:
                _log.error("pods_not_replaced", why=self._failure)
                self._failure = ""
                return
            self._retired = old = self._serving.pop(number)
            old.leave()
            await old.over.wait()
            self._retired = None
            _log.info("pod_replaced", pod_id=old.name, by=successor.name)


async def _until_it_takes_callers(pod: Program) -> None:
    await pod.takes_callers.wait()


async def reserve_port(plan: PodsPlan, stack: AsyncExitStack) -> int:
    """PORT, which nobody has until `stack` is closed but who shares it. Raises StartError, for nginx's port too."""
    await close_all(await listen("--listen", plan.gateway_bind))  # nginx would say so after 3 s, and not in one line
    bind = Bind(plan.settings.voice_host, plan.settings.port)
    alone = await listen("PORT", bind)  # others that share it, of another `voice pods`, are told of here
    port = bound(bind, alone).port
    await close_all(alone)
    for sock in await shared_sockets(attrs.evolve(bind, port=port)):
        stack.callback(sock.close)
    return port


async def run_pods(plan: PodsPlan, ready: Callable[[str], None]) -> None:
    """Raises SettingsError and StartError."""
    signals_obeyed = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    async with AsyncExitStack() as stack:
        # First of all: what comes before anything runs is obeyed too, when the database has been opened.
        signals = stack.enter_context(trio.open_signal_receiver(*signals_obeyed))
        port = await reserve_port(plan, stack)
        database_url = await stack.enter_async_context(open_database_url(plan.settings))
        folder = await stack.enter_async_context(open_pods_folder())
        await Pods(plan, folder, port, database_url).run(signals, ready)
