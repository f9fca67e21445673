"""One measured window over the calls that are up: what the bridge used, what its frames went through."""

import asyncio
import gc
import time
from collections.abc import Sequence
from typing import Any, Final

import attrs

from bench import usage
from bench.load.calls import Exchange
from bench.load.failure import LoadFailure
from bench.spread import Latency

ARRIVE_SECONDS: Final = 1.0  # for what is still on its way when the window ends
POLL_SECONDS: Final = 0.01


async def measure(
    exchange: Exchange, bridge: Sequence[int], seconds: float, beside: Sequence[int] = ()
) -> dict[str, Any]:
    """Watch for `seconds`, then wait for the last frames. `bridge`: its process ids; `beside`: others'. Raises
    LoadFailure.

    `cpu_seconds` and `memory` are the bridge's, all its processes together; `load_share` is our own part of a core.
    """
    gc.collect()
    streams, pacer = exchange.streams(), exchange.pacer
    for stream in streams:
        stream.mark()
    ticks, late_ticks = pacer.ticks, pacer.late_ticks
    began, our_cpu, its_cpu = time.monotonic_ns(), time.process_time_ns(), _cpu_ns(bridge)
    beside_cpu = _cpu_ns(beside)
    await asyncio.sleep(seconds)
    its_cpu, our_cpu = _cpu_ns(bridge) - its_cpu, time.process_time_ns() - our_cpu
    beside_cpu = _cpu_ns(beside) - beside_cpu
    took_ns = time.monotonic_ns() - began
    relayed = sum(stream.arrived + stream.reordered for stream in streams)
    memory = usage.memory(*bridge)
    ticks, late_ticks = pacer.ticks - ticks, pacer.late_ticks - late_ticks
    latencies = {
        "up": [ns for caller in exchange.callers for ns in caller.up.latencies_ns],
        "down": [ns for caller in exchange.callers if caller.vapi for ns in caller.vapi.down.latencies_ns],
    }
    check_alive(exchange)
    if not relayed or not all(latencies.values()):
        raise LoadFailure("no frame came through in the window")
    return {
        "calls": len(exchange.callers),
        "seconds": took_ns / 1e9,
        "cpu_seconds": its_cpu / 1e9,
        "beside_cpu_seconds": beside_cpu / 1e9,
        "frames": relayed,
        "latency": {way: attrs.asdict(Latency.of(values)) for way, values in latencies.items()},
        "memory": attrs.asdict(memory),
        "load_share": our_cpu / took_ns,
        "late_share": late_ticks / max(ticks, 1),
        **await _account(exchange),
    }


def _cpu_ns(pids: Sequence[int]) -> int:
    return sum(usage.cpu_ns(pid) for pid in pids)


def check_alive(exchange: Exchange) -> None:
    """Raises LoadFailure when a call has ended that nobody hung up."""
    if gone := sum(caller.ended_by_itself for caller in exchange.callers):
        raise LoadFailure(f"{gone} of {len(exchange.callers)} calls ended by themselves")


async def _account(exchange: Exchange) -> dict[str, int]:
    """What became of every frame since the window began. No more are sent until those on their way have come, or
    are lost."""
    streams = exchange.streams()
    exchange.pacer.paused = True
    try:
        deadline = time.monotonic() + ARRIVE_SECONDS
        # Polled: an event per frame would cost the load its time.
        while time.monotonic() < deadline and any(stream.missing for stream in streams):  # noqa: ASYNC110
            await asyncio.sleep(POLL_SECONDS)
    finally:
        exchange.pacer.paused = False
    check_alive(exchange)
    return {
        "lost": sum(stream.missing for stream in streams),
        "reordered": sum(stream.reordered for stream in streams),
        "damaged": sum(stream.damaged for stream in streams),
        "silent_bytes": sum(stream.silent_bytes for stream in streams),
    }
