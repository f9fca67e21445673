"""The fixtures, used as the author of another voice_ws agent would: his agent; our caller, cloud, engine and time."""

import os
import subprocess
import sys
import time
from pathlib import Path

import attrs
import httpx
import pytest
import trio
from trio.testing import MockClock

from simulation import fixtures
from simulation.engine import Engine
from simulation.fixtures import VOICE, CallerFactory
from simulation.loopback import Manners, open_loopback
from simulation.network import VirtualNetwork, Weather
from simulation.scenario import AgentTurn, HangUp, Say
from simulation.vapi_cloud import VapiCloud
from tests.world import open_world

clock, network, cloud, engine, caller = (
    fixtures.clock,
    fixtures.network,
    fixtures.cloud,
    fixtures.engine,
    fixtures.caller,
)

LINES = ("hello this is the bank", "your card is frozen", "good bye")


async def test_caller_talks_with_an_agent_(clock: MockClock, caller: CallerFactory) -> None:
    async with open_loopback(LINES, manners=Manners(tail="paced"), speech=VOICE) as agent:
        report = await caller(agent.url, Say("my card is lost"), Say("thank you"), HangUp()).run()
    assert report.ending == "caller_hung_up"
    assert [turn.tail_ms for turn in report.turns] == pytest.approx([1_500] * 2, abs=200)
    assert report.duration_seconds == pytest.approx(trio.current_time(), abs=0.5)
    assert report.duration_seconds > 3


async def test_caller_gives_up_in_no_time_when_the_agent_forgets_its_tail(
    clock: MockClock, caller: CallerFactory, network: VirtualNetwork
) -> None:
    began = time.monotonic()
    network.weather = Weather(latency_seconds=0.080, jitter_seconds=0.030)
    async with open_loopback(LINES, manners=Manners(tail="none"), speech=VOICE) as agent:
        report = await caller(agent.url, Say("hello"), HangUp()).run()
    assert report.ending == "deadlock"
    assert trio.current_time() > 20 > time.monotonic() - began
    assert len(network.links_to(agent.port)) == 1


async def test_agent_reaches_cloud_and_engine(
    clock: MockClock, cloud: VapiCloud, engine: Engine, network: VirtualNetwork
) -> None:
    cloud.agent = (AgentTurn("good day"),)
    call = {"service": "agent", "event_type": "agent_tool_call", "data": {"name": "x", "arguments": {}, "result": 1}}
    async with httpx.AsyncClient(trust_env=False, headers={"authorization": f"Bearer {cloud.api_key}"}) as http:
        assert (await http.get(f"{cloud.base_url}/call")).json() == []
        assert (await http.post(f"{engine.base_url}/simulations/s/events", json=call)).status_code == 200
    assert [event.name for event in engine.events("s")] == ["x"]
    assert 0 < trio.current_time() < 1
    assert {link.port for link in network.links} == {cloud.port, engine.port}


async def test_product_answers_on_the_network(clock: MockClock, network: VirtualNetwork, caller: CallerFactory) -> None:
    async with open_world() as world:
        steps = world.scenario.caller[-2:]
        report = await caller(world.doors.voice_url, *steps).run()
        await world.ended(world.cloud.calls[0])
    assert report.ending == "caller_hung_up"
    assert [attrs.asdict(turn)["text"] for turn in report.turns] == [step.text for step in steps[:-1]]  # type: ignore[union-attr]
    assert len(network.links_to(int(world.doors.voice_url.rpartition(":")[2].removesuffix("/voice")))) == 1
    assert network.open_sockets == set()


THEIRS = """
import pytest
import trio

from simulation.loopback import open_loopback
from simulation.scenario import HangUp, Say

pytest_plugins = ["simulation.fixtures"]


async def test_agent_answers_when_called(clock, cloud, engine, network, caller):
    async with open_loopback(("hello", "bye")) as agent:
        report = await caller(agent.url, Say("my card is lost"), HangUp()).run()
    assert report.ending == "caller_hung_up"
    assert cloud.base_url and engine.base_url and len(network.links) == 1
    assert 0.2 < trio.current_time() < 1
"""


def test_fixtures_are_found_from_a_project_that_names_the_plugin(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\ntrio_mode = true\nfilterwarnings = error\n")
    (tmp_path / "test_theirs.py").write_text(THEIRS)
    environ = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    ran = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "1 passed" in ran.stdout
