"""pytest fixtures: a simulated world in virtual time, for the tests of any voice_ws agent.

    pytest_plugins = ["simulation.fixtures"]

    async def test_agent_answers_when_called(clock, cloud, caller): ...

A test that names `clock` runs in virtual time, and must not touch a real socket. Needs pytest-trio.
"""

import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from pytest_trio import trio_fixture
from trio.testing import MockClock

from simulation.caller import Caller
from simulation.engine import Engine, open_engine
from simulation.network import VirtualNetwork
from simulation.scenario import CallerStep, HangUp, Scenario
from simulation.speech import Tones
from simulation.vapi_cloud import VapiCloud, open_vapi_cloud

VOICE = Tones(ms_per_word=40)
"""Speech as tones, fast: what is said does not matter to a test, when it is said does."""


@pytest.fixture
def clock() -> MockClock:
    """A clock that jumps to the next thing that happens whenever every task waits."""
    return MockClock(autojump_threshold=0)


@trio_fixture
async def network() -> AsyncIterator[VirtualNetwork]:  # noqa: ASYNC124  # it must run inside Trio
    """The network in memory that every Trio socket of the test is on; 10 ms one way until its weather is changed."""
    with VirtualNetwork(rng=random.Random(0)).installed() as installed:
        yield installed  # noqa: ASYNC119  # pytest-trio runs a fixture to its end


@trio_fixture
async def cloud(network: VirtualNetwork) -> AsyncIterator[VapiCloud]:
    """A Vapi cloud on the network. Set its `agent` and `behaviour` before the call."""
    async with open_vapi_cloud(speech=VOICE, rng=random.Random(0)) as opened:
        yield opened  # noqa: ASYNC119  # as above


@trio_fixture
async def engine(network: VirtualNetwork) -> AsyncIterator[Engine]:
    """An engine on the network, for the agent's reports."""
    async with open_engine() as opened:
        yield opened  # noqa: ASYNC119  # as above


@attrs.frozen
class CallerFactory:
    """Makes callers: `caller(url, Say("…"), HangUp())`, or `caller(url, scenario=…)`; then `await ….run()`."""

    network: VirtualNetwork

    def __call__(self, url: str, *steps: CallerStep, scenario: Scenario | None = None, **knobs: Any) -> Caller:
        script = scenario or Scenario(name="test", caller=steps or (HangUp(),), path=Path("test"))
        return Caller(url, script, network=self.network, **{"speech": VOICE, **knobs})


@pytest.fixture
def caller(network: VirtualNetwork) -> CallerFactory:
    """Makes callers on the network."""
    return CallerFactory(network)
