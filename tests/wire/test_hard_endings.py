"""Ends that only a real kernel makes: resets, and peers that vanish or freeze behind an open connection.

A vanished peer is gone in ten seconds at most: a ping every 4 s, and 5 s for its pong.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from runtime import limits
from simulation.scenario import AgentTurn
from simulation.vapi_cloud import VapiCloud, open_vapi_cloud
from tests.wire.machines import FAR_ADDRESS, NEAR_ADDRESS, Cable, cable_or_skip
from tests.wire.processes import START_SECONDS, open_cloud_program, open_program
from tests.wire.sockets import HeldCall, TappedNetwork, hold_call
from tests.world import VOICE, World, open_world

VANISHED_SECONDS = 12.0  # ten, and two for a busy machine
AT_ONCE_SECONDS = 1.0

LONG_SPEECH = AgentTurn(say="and " * 1_000)  # 40 s of it
ON_THE_LINE = ["silence", "speech"]
"""What the assistant sends when the caller goes: with nothing under way only a ping can find out; amid speech a
kernel has something to send again, and buffers to fill."""

QUIET_SCENARIO = """schema: 1
name: quiet
policy: open
fixture: bank
caller:
  - wait: 60
  - hang_up: true
agent:
  - say: "Hello."
expect: {}
"""


@asynccontextmanager
async def open_tapped_world(*agent: AgentTurn, **environ: str) -> AsyncIterator[tuple[World, VapiCloud, TappedNetwork]]:
    """A world whose doors use a cloud with tapped sockets, in place of the world's own."""
    network = TappedNetwork()
    async with open_vapi_cloud(network=network, agent=agent, speech=VOICE) as cloud:
        settings = {"VAPI_BASE_URL": cloud.base_url, "VAPI_API_KEY": cloud.api_key, **environ}
        async with open_world(**settings) as world:
            yield world, cloud, network


def agent_that_sends(what: str) -> list[AgentTurn]:
    return [LONG_SPEECH] if what == "speech" else []


async def until_it_sends(what: str, world: World) -> None:
    """The greeting has begun; or it is over, and its tail has been sent too."""
    await world.until(lambda: world.event("turn-started" if what == "speech" else "tail"), 15)


async def cloud_was_told(cloud: VapiCloud, network: TappedNetwork) -> None:
    """The call at Vapi ended as it should: by our order, then by our close frame."""
    with trio.fail_after(5):
        await cloud.calls[0].over.wait()
    assert cloud.calls[0].ended_by == "client"
    assert network.upgraded("/transport").texts_and_close() == ['{"type":"end-call"}', 1000]


async def caller_was_told(call: HeldCall, within_seconds: float) -> None:
    with trio.fail_after(within_seconds):
        await call.over.wait()
    assert call.closed == (1011, "vapi_lost")


async def test_call_is_gone_at_once_when_the_caller_resets() -> None:
    callers = TappedNetwork()
    async with open_tapped_world() as (world, cloud, network), hold_call(world.doors.voice_url, callers) as call:
        await world.until(lambda: call.heard_bytes)  # amid the greeting
        callers.streams[0].reset()
        await world.ended(cloud.calls[0], AT_ONCE_SECONDS)
        await world.until(lambda: world.event("call-over"), AT_ONCE_SECONDS)
        await cloud_was_told(cloud, network)
    assert world.event("call-over")[0].data["by"] == "caller"
    assert "1006" in world.event("call-over")[0].data["detail"]


async def test_caller_is_told_at_once_when_vapi_resets() -> None:
    async with open_tapped_world() as (world, cloud, network), hold_call(world.doors.voice_url) as call:
        await world.until(lambda: call.heard_bytes)
        network.upgraded("/transport").reset()
        await caller_was_told(call, AT_ONCE_SECONDS)
        # Nobody knows what Vapi made of it: it is asked, and has ended the call.
        await world.until(lambda: world.doors.house.vapi_calls.counts)
        assert world.doors.house.vapi_calls.counts == {"orphans_ended": 1}
        assert ("GET", f"/call/{cloud.calls[0].id}", 200) in cloud.requests


@pytest.fixture
def joined_machines() -> Iterator[Cable]:
    with cable_or_skip() as cable:
        yield cable


@pytest.fixture
async def cable(joined_machines: Cable) -> Cable:
    """Two machines. Every socket of the test is on the near one, unless it is made by the far one."""
    trio.socket.set_custom_socket_factory(joined_machines.near)
    return joined_machines


@pytest.mark.parametrize("sends", ON_THE_LINE)
async def test_call_is_gone_in_ten_seconds_when_the_caller_vanishes(sends: str, cable: Cable) -> None:
    async with (
        open_tapped_world(*agent_that_sends(sends), VOICE_HOST=NEAR_ADDRESS) as (world, cloud, network),
        hold_call(world.doors.voice_url, cable.far),
    ):
        await until_it_sends(sends, world)
        cable.far_vanishes()
        await world.ended(cloud.calls[0], VANISHED_SECONDS)
        await cloud_was_told(cloud, network)
        await world.until(lambda: world.event("call-over"))
    assert world.event("call-over")[0].data["by"] == "caller"


async def test_caller_is_told_in_ten_seconds_when_vapi_vanishes(cable: Cable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "ORPHAN_SECONDS", 1.0)
    async with open_vapi_cloud(network=cable.far, host=FAR_ADDRESS, speech=VOICE) as cloud:
        settings = {
            "VAPI_BASE_URL": cloud.base_url,
            "VAPI_API_KEY": cloud.api_key,
            "PUBLIC_BASE_URL": "https://bridge.invalid",  # no tool is called
        }
        async with open_world(**settings) as world, hold_call(world.doors.voice_url) as call:
            await until_it_sends("silence", world)
            cable.far_vanishes()
            await caller_was_told(call, VANISHED_SECONDS)
            # Its control URL is as far away, so somebody has to look after the call.
            await world.until(lambda: world.doors.house.vapi_calls.counts)
            assert world.doors.house.vapi_calls.counts == {"possibly_billed": 1}


@pytest.fixture
def quiet_scenario(tmp_path: Path) -> Path:
    """A caller and an assistant who say as little as they can; without recordings, so in tones."""
    path = tmp_path / "quiet.yaml"
    path.write_text(QUIET_SCENARIO, encoding="utf-8")
    return path


@pytest.mark.parametrize("sends", ON_THE_LINE)
async def test_call_is_gone_in_ten_seconds_when_the_caller_freezes(sends: str, quiet_scenario: Path) -> None:
    async with (
        open_tapped_world(*agent_that_sends(sends)) as (world, cloud, network),
        open_program("simulate", "caller", world.doors.voice_url, "--scenario", str(quiet_scenario)) as caller,
    ):
        await caller.says("connected", START_SECONDS)
        await until_it_sends(sends, world)
        with caller.frozen():
            await world.ended(cloud.calls[0], VANISHED_SECONDS)
            await cloud_was_told(cloud, network)
            await world.until(lambda: world.event("call-over"))
    assert world.event("call-over")[0].data["by"] == "caller"


async def test_caller_is_told_in_ten_seconds_when_vapi_freezes(quiet_scenario: Path) -> None:
    async with (
        open_cloud_program(quiet_scenario) as (cloud, url),
        open_world(VAPI_BASE_URL=url) as world,
        hold_call(world.doors.voice_url) as call,
    ):
        await until_it_sends("silence", world)
        with cloud.frozen():
            await caller_was_told(call, VANISHED_SECONDS)
        # It is asked for the call until it answers, and by then has none.
        await cloud.says("call-ended")
        counts = world.doors.house.vapi_calls.counts
        await world.until(lambda: counts, limits.ORPHAN_SECONDS)
        assert counts == {"orphans_ended": 1}
