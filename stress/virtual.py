"""The same calls in memory under a fake clock: the product's own doors and both sides of the load in this process.

Frames, ledgers, legs and tools are those of real time. What is left out is what a clock would measure: here nothing
takes time but what waits on purpose.
"""

import gc
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Final

import attrs
import trio
from trio.testing import MockClock

from db.memory import open_memory_database
from runtime.doors import open_doors
from runtime.poller import Poller
from runtime.record import Event
from runtime.settings import Settings, read_settings
from simulation.network import VirtualNetwork, Weather
from stress.cloud import API_KEY
from stress.plan import Plan
from stress.poller import ManyPoller
from stress.run import NoMeter, Run
from stress.sample import Result, Sample
from stress.sides import Here, Options, open_callers, open_cloud_side

SLOTS_PER_FRAME: Final = 1
"""All callers speak in step: a moment of virtual time is as dear with one frame in it as with a thousand."""


def run_virtually(plan: Plan, show: Callable[[Sample], None]) -> Result:
    """Hold the plan's calls in no time, and say what came of them. Raises SettingsError and StartError."""
    began = time.perf_counter()
    gc.disable()  # a collection walks through all calls again and again; what they leave in circles is little
    try:
        result: Result = trio.run(_held, plan, show, clock=MockClock(autojump_threshold=0))
    finally:
        gc.enable()
    return attrs.evolve(result, wall_seconds=time.perf_counter() - began)


async def _held(plan: Plan, show: Callable[[Sample], None]) -> Result:
    network = VirtualNetwork(weather=Weather(latency_seconds=0.0))
    options = Options(plan.frame_ms, SLOTS_PER_FRAME, plan.slots, plan.tool_every_seconds, plan.asks)
    with network.installed():
        async with AsyncExitStack() as stack:
            database = await stack.enter_async_context(open_memory_database())
            cloud = await stack.enter_async_context(open_cloud_side(options, _now_ns, _poller()))
            settings = _settings(plan, cloud.vapi.base_url)
            doors = await stack.enter_async_context(open_doors(settings, database, _forget, poller=_poller()))
            callers = await stack.enter_async_context(open_callers(options, _now_ns, _poller()))
            run = Run(plan, Here(callers), Here(cloud), NoMeter(), show)
            await run.hold(doors.voice_url)
            return await run.end()


def _poller() -> Poller:
    return ManyPoller()


def _now_ns() -> int:
    return round(trio.current_time() * 1e9)


def _forget(_event: Event) -> None:
    """Nobody asks what happened in a call."""


def _settings(plan: Plan, base_url: str) -> Settings:
    return read_settings(
        {
            "PORT": "0",
            "VOICE_HOST": "127.0.0.1",
            "WEBHOOK_PORT": "0",
            "CONSOLE_BIND": "none",
            "POD_ID": "stress",
            "VAPI_API_KEY": API_KEY,
            "VAPI_BASE_URL": base_url,
            "VAPI_SLOTS": str(plan.slots),
            "MAX_CALLS": str(plan.calls),
            "TOOL_POLICY": plan.policy,
        }
    )
