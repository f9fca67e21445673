"""A stress run from the first call to the last: the same in real time, in processes, and in virtual time, in this one.

Ramp, steady state, quiet, hang-up. Once a second all are asked how they are; what the steady seconds show is what is
told.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

import attrs
import trio

from stress.accounts import Accounts
from stress.histogram import Histogram
from stress.plan import Plan
from stress.sample import Latencies, Leavings, Phase, Result, Sample, ToolCounts
from stress.sides import Side

SET_UP_SECONDS: Final = 40.0
"""From the last call's dialling: the bridge itself gives up after less."""
SETTLE_SECONDS: Final = 2.0
"""From the moment all are up: what the set-ups cost must not be in the window."""
ARRIVE_SECONDS: Final = 1.0
ARRIVE_LOOK_SECONDS: Final = 0.1
LEAVE_SECONDS: Final = 15.0
SLOTS_WORDS: Final = ("too_many_calls", "vapi_no_slot")
"""In how the bridge ends a call for which there was no room."""


class Meter(Protocol):
    def read(self) -> tuple[Mapping[str, float], float | None]:
        """Since the last time: share of a core by process, and of the machine's time that was idle."""


class NoMeter:
    """In virtual time nothing is used."""

    def read(self) -> tuple[Mapping[str, float], float | None]:
        """See :class:`Meter`."""
        return {}, None


@attrs.define(eq=False)
class Run:
    """Mutable: all below `show`, which is what the run has found."""

    plan: Plan
    callers: Side
    cloud: Side
    meter: Meter
    show: Callable[[Sample], None]
    samples: list[Sample] = attrs.field(factory=list)
    latencies: Latencies = attrs.field(factory=lambda: Latencies(late={"callers": Histogram(), "cloud": Histogram()}))
    _tool_latencies: Histogram = attrs.field(factory=Histogram)
    _ended: Counter[str] = attrs.field(factory=Counter)
    _began: float = attrs.field(factory=trio.current_time)
    _arrived: int = 0

    async def hold(self, url: str) -> None:
        """Until all calls are up and the steady state is over, or it is clear that they will not be."""
        plan = self.plan
        await self.callers.ask("call", url=url, calls=plan.calls, per_second=plan.per_second)
        give_up_at = trio.current_time() + plan.calls / plan.per_second + SET_UP_SECONDS
        while (sample := await self._second("ramp")).up < plan.calls:
            if trio.current_time() > give_up_at or sample.up + self._ended.total() >= plan.calls:
                break
        for _ in range(round(SETTLE_SECONDS)):
            await self._second("ramp")
        for _ in range(round(plan.seconds)):
            await self._second("steady")

    async def end(self) -> Result:
        """Let arrive what is on its way, then have all hang up."""
        for side in (self.callers, self.cloud):
            await side.ask("quiet")
        accounts = await self._arrive()
        told = await self.callers.ask("account")
        tools = await self._tools_done()
        await self.callers.ask("hang_up")
        return Result(
            plan=self.plan,
            samples=self.samples,
            accounts=accounts,
            latencies=self.latencies,
            set_ups=Histogram.of_json(told["set_ups"]).percentiles(),
            ended=self._ended,
            tools=tools,
            leavings=await self._gone(),
        )

    async def _second(self, phase: Phase) -> Sample:
        await trio.sleep(1.0)
        callers, cloud = await self.callers.ask("status"), await self.cloud.ask("status")
        cpu, idle = self.meter.read()
        down, up = Histogram.of_json(callers["latencies"]), Histogram.of_json(cloud["latencies"])
        late = {"callers": Histogram.of_json(callers["lateness"]), "cloud": Histogram.of_json(cloud["lateness"])}
        tools = Histogram.of_json(cloud["tools"]["latencies"])
        if phase == "steady":
            self.latencies.up.merge(up)
            self.latencies.down.merge(down)
            self._tool_latencies.merge(tools)
            for side, histogram in late.items():
                self.latencies.late[side].merge(histogram)
        self._ended = Counter(callers["ended"])
        arrived = callers["arrived"] + cloud["arrived"]
        both = Histogram()
        both.merge(up)
        both.merge(down)
        sample = Sample(
            at_seconds=round(trio.current_time() - self._began, 2),
            phase=phase,
            up=callers["up"],
            frames=arrived - self._arrived,
            missing=callers["missing"] + cloud["missing"],
            p50_ms=both.percentile_ms(0.5),
            p99_ms=both.percentile_ms(0.99),
            late_ms={side: histogram.percentile_ms(0.99) for side, histogram in late.items()},
            cpu=cpu,
            idle=idle,
            refused=sum(count for how, count in self._ended.items() if any(word in how for word in SLOTS_WORDS)),
        )
        self._arrived = arrived
        self.samples.append(sample)
        self.show(sample)
        return sample

    async def _arrive(self) -> Accounts:
        """What became of all frames: once none is on its way any more, or after ARRIVE_SECONDS."""
        give_up_at = trio.current_time() + ARRIVE_SECONDS
        while True:
            await trio.sleep(ARRIVE_LOOK_SECONDS)
            accounts = Accounts.of(await _ends(self.callers), await _ends(self.cloud))
            if not accounts.up.lost + accounts.down.lost or trio.current_time() > give_up_at:
                return accounts

    async def _tools_done(self) -> ToolCounts:
        """The tool calls that are being answered may still be."""
        give_up_at = trio.current_time() + LEAVE_SECONDS
        while True:
            told = (await self.cloud.ask("status"))["tools"]
            if told["asked"] == told["answered"] + told["failed"] or trio.current_time() > give_up_at:
                break
            await trio.sleep(ARRIVE_LOOK_SECONDS)
        return ToolCounts(
            told["asked"], told["answered"], told["refused"], tuple(told["complaints"]),
            self._tool_latencies.percentiles(),
        )  # fmt: skip

    async def _gone(self) -> Leavings:
        """What is left at the cloud, when nothing is or after LEAVE_SECONDS."""
        give_up_at = trio.current_time() + LEAVE_SECONDS
        while True:
            told = await self.cloud.ask("status")
            if not told["active"] + told["open"] or trio.current_time() > give_up_at:
                return Leavings(told["active"], told["open"])
            await trio.sleep(ARRIVE_LOOK_SECONDS)


async def _ends(side: Side) -> Sequence[Mapping[str, Any]]:
    ends: Sequence[Mapping[str, Any]] = (await side.ask("account"))["ends"]
    return ends
