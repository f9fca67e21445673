"""The growth curve: from one call to as many as this machine holds, each bridge in a fresh process."""

from typing import Final

import trio

from bench.alternations import Tell, measure_window
from bench.bridges import KINDS, Bridge, Surroundings, Transport, open_bridge
from bench.failure import BenchFailure
from bench.load_link import LoadLink
from bench.plan import Plan
from bench.windows import Window

TRANSPORT: Final[Transport] = "tls"
FULL_SHARE: Final = 0.95  # of its core; beyond that a process falls behind
LATE_SHARE: Final = 0.5  # of the frames, sent more than 2 ms late: what is measured then is the load
SLOW_MS: Final = 100.0


async def measure_growth(
    plan: Plan, load: LoadLink, around: Surroundings, tell: Tell
) -> tuple[list[Window], list[str]]:
    """(windows, per bridge why its curve ends). Raises BenchFailure when not even one call can be measured."""
    windows: list[Window] = []
    ends = []
    for kind in KINDS:
        async with open_bridge(kind, TRANSPORT, around) as bridge:
            ended = f"{kind}: measured to the last step"
            for calls in plan.growth_calls:
                try:
                    window = await _step(plan, load, bridge, calls)
                except BenchFailure as failure:
                    if calls == plan.growth_calls[0]:
                        raise
                    ended = f"{kind}: {calls} calls could not be held: {failure}"
                    break
                windows.append(window)
                tell(f"growth {calls:>4} calls  {kind:<9} {window}")
                if (why := _limit(window)) is not None:
                    ended = f"{kind}: {calls} calls were the last, {why}"
                    break
            ends.append(ended)
            tell(f"growth {ended}")
            await load.drop()
    return windows, ends


async def _step(plan: Plan, load: LoadLink, bridge: Bridge, calls: int) -> Window:
    await load.ask(bridge, "call", url=bridge.voice_url, calls=calls)
    await trio.sleep(plan.warm_seconds)
    return await measure_window(load, bridge, TRANSPORT, plan.growth_seconds, 0)


def _limit(window: Window) -> str | None:
    """What of the machine is used up, if anything."""
    if window.bridge_share > FULL_SHARE:
        return "the bridge had used up its core"
    if window.load_share > FULL_SHARE:
        return "the load process had used up its core"
    if window.late_share > LATE_SHARE:
        return "the load process fell behind"
    if window.harmed:
        return f"{window.harmed} frames were harmed, or did not arrive within a second"
    if window.p99_ms > SLOW_MS:
        return f"its p99 latency was {window.p99_ms:.0f} ms"
    return None
