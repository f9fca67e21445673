"""What it costs to watch: our runtime in four manners, one after the other, the order rotated.

The processes of a repetition are fresh; those that are not being measured are idle, and nobody looks at them.
"""

import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final, Literal, get_args

import attrs
import trio

from bench.alternations import Tell, measure_window, wait_quiet
from bench.bridges import Bridge, Surroundings, Transport, open_ours
from bench.failure import BenchFailure
from bench.load_link import LoadLink
from bench.plan import Plan, rotated
from bench.recordings import Recordings
from bench.usage import cpu_ns
from bench.windows import FailedWindow, Window

Manner = Literal["ours", "idle_console", "watched", "recorded"]
MANNERS: Final[tuple[Manner, ...]] = get_args(Manner)
TRANSPORT: Final[Transport] = "tls"
CONSOLE: Final[Mapping[str, str]] = {"CONSOLE_BIND": "127.0.0.1:0"}


@attrs.frozen
class Looked:
    """What the onlooker was sent while he looked; `scrape_bytes`: of one page of figures."""

    states_per_second: float
    stream_bytes_per_second: float
    scrape_bytes: float

    @classmethod
    def of(cls, reply: Mapping[str, Any]) -> "Looked":
        seconds = reply["seconds"]
        scrape_bytes = reply["scrape_bytes"] / reply["scrapes"]
        return cls(reply["states"] / seconds, reply["stream_bytes"] / seconds, scrape_bytes)


@attrs.frozen
class WatchedWindow:
    manner: Manner
    window: Window
    looked: Looked | None = None


@attrs.frozen
class Decoding:
    """What was done when calls of one length were over: CPU seconds of the bridge until it was quiet, with recordings
    (`recorded_seconds`, of all together) and without."""

    cpu_seconds: float
    ours_cpu_seconds: float
    recorded_seconds: float

    @property
    def cpu_per_call_minute(self) -> float:
        """Seconds, for recording alone."""
        return (self.cpu_seconds - self.ours_cpu_seconds) * 60 / self.recorded_seconds


@attrs.define
class Watching:
    """Mutable. All windows, those not measured, whose `why` begins with the manner, and the rounds of decoding."""

    windows: list[WatchedWindow] = attrs.field(factory=list)
    failed: list[FailedWindow] = attrs.field(factory=list)
    decodings: list[Decoding] = attrs.field(factory=list)


@attrs.frozen(eq=False)
class Subject:
    """A process under measurement. `console_url`: empty when it has none; `recordings`: None when it keeps none."""

    manner: Manner
    bridge: Bridge
    console_url: str
    recordings: Recordings | None


@asynccontextmanager
async def open_subjects(manners: Sequence[Manner], around: Surroundings) -> AsyncIterator[list[Subject]]:
    """Closed together. Raises BenchFailure."""
    recordings = Recordings(Path(tempfile.mkdtemp(prefix="recordings-", dir=around.folder)))
    changes: dict[Manner, Mapping[str, str]] = {
        "ours": {},
        "idle_console": CONSOLE,
        "watched": CONSOLE,
        "recorded": {"RECORD_CALLS": "on", "RECORDINGS": str(recordings.folder)},
    }
    async with AsyncExitStack() as stack:
        subjects = []
        for manner in manners:
            bridge = await stack.enter_async_context(open_ours(manner, TRANSPORT, around, changes[manner]))
            url = await bridge.program.says("console listening on ") if changes[manner] is CONSOLE else ""
            subjects.append(Subject(manner, bridge, url, recordings if manner == "recorded" else None))
        yield subjects


@attrs.frozen
class WatchingPart:
    plan: Plan
    load: LoadLink
    around: Surroundings
    tell: Tell
    watching: Watching

    async def run(self) -> None:
        """Raises BenchFailure."""
        for repetition in range(self.plan.watching_repetitions):
            async with open_subjects(MANNERS, self.around) as subjects:
                for place, calls in enumerate(sorted(self.plan.calls)):
                    for subject in rotated(subjects, repetition + place):
                        await self._try(subject, calls, repetition)
        async with open_subjects(("ours", "recorded"), self.around) as subjects:
            for number in range(self.plan.decoding_rounds):
                await self._decode(subjects, number)

    async def _try(self, subject: Subject, calls: int, repetition: int) -> None:
        """What lives and cannot be measured costs this window, and not the run."""
        name = subject.manner.replace("_", " ")
        place = f"{repetition + 1}/{self.plan.watching_repetitions} watching {calls:>4} calls  {name:<12}"
        try:
            watched = await self._measure(subject, calls, repetition)
            self.watching.windows.append(watched)
            self.tell(f"{place} {watched.window}")
        except BenchFailure as failure:
            await self.load.drop()
            subject.bridge.program.check()
            why = f"{subject.manner}: {failure}"
            self.watching.failed.append(FailedWindow("ours", TRANSPORT, calls, repetition, why))
            self.tell(f"{place} not measured: {failure}")
            await wait_quiet(subject.bridge.program.pid)

    async def _measure(self, subject: Subject, calls: int, repetition: int) -> WatchedWindow:
        bridge, looked = subject.bridge, None
        await self.load.ask(bridge, "call", url=bridge.voice_url, calls=calls)
        if subject.manner == "watched":
            await self.load.ask(bridge, "look", url=subject.console_url)
        await trio.sleep(self.plan.watching_warm_seconds)
        window = await measure_window(self.load, bridge, TRANSPORT, self.plan.watching_seconds, repetition)
        if subject.manner == "watched":
            looked = Looked.of(await self.load.ask(bridge, "look_away"))
        await self.load.ask(bridge, "hang_up")
        if subject.recordings is not None:  # decoding must not fall into the next window
            await subject.recordings.wait_decoded(calls, bridge.program)
            subject.recordings.remove_all()
        return WatchedWindow(subject.manner, window, looked)

    async def _decode(self, subjects: Sequence[Subject], number: int) -> None:
        """One round, each in its turn first."""
        calls, cpu_seconds, recorded_seconds = self.plan.decoding_calls, dict[Manner, float](), 0.0
        for subject in rotated(subjects, number):
            bridge = subject.bridge
            await self.load.ask(bridge, "call", url=bridge.voice_url, calls=calls)
            await trio.sleep(self.plan.decoding_seconds if subject.recordings else self.plan.watching_warm_seconds)
            before_ns = cpu_ns(bridge.program.pid)
            await self.load.ask(bridge, "hang_up")
            if subject.recordings is not None:
                recorded_seconds = await subject.recordings.wait_decoded(calls, bridge.program)
                subject.recordings.remove_all()
            await wait_quiet(bridge.program.pid)
            cpu_seconds[subject.manner] = (cpu_ns(bridge.program.pid) - before_ns) / 1e9
        one = Decoding(cpu_seconds["recorded"], cpu_seconds["ours"], recorded_seconds)
        self.watching.decodings.append(one)
        place = f"{number + 1}/{self.plan.decoding_rounds} decoding {calls:>4} calls"
        self.tell(f"{place}  {one.cpu_per_call_minute:.3f} CPU s per minute of call, {recorded_seconds:.0f} s of calls")
