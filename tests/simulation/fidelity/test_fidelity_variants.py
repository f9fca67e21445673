"""The product carries a conversation with tools under every variant of Vapi."""

from typing import Any

import attrs
import pytest

from simulation.behaviour import Behaviour
from simulation.network import VirtualNetwork
from simulation.scenario import AgentTurn, Scenario
from simulation.variants import VARIANTS
from tests.virtual_time import run_in_virtual_time
from tests.world import World, open_world


def shortened(scenario: Scenario) -> Scenario:
    """Both tool calls in one turn, so that they can share a request, and the caller's first words and last."""
    greeting, *turns = scenario.agent
    calls = tuple(call for turn in turns for call in turn.calls)
    caller = (scenario.caller[0], *scenario.caller[-2:])
    return attrs.evolve(scenario, caller=caller, agent=(greeting, AgentTurn(turns[-1].say, calls)))


def failures(knobs: dict[str, Any], **environ: str) -> list[str]:
    async def run(world: World) -> list[str]:
        scenario = shortened(world.scenario)
        world.cloud.agent, world.cloud.caller_lines = scenario.agent, scenario.caller_lines
        world.cloud.behaviour = attrs.evolve(world.cloud.behaviour, **knobs)
        checks = await world.judge(await world.call(scenario=scenario))
        assert world.cloud.calls[-1].exchanges
        return [f"{check.name}: {check.detail}" for check in checks if not check.passed]

    async def main() -> None:
        with VirtualNetwork().installed():
            async with open_world(**environ) as world:
                found.extend(await run(world))

    found: list[str] = []
    run_in_virtual_time(main)
    return found


@pytest.mark.parametrize("variant", VARIANTS)
def test_product_passes_every_check_of_a_scenario_under_each_variant(variant: str) -> None:
    assert failures(dict(VARIANTS[variant])) == []


def test_product_passes_when_a_pause_follows_the_filler_and_the_tail_is_paced() -> None:
    """V-309."""
    assert failures({**VARIANTS["filler"], "after_tools_ms": 700}, TAIL_MODE="paced") == []


def test_every_variant_changes_something() -> None:
    usual = Behaviour()
    assert [name for name, knobs in VARIANTS.items() if attrs.evolve(usual, **knobs) == usual] == []
