"""The product carries a conversation with tools under every variant of Vapi."""

from pathlib import Path

import attrs
import pytest

from simulation.behaviour import Behaviour
from simulation.network import VirtualNetwork
from simulation.variants import VARIANTS
from tests import world
from tests.virtual_time import run_in_virtual_time


@pytest.mark.parametrize("variant", VARIANTS)
def test_product_passes_every_check_of_a_scenario_under_each_variant(
    variant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        with VirtualNetwork().installed():
            async with world.open_world() as opened:
                opened.cloud.behaviour = attrs.evolve(opened.cloud.behaviour, **VARIANTS[variant])
                checks = await opened.judge(await opened.call())
        assert [f"{check.name}: {check.detail}" for check in checks if not check.passed] == []

    monkeypatch.setattr(world, "SCENARIO", Path("scenarios/verified-replacement.yaml"))
    run_in_virtual_time(main)


def test_every_variant_changes_something() -> None:
    usual = Behaviour()
    assert [name for name, knobs in VARIANTS.items() if attrs.evolve(usual, **knobs) == usual] == []
