"""`voice serve` told to stop while calls run: the first signal lets them end, the second ends them."""

import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import attrs
import pytest
import trio

from simulation.caller import Caller
from simulation.caller_report import CallerReport
from simulation.scenario import load_scenario
from simulation.vapi_cloud import VapiCloud, open_vapi_cloud
from tests.wire.processes import Bridge, open_bridge
from tests.wire.sockets import hold_call
from tests.world import SCENARIO, VOICE

MANY = 20


@asynccontextmanager
async def open_bridge_and_cloud(**environ: str) -> AsyncIterator[tuple[Bridge, VapiCloud]]:
    scenario = load_scenario(SCENARIO)
    agent = {"agent": scenario.agent, "caller_lines": scenario.caller_lines, "speech": VOICE}
    async with (
        open_vapi_cloud(slots=MANY, **agent) as cloud,
        open_bridge(
            VAPI_BASE_URL=cloud.base_url,
            VAPI_API_KEY=cloud.api_key,
            VAPI_SLOTS=str(MANY),
            TOOL_POLICY="open",
            **environ,
        ) as bridge,
    ):
        yield bridge, cloud


async def all_are_live(cloud: VapiCloud, calls: int) -> None:
    with trio.fail_after(20):
        while [call.status for call in cloud.calls] != ["in-progress"] * calls:
            await trio.sleep(0.02)


async def is_refused(url: str) -> None:
    async with hold_call(url) as call:
        with trio.fail_after(10):
            await call.over.wait()
    assert call.closed == (1013, "too_many_calls")


async def goes_on(cloud: VapiCloud) -> None:
    """Vapi still hears the first call's caller."""
    heard = cloud.calls[0].heard_messages
    with trio.fail_after(10):
        while cloud.calls[0].heard_messages < heard + 5:
            await trio.sleep(0.02)


def said_nothing_ugly(bridge: Bridge) -> None:
    assert [line.split(" on ")[0] for line in bridge.program.said_to_the_user] == [
        "voice listening",
        "webhook listening",
    ]
    assert "Traceback" not in bridge.program.everything
    assert '"level": "error"' not in bridge.program.everything


async def test_bridge_refuses_callers_and_carries_its_call_to_its_end_when_told_to_stop(url: str) -> None:
    scenario = load_scenario(SCENARIO)
    one_question = attrs.evolve(scenario, caller=scenario.caller[:1])
    reports: list[CallerReport] = []
    async with open_bridge_and_cloud(DATABASE_URL=url) as (bridge, cloud), trio.open_nursery() as nursery:

        async def call() -> None:
            reports.append(await Caller(bridge.voice_url, one_question, speech=VOICE).run())

        nursery.start_soon(call)
        await all_are_live(cloud, 1)
        bridge.program.process.send_signal(signal.SIGTERM)
        await bridge.program.says("draining")
        assert not cloud.calls[0].exchanges
        await is_refused(bridge.voice_url)
        assert await bridge.program.ends(40) == 0, bridge.program.everything
    assert [report.ending for report in reports] == ["caller_hung_up"]
    assert len(cloud.calls) == 1
    (exchange,) = cloud.calls[0].exchanges
    assert exchange.accepted
    assert [verdict.is_error for verdict in exchange.verdicts] == [False]
    assert cloud.calls[0].received_texts == ['{"type":"end-call"}']
    said_nothing_ugly(bridge)


@pytest.mark.parametrize(("signum", "calls"), [(signal.SIGTERM, MANY), (signal.SIGINT, 1)])
async def test_callers_are_told_when_the_bridge_is_stopped_twice(signum: signal.Signals, calls: int) -> None:
    async with open_bridge_and_cloud() as (bridge, cloud), AsyncExitStack() as stack:
        held = [await stack.enter_async_context(hold_call(bridge.voice_url)) for _ in range(calls)]
        await all_are_live(cloud, calls)
        bridge.program.process.send_signal(signum)
        await bridge.program.says("draining")
        await is_refused(bridge.voice_url)
        await goes_on(cloud)
        assert not any(call.over.is_set() for call in held)
        bridge.program.process.send_signal(signum)
        for call in held:
            with trio.fail_after(20):
                await call.over.wait()
        assert [call.closed for call in held] == [(1001, "shutting_down")] * calls
        assert await bridge.program.ends() == 0, bridge.program.everything
        assert [call.received_texts for call in cloud.calls] == [['{"type":"end-call"}']] * calls
    said_nothing_ugly(bridge)
