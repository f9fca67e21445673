"""What a run found: as a table, and as JSON.

The JSON, schema 1 (`voice stress --json FILE`); times in ms, shares 0 to 1, null where nothing was measured:

    schema: 1
    verdict: {passed, full_first, complaints: [line]}; `full_first`: slots, load, bridge, machine or nothing
    held: the largest number of calls that held; null without --find
    runs: one, or with --find one for each number of calls, in their order:
        plan: {calls, seconds, per_second, account_slots, tool_every_seconds, frame_ms, policy, scenario}
        passed, complaints, full_first
        frames: {up, down}, each {sent, arrived, lost, reordered, repeated, damaged, foreign, blocked, silent_bytes}
        harmed_calls: of those in which a frame was harmed, the worst 20: {number, up, down}
        latency: {up, down}, added, of the steady window, each {count, p50_ms, p95_ms, p99_ms, max_ms}
        lateness: {callers, cloud}, the load's own, likewise
        set_up: from dialling to the assistant's first audio, likewise
        tools: {asked, answered, refused, latency}
        ended: {how: calls} of calls that ended by themselves
        cpu: {process, others: share of a core}, idle: share of the machine; means of the steady window
        memory: {before_mib, steady_mib, kib_per_call} of the bridge; null in virtual time
        leavings: {calls, sockets, processes, bridge_code, bridge_said}
        wall_seconds: of a run in virtual time
        seconds: one each: {at_seconds, phase, up, frames, missing, p50_ms, p99_ms, late_ms, cpu, idle, refused}
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import attrs
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from stress.accounts import Direction
from stress.histogram import Percentiles
from stress.sample import OTHERS, Result
from stress.screen import ms, share, shares
from stress.verdict import MEANINGS, complaints, first_full, held

SCHEMA: Final = 1
WORST_CALLS: Final = 20
BUSY_SHARE: Final = 0.2
"""Of a core, used by others: then it is said."""


def passed(results: Sequence[Result], *, search: bool) -> bool:
    """A run passed; of a search, some number of calls held."""
    return largest_held(results) is not None if search else not complaints(results[-1])


def largest_held(results: Sequence[Result]) -> int | None:
    """The most calls that held."""
    return max((result.plan.calls for result in results if held(result)), default=None)


def as_json(results: Sequence[Result], *, search: bool) -> dict[str, Any]:
    """See above."""
    last = results[-1]
    return {
        "schema": SCHEMA,
        "verdict": {
            "passed": passed(results, search=search),
            "full_first": first_full(last.samples),
            "complaints": complaints(last),
        },
        "held": largest_held(results) if search else None,
        "runs": [_run_as_json(result) for result in results],
    }


def _run_as_json(result: Result) -> dict[str, Any]:
    plan = attrs.asdict(result.plan)
    del plan["asks"]
    accounts, found = result.accounts, complaints(result)
    late = {side: attrs.asdict(histogram.percentiles()) for side, histogram in result.latencies.late.items()}
    return {
        "plan": plan, "passed": not found, "complaints": found, "full_first": first_full(result.samples),
        "frames": {"up": attrs.asdict(accounts.up), "down": attrs.asdict(accounts.down)},
        "harmed_calls": [attrs.asdict(call) for call in accounts.worst[:WORST_CALLS]],
        "latency": {way: attrs.asdict(of_way) for way, of_way in _ways(result)},
        "lateness": late,
        "set_up": attrs.asdict(result.set_ups),
        "tools": attrs.asdict(result.tools, filter=attrs.filters.exclude("complaints")),
        "ended": dict(result.ended),
        "cpu": result.cpu, "idle": result.idle,
        "memory": _memory(result),
        "leavings": attrs.asdict(result.leavings),
        "wall_seconds": result.wall_seconds,
        "seconds": [attrs.asdict(sample) for sample in result.samples],
    }  # fmt: skip


def _ways(result: Result) -> list[tuple[str, Percentiles]]:
    return [("up", result.latencies.up.percentiles()), ("down", result.latencies.down.percentiles())]


def _memory(result: Result) -> dict[str, float] | None:
    memory = result.memory
    if memory is None:
        return None
    per_call = (memory.steady_mib - memory.before_mib) * 1024 / max(len(result.accounts.calls), 1)
    return {**attrs.asdict(memory), "kib_per_call": round(per_call, 1)}


def tell(result: Result, console: Console) -> None:
    """A table and the verdict."""
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in _rows(result):
        table.add_row(f"[dim]{name}[/dim]", escape(value))
    console.print(table)
    found, full = complaints(result), first_full(result.samples)
    for line in found:
        console.print(f"[red]{escape(line)}[/red]", soft_wrap=True)
    if (others := result.cpu.get(OTHERS, 0.0)) > BUSY_SHARE:
        line = f"other programs used {others:.0%} of a core: on a quiet machine the figures are better"
        console.print(f"[yellow]{line}[/yellow]", soft_wrap=True)
    console.print(f"full first: {full} ({MEANINGS[full]})", soft_wrap=True, highlight=False)
    console.print("[red]failed[/red]" if found else "[green]passed[/green]: nothing lost, reordered or damaged")


def _rows(result: Result) -> Iterator[tuple[str, str]]:
    plan, accounts = result.plan, result.accounts
    yield "calls", f"{len(accounts.calls)} of {plan.calls} set up, {_times(result.set_ups)}"
    for name, direction in (("uplink", accounts.up), ("downlink", accounts.down)):
        yield f"{name} frames", _frames(direction)
    for way, latency in _ways(result):
        yield f"{way}link, added", _times(latency)
    tools = result.tools
    refused = f", {tools.refused} of them a refusal" if tools.refused else ""
    yield "tools", f"{tools.answered} of {tools.asked} answered{refused}, {_times(tools.latency)}"
    if result.wall_seconds is not None:
        yield "wall time", f"{result.wall_seconds:.1f} s for {_virtual_seconds(result):.0f} virtual seconds"
        return
    for side, histogram in result.latencies.late.items():
        yield f"{side}, late by", _times(histogram.percentiles())
    yield "cpu, of a core", shares(result.cpu)
    yield "idle", f"{share(result.idle)} of the machine"
    if (memory := _memory(result)) is not None:
        steady, before, each = memory["steady_mib"], memory["before_mib"], memory["kib_per_call"]
        yield "bridge, RSS", f"{steady:.0f} MiB, {before:.0f} without calls: {each:.0f} KiB for each"


def _virtual_seconds(result: Result) -> float:
    return result.samples[-1].at_seconds if result.samples else 0.0


def _frames(direction: Direction) -> str:
    harms = direction.harms or "none lost, reordered or damaged"
    return f"{direction.arrived} of {direction.sent} arrived; {harms}"


def _times(of: Percentiles) -> str:
    if of.max_ms is None:
        return "not measured"
    return f"p50 {of.p50_ms:.1f}, p95 {of.p95_ms:.1f}, p99 {of.p99_ms:.1f}, max {of.max_ms:.1f} ms"


def tell_search(results: Sequence[Result], console: Console) -> None:
    """One row for each number of calls, and the largest that held."""
    table = Table(box=None, pad_edge=False)
    for name in ("calls", "p99 up", "p99 down", "harmed", "bridge", "load", "idle", "held", "full first"):
        table.add_column(name, justify="right")
    for result in sorted(results, key=lambda result: result.plan.calls):
        (_, up), (_, down) = _ways(result)
        harmed = result.accounts.up.harmed + result.accounts.down.harmed
        cpu = result.cpu
        table.add_row(
            str(result.plan.calls), ms(up.p99_ms), ms(down.p99_ms), str(harmed), share(cpu.get("bridge")),
            share(cpu.get("callers", 0.0) + cpu.get("cloud", 0.0)), share(result.idle),
            "yes" if held(result) else "no", first_full(result.samples),
        )  # fmt: skip
    console.print(table)
    largest = largest_held(results)
    if largest is None:
        console.print("[red]no number of calls held[/red]")
    else:
        console.print(f"[green]{largest} calls[/green] held: nothing lost, p99 below 20 ms, 15 % of the machine idle")
