"""Whole calls in which Vapi speaks a filler beside each tool, and thinks before it speaks of the answer."""

import attrs
import pytest

from simulation.network import VirtualNetwork
from tests.virtual_time import run_in_virtual_time
from tests.world import open_world

TURN_GAP_MS = 150  # the tail in one burst, 60 ms behind the speech


@pytest.mark.parametrize("think_ms", [700.0, 1600.0])
def test_caller_speaks_behind_each_answer_and_at_once_when_a_pause_follows_the_filler(think_ms: float) -> None:
    async def main() -> None:
        with VirtualNetwork().installed():
            async with open_world(TAIL_MODE="burst") as world:
                knobs = {"filler": "One moment.", "after_tools_ms": think_ms}
                world.cloud.behaviour = attrs.evolve(world.cloud.behaviour, **knobs)
                report = await world.call()
                assert [check.name for check in await world.judge(report) if not check.passed] == []
                gaps.extend(turn.turn_gap_ms or 0.0 for turn in report.turns)

    gaps: list[float] = []
    run_in_virtual_time(main)
    assert len(gaps) == 3
    assert 0 < min(gaps) <= max(gaps) < TURN_GAP_MS
