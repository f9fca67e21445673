"""The audio part: in each repetition, at each number of calls, one bridge after the other, the order rotated.

The bridges of a repetition are fresh processes, started together; those that are not being measured are idle.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import attrs
import trio

from bench.bridges import KINDS, Bridge, Kind, Surroundings, Transport, open_bridge
from bench.failure import BenchFailure
from bench.load_link import LoadLink
from bench.plan import MEMORY_FROM_CALLS, Plan, rotated
from bench.usage import cpu_ns, memory
from bench.windows import FailedWindow, MemoryPoint, Window

SETTLE_SECONDS: Final = 0.5
QUIET_SECONDS: Final = 15.0
QUIET_SHARE: Final = 0.05  # of a core
Tell = Callable[[str], None]


@attrs.define
class Audio:
    """Mutable. All windows, those not measured, and the memory of fresh bridges at 0, 10 and more calls."""

    windows: list[Window] = attrs.field(factory=list)
    failed: list[FailedWindow] = attrs.field(factory=list)
    memory: list[MemoryPoint] = attrs.field(factory=list)


@asynccontextmanager
async def open_bridges(
    kinds: Sequence[Kind], transport: Transport, around: Surroundings, *, log_level: str = "info"
) -> AsyncIterator[list[Bridge]]:
    """Started one after the other, so that a failure is one bridge's; closed together. Raises BenchFailure."""
    async with AsyncExitStack() as stack:
        opened = []
        for kind in kinds:
            opening = open_bridge(kind, transport, around, log_level=log_level)
            opened.append(await stack.enter_async_context(opening))
        yield opened


@attrs.frozen
class Alternations:
    plan: Plan
    load: LoadLink
    around: Surroundings
    tell: Tell
    audio: Audio = attrs.field(factory=Audio)

    async def run(self) -> Audio:
        """Raises BenchFailure."""
        for repetition in range(self.plan.repetitions):
            for transport in rotated(self.plan.transports, repetition):
                async with open_bridges(KINDS, transport, self.around) as bridges:
                    for bridge in bridges:
                        self._note_memory(bridge, transport, 0, repetition)
                    for place, calls in enumerate(sorted(self.plan.calls)):
                        for bridge in rotated(bridges, repetition + place):
                            await self._try(bridge, transport, calls, repetition)
        return self.audio

    async def _try(self, bridge: Bridge, transport: Transport, calls: int, repetition: int) -> None:
        """A bridge that lives and cannot carry its calls costs this window, and not the run."""
        place = f"{repetition + 1}/{self.plan.repetitions} {transport:>5} {calls:>4} calls  {bridge.kind:<9}"
        try:
            window = await self._measure(bridge, transport, calls, repetition)
            self.tell(f"{place} {window}")
        except BenchFailure as failure:
            await self.load.drop()
            bridge.program.check()
            self.audio.failed.append(FailedWindow(bridge.kind, transport, calls, repetition, str(failure)))
            self.tell(f"{place} not measured: {failure}")
            await wait_quiet(bridge.program.pid)

    async def _measure(self, bridge: Bridge, transport: Transport, calls: int, repetition: int) -> Window:
        before = [number for number in sorted(self.plan.calls) if number < calls]
        if calls > MEMORY_FROM_CALLS and all(number <= MEMORY_FROM_CALLS for number in before):
            await self.load.ask(bridge, "call", url=bridge.voice_url, calls=MEMORY_FROM_CALLS)
            await trio.sleep(SETTLE_SECONDS)
            self._note_memory(bridge, transport, MEMORY_FROM_CALLS, repetition)
        await self.load.ask(bridge, "call", url=bridge.voice_url, calls=calls)
        await trio.sleep(self.plan.warm_seconds)
        window = await measure_window(self.load, bridge, transport, self.plan.seconds, repetition)
        await self.load.ask(bridge, "hang_up")
        self.audio.windows.append(window)
        self._note_memory(bridge, transport, calls, repetition, window)
        return window

    def _note_memory(
        self, bridge: Bridge, transport: Transport, calls: int, repetition: int, window: Window | None = None
    ) -> None:
        used = window.memory if window is not None else memory(bridge.program.pid)
        self.audio.memory.append(MemoryPoint(bridge.kind, transport, calls, repetition, used))


async def measure_window(
    load: LoadLink, bridge: Bridge, transport: Transport, seconds: float, repetition: int
) -> Window:
    reply = await load.ask(bridge, "measure", takes_seconds=seconds, pid=bridge.program.pid, seconds=seconds)
    return Window.of(bridge.kind, transport, repetition, reply)


async def wait_quiet(*pids: int) -> None:
    """Until these processes no longer work on calls that are over, or have for too long."""
    with trio.move_on_after(QUIET_SECONDS):
        busy_ns = SETTLE_SECONDS * 1e9
        while busy_ns > SETTLE_SECONDS * 1e9 * QUIET_SHARE:
            before_ns = sum(map(cpu_ns, pids))
            await trio.sleep(SETTLE_SECONDS)
            busy_ns = sum(map(cpu_ns, pids)) - before_ns
