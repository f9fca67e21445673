"""A call on a real `voice serve` goes on while its doors are attacked, and both serve afterwards. How much later its
frames come is not asked here: `python -m fuzz siege` measures that."""

import attrs
import pytest

from fuzz.siege import PLAN, Length, open_siege
from fuzz.siege_table import GROWTH_MIB, as_json, table

SHORT = Length(calls=1, quiet_seconds=0.5, attack_seconds=1.0, most_connections=700, ramp_seconds=0.7)
# One of each kind; the whole siege takes two minutes of both cores.
KINDS = ("slow heads", "10,000 silent callers", "nested JSON", "requests that reset")


async def test_call_goes_on_and_both_doors_serve_when_they_are_under_attack() -> None:
    plan = [planned for planned in PLAN if planned.name in KINDS]
    async with open_siege(SHORT) as siege:
        calms, assaults = await siege.run(plan, print)
    for calm in calms:
        assert not calm.harmed
    for one in assaults:
        assert one.broken == "", f"after {one.name}: {one.broken}"
        assert not one.harmed, one.name
        assert one.dialled
        assert one.rss_after - assaults[0].rss_before < len(plan) * GROWTH_MIB
    told = table(calms, assaults)
    assert all(planned.name in told for planned in plan)
    assert len(as_json(calms, assaults)["attacks"]) == len(plan)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"p99_ms": 12.0}, "p99 12.0 ms, allowed 11.0"),
        ({"meter": {"step_cpu_ms": 10.5, "slowest": "x"}}, "a step of 10.5 ms in x"),
        ({"rss_after": 165.0}, "65 MiB left behind"),
        ({"harmed": 1}, "1 frames harmed"),
        ({"broken": "the webhook did not answer"}, "afterwards the webhook did not answer"),
    ],
)
def test_bar_is_missed_when_it_is_and_only_then(change: dict[str, object], says: str) -> None:
    from fuzz.siege_table import Assault

    held = Assault("x", 1, 11.0, 0, {"step_cpu_ms": 10.0, "slowest": "x"}, 100.0, 300.0, 164.0, "")
    assert held.missed(quiet_p99_ms=2.0) == []
    (missed,) = attrs.evolve(held, **change).missed(quiet_p99_ms=2.0)
    assert says in missed
