"""What a run's figures mean: whether it passed, and what was full first. Pure."""

from collections.abc import Sequence
from typing import Final, Literal

from stress.plan import FULL_SHARE, IDLE_SHARE, LATE_MS, P99_MS
from stress.sample import BRIDGE, LOAD, Result, Sample

Full = Literal["slots", "load", "bridge", "machine", "nothing"]
SUSTAINED_SAMPLES: Final = 2
"""One second over a limit is an accident; so many in a row are a limit."""
MEANINGS: Final = {
    "slots": "the Vapi account's slots, or the bridge's own limit of calls, turned callers away",
    "load": "the load itself was full: the figures say nothing about the bridge",
    "bridge": "the bridge used up its core",
    "machine": f"less than {IDLE_SHARE:.0%} of the machine was idle",
    "nothing": "nothing was full",
}


def full_in(sample: Sample) -> list[Full]:
    """What was full in that second, the one that explains most first."""
    late = [ms for ms in sample.late_ms.values() if ms is not None and ms > LATE_MS]
    signs: tuple[tuple[Full, bool], ...] = (
        ("slots", sample.refused > 0),
        ("load", any(sample.cpu.get(side, 0.0) >= FULL_SHARE for side in LOAD)),
        ("bridge", sample.cpu.get(BRIDGE, 0.0) >= FULL_SHARE),
        ("machine", sample.idle is not None and sample.idle < IDLE_SHARE),
        ("load", bool(late)),  # on a full machine everybody is late
    )
    return [name for name, full in signs if full]


def first_full(samples: Sequence[Sample]) -> Full:
    """What was full first, and stayed so for SUSTAINED_SAMPLES seconds."""
    for start in range(len(samples) - SUSTAINED_SAMPLES + 1):
        run = samples[start : start + SUSTAINED_SAMPLES]
        for name in full_in(run[0]):
            if all(name in full_in(sample) for sample in run):
                return name
    return "nothing"


def complaints(result: Result) -> list[str]:
    """Why the run did not pass, a line each; none: it passed."""
    return [*_about_calls(result), *_about_frames(result), *_about_tools(result), *_about_the_end(result)]


def held(result: Result) -> bool:
    """It passed, and left enough of the machine idle: what `--find` looks for."""
    return not complaints(result) and (result.idle is None or result.idle >= IDLE_SHARE)


def _about_calls(result: Result) -> list[str]:
    set_up, asked = len(result.accounts.calls), result.plan.calls
    said = [] if set_up == asked else [f"{asked - set_up} of {asked} calls were not set up"]
    said += [f"{count} calls ended by themselves: {how}" for how, count in result.ended.items()]
    if result.accounts.crossed:
        said.append(f"{result.accounts.crossed} callers heard another call's assistant")
    if not result.steady:
        said.append("nothing was measured: the calls were not all up in time")
    return said


def _about_frames(result: Result) -> list[str]:
    accounts = result.accounts
    said = []
    for way, direction in (("uplink", accounts.up), ("downlink", accounts.down)):
        if direction.harmed:
            said.append(f"{way}: {direction.harms} of {direction.sent} frames")
    if accounts.worst:
        numbers = ", ".join(str(call.number) for call in accounts.worst[:5])
        said.append(f"in {len(accounts.worst)} calls, the worst: {numbers}")
    for way, latencies in (("uplink", result.latencies.up), ("downlink", result.latencies.down)):
        p99_ms = latencies.percentile_ms(0.99)
        if p99_ms is None:
            said.append(f"{way}: no frame came through")
        elif p99_ms >= P99_MS:
            said.append(f"{way}: p99 of the added latency is {p99_ms:.1f} ms, not below {P99_MS:g} ms")
    return said


def _about_tools(result: Result) -> list[str]:
    tools = result.tools
    if tools.answered == tools.asked:
        return []
    wrong = f"{tools.asked - tools.answered} of {tools.asked} tool calls were not answered as they must be"
    return [f"{wrong}: {'; '.join(tools.complaints) or 'no answer came'}"]


def _about_the_end(result: Result) -> list[str]:
    left = result.leavings
    said = []
    if left.calls or left.sockets:
        said.append(f"left at the cloud after all had hung up: {left.calls} calls, {left.sockets} sockets")
    if left.bridge_code != 0:
        said.append(f"the bridge ended with code {left.bridge_code}, not 0: {left.bridge_said}")
    if left.processes:
        said.append(f"processes were left: {', '.join(left.processes)}")
    return said
