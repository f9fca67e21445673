"""Whether a run passed, what was full first, and how the most calls are found. Pure."""

from typing import Any

import attrs
import pytest
import trio

from stress.accounts import Accounts, Direction
from stress.find import find_most
from stress.histogram import Histogram
from stress.plan import Plan
from stress.report import as_json, largest_held
from stress.sample import Latencies, Leavings, Result, ToolCounts
from stress.verdict import complaints, first_full, held
from tests.stress.results import PLAN, SECOND, accounts, latencies, result, second

LOST = Direction(sent=100, arrived=99, lost=1)


def test_sound_run_passes_and_holds() -> None:
    assert complaints(result()) == []
    assert first_full(result().samples) == "nothing"
    assert held(result())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"accounts": accounts(up=LOST)}, "uplink: 1 lost of 200 frames"),
        ({"accounts": accounts(down=attrs.evolve(LOST, lost=0, damaged=1))}, "downlink: 1 damaged"),
        ({"accounts": accounts(calls=1)}, "1 of 2 calls were not set up"),
        ({"accounts": attrs.evolve(accounts(), crossed=1)}, "another call's assistant"),
        ({"accounts": Accounts()}, "2 of 2 calls were not set up"),
        ({"ended": {"too_many_calls": 3}}, "3 calls ended by themselves: too_many_calls"),
        ({"latencies": latencies(20.1)}, "uplink: p99 of the added latency is 20.1 ms"),
        ({"latencies": latencies(1.0, down_ms=33.0)}, "downlink: p99"),
        ({"latencies": Latencies()}, "no frame came through"),
        ({"tools": ToolCounts(5, 4, complaints=("it said no",))}, "1 of 5 tool calls.*it said no"),
        ({"leavings": Leavings(calls=1)}, "left at the cloud"),
        ({"leavings": Leavings(processes=("python (7)",))}, r"processes were left: python \(7\)"),
        ({"leavings": Leavings(bridge_code=None)}, "the bridge ended with code None"),
        ({"samples": []}, "nothing was measured"),
    ],
)
def test_run_does_not_pass(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(AssertionError, match=words):
        assert not complaints(result(**changes)), "\n".join(complaints(result(**changes)))
    assert not held(result(**changes))


@pytest.mark.parametrize(
    ("changes", "full"),
    [
        ({"refused": 1, "idle": 0.0}, "slots"),
        ({"cpu": {"cloud": 0.96, "bridge": 0.99}}, "load"),
        ({"cpu": {"bridge": 0.95}, "idle": 0.1}, "bridge"),
        ({"idle": 0.149, "late_ms": {"callers": 50.0, "cloud": None}}, "machine"),
        ({"late_ms": {"callers": 5.1, "cloud": None}}, "load"),
        ({"idle": 0.15, "cpu": {"bridge": 0.94}, "late_ms": {"callers": 5.0, "cloud": None}}, "nothing"),
    ],
)
def test_what_explains_most_is_full(changes: dict[str, Any], full: str) -> None:
    assert first_full([second(**changes)] * 2) == full


def test_first_that_stays_full_is_named() -> None:
    accident, machine, bridge = second(idle=0.0), second(idle=0.1), second(idle=0.1, cpu={"bridge": 1.0})
    assert first_full([accident, SECOND, accident]) == "nothing"
    assert first_full([SECOND, machine, machine, bridge, bridge]) == "machine"
    assert first_full([SECOND, bridge, machine, bridge]) == "machine"


def test_run_passes_and_does_not_hold_when_too_little_is_idle() -> None:
    full = result(samples=[second(idle=0.1)] * 3)
    assert complaints(full) == []
    assert not held(full)
    assert held(result(samples=[second(phase="ramp", idle=0.0), *[SECOND] * 3]))  # of the steady state only


@pytest.mark.parametrize(
    ("limit", "first", "found", "tried"),
    [
        (110, 50, 100, [50, 75, 100, 150, 125]),
        (30, 50, 25, [50, 25]),
        (10, 50, None, [50, 25]),
        (10, 10, 10, [10, 25]),
        (260, 100, 250, [100, 150, 225, 350, 300, 250, 275]),
    ],
)
def test_most_calls_are_found(limit: int, first: int, found: int | None, tried: list[int]) -> None:
    async def hold(plan: Plan) -> Result:  # noqa: ASYNC124
        return result(plan=plan, accounts=accounts(LOST if plan.calls > limit else None, calls=plan.calls))

    results = trio.run(find_most, attrs.evolve(PLAN, calls=first), hold)
    assert [result.plan.calls for result in results] == tried
    assert largest_held(results) == found
    assert as_json(results, search=True)["held"] == found


def test_search_ends_when_everything_holds() -> None:
    async def hold(plan: Plan) -> Result:  # noqa: ASYNC124
        return result(plan=plan, accounts=accounts(calls=plan.calls))

    results = trio.run(find_most, attrs.evolve(PLAN, calls=1_000), hold)
    assert [result.plan.calls for result in results] == [1_000, 1_500, 2_000]


def test_nothing_measured_is_told_as_null() -> None:
    told = as_json([result(latencies=Latencies(Histogram(), Histogram()), samples=[])], search=False)
    (run,) = told["runs"]
    assert run["latency"]["up"] == {"count": 0, "p50_ms": None, "p95_ms": None, "p99_ms": None, "max_ms": None}
    assert run["idle"] is None
    assert run["memory"] is None
    assert told["verdict"]["passed"] is False
