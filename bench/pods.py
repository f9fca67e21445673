"""What it costs to be several: two pods behind the real nginx, as `voice pods 2` runs them, beside one `voice serve`.

All run on the bridge's core. Two pods have twice the calls of the one, so that each has about as many; the kernel
spreads them by chance. Every call asks for a tool now and then: of two pods through nginx, of the one at its own door.
"""

import json
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, Literal, get_args

import attrs
import trio

from bench.alternations import Tell, wait_quiet
from bench.bars import Bar
from bench.bridges import Bridge, Surroundings, Transport, open_ours
from bench.failure import BenchFailure
from bench.load_link import LoadLink
from bench.plan import Plan, rotated
from bench.spread import Spread
from bench.usage import children
from bench.windows import Window

Manner = Literal["one", "two_pods"]
MANNERS: Final[tuple[Manner, ...]] = get_args(Manner)
TRANSPORT: Final[Transport] = "tls"
PODS: Final = 2
POSTS_TO_DIVIDE: Final = 10
END_SECONDS: Final = 20.0  # for `voice pods` to have ended what it started
SYSTEM_FOLDERS: Final = "/usr/sbin:/usr/local/sbin:/sbin"


@attrs.frozen
class PodsWindow:
    """`calls`: of each pod, about; `window.calls` are all. `nginx_cpu_seconds`: nginx's own, beside the window's."""

    manner: Manner
    calls: int
    window: Window
    nginx_cpu_seconds: float
    posts: int

    def __str__(self) -> str:
        nginx = f", nginx {self.nginx_cpu_seconds / self.window.seconds:.2%} of a core" if self.manner != "one" else ""
        return f"{self.window}, {self.posts} tools{nginx}"


@attrs.define
class PodsFound:
    """Mutable. All windows, and why there are none, where that is so."""

    windows: list[PodsWindow] = attrs.field(factory=list)
    failed: list[str] = attrs.field(factory=list)

    def ratio(self, calls: int, of_one: int) -> Spread | None:
        """CPU per call: two pods with `calls` each / one pod with `of_one`, both of the same repetition. None when no
        repetition has both."""
        one = {found.window.repetition: found.window for found in self.of("one", of_one)}
        ratios = [
            found.window.cpu_per_call / one[found.window.repetition].cpu_per_call
            for found in self.of("two_pods", calls)
            if found.window.repetition in one
        ]
        return Spread.of(ratios) if ratios else None

    def of(self, manner: Manner, calls: int) -> list[PodsWindow]:
        return [found for found in self.windows if (found.manner, found.calls) == (manner, calls)]

    def nginx_ms_per_tool(self) -> Spread | None:
        """nginx's CPU for one tool call: of each window in which enough were asked for."""
        found = [one for one in self.windows if one.manner == "two_pods" and one.posts >= POSTS_TO_DIVIDE]
        return Spread.of([one.nginx_cpu_seconds * 1e3 / one.posts for one in found]) if found else None

    def bars(self) -> list[tuple[Bar, Spread]]:
        measured = ((calls, self.ratio(calls, calls)) for calls in sorted({one.calls for one in self.windows}))
        return [
            (Bar(f"pods_{calls}", f"CPU per call, two pods behind nginx, {calls} calls each, x one pod", 1.10), spread)
            for calls, spread in measured
            if spread is not None
        ]


@attrs.frozen(eq=False)
class Subject:
    manner: Manner
    bridge: Bridge
    pids: list[int]
    """The pods'."""
    nginx: list[int]
    pods: int


@asynccontextmanager
async def open_two_pods(around: Surroundings) -> AsyncIterator[Subject]:
    """Raises BenchFailure."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    module = ("runtime.cli", "pods", str(PODS), "--listen", f"127.0.0.1:{port}")
    changes = {"PUBLIC_BASE_URL": f"http://127.0.0.1:{port}", "VOICE_HOST": "127.0.0.1", "PORT": "0"}
    async with open_ours("two_pods", TRANSPORT, around, changes, module) as bridge:
        program = bridge.program
        await program.says("kill -HUP")
        lines = [line for line in program.log.read_text().splitlines() if '"pods_program_started"' in line]
        started = {entry["program"]: int(entry["pid"]) for entry in map(json.loads, lines)}
        nginx = started.pop("nginx")
        try:
            yield Subject("two_pods", bridge, [*started.values()], [nginx, *children(nginx)], PODS)
        finally:
            program.process.terminate()
            with trio.move_on_after(END_SECONDS, shield=True):
                await program.process.wait()


@asynccontextmanager
async def open_subjects(around: Surroundings) -> AsyncIterator[list[Subject]]:
    async with open_ours("one", TRANSPORT, around, {}) as one, open_two_pods(around) as two:
        yield [Subject("one", one, [one.program.pid], [], 1), two]


@attrs.frozen
class PodsPart:
    plan: Plan
    load: LoadLink
    around: Surroundings
    tell: Tell
    found: PodsFound

    async def run(self) -> None:
        """Raises BenchFailure."""
        if shutil.which("nginx") is None and shutil.which("nginx", path=SYSTEM_FOLDERS) is None:
            self.found.failed.append("nginx is not installed")
            return
        for repetition in range(self.plan.pods_repetitions):
            async with open_subjects(self.around) as subjects:
                for place, calls in enumerate(sorted(self.plan.pods_calls)):
                    for subject in rotated(subjects, repetition + place):
                        await self._try(subject, calls, repetition)

    async def _try(self, subject: Subject, calls: int, repetition: int) -> None:
        """What lives and cannot be measured costs this window, and not the run."""
        name = subject.manner.replace("_", " ")
        place = f"{repetition + 1}/{self.plan.pods_repetitions} pods {calls:>4} calls each  {name:<8}"
        try:
            measured = await self._measure(subject, calls, repetition)
            self.found.windows.append(measured)
            self.tell(f"{place} {measured}")
        except BenchFailure as failure:
            await self.load.drop()
            subject.bridge.program.check()
            self.found.failed.append(f"{name}, {calls} calls each, repetition {repetition + 1}: {failure}")
            self.tell(f"{place} not measured: {failure}")
        await wait_quiet(*subject.pids)

    async def _measure(self, subject: Subject, calls: int, repetition: int) -> PodsWindow:
        bridge = subject.bridge
        await self.load.ask(bridge, "call", url=bridge.voice_url, calls=calls * subject.pods)
        await trio.sleep(self.plan.warm_seconds)
        reply = await self.load.ask(
            bridge, "measure_all", takes_seconds=self.plan.seconds, pids=subject.pids, seconds=self.plan.seconds,
            beside=subject.nginx, tool_every_seconds=self.plan.pods_tool_every_seconds,
        )  # fmt: skip
        await self.load.ask(bridge, "hang_up")
        window = Window.of("ours", TRANSPORT, repetition, reply)
        return PodsWindow(subject.manner, calls, window, reply["beside_cpu_seconds"], reply["posts"])
