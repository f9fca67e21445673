"""Whatever promise is taken away from the product, a run misses it: an invariant that cannot fail proves nothing."""

from collections.abc import Iterator

import pytest

from tests.torture.defects import DEFECTS, Plant
from torture.run import open_rig, run_seed
from torture.world import Rig

# A seed that finds each, and the first from 0 on that does.
FOUND_BY = {
    "shield_without_deadline": 115,
    "unbounded_queue": 75,
    "lost_tail": 5,
    "billed_call": 0,
    "tool_run_twice": 11,
    "lost_frame": 0,
    "report_sent_twice": 0,
    "uncounted_drop": 6,
}
SEEDS = 200


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with open_rig() as opened:
        yield opened


@pytest.mark.parametrize("plant", DEFECTS, ids=lambda plant: plant.__name__)
def test_torture_finds_the_defect_when_it_is_planted(plant: Plant, rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    known = FOUND_BY[plant.__name__]
    assert run_seed(known, rig).breaches == ()
    plant(monkeypatch)
    found = next((seed for seed in (known, *range(SEEDS)) if run_seed(seed, rig).breaches), None)
    assert found is not None, "two hundred runs, and none has missed it"
