"""Medians, quartiles, percentiles, and when a bar is held, missed, or not decided."""

import pytest

from bench.bars import BARS, Bar, judge, judge_harmed
from bench.spread import Latency, Spread, percentile

BAR = Bar("x", "something", 0.65)


def spread(*values: float) -> Spread:
    return Spread.of(values)


def test_spread_is_median_and_quartiles_within_the_sample() -> None:
    assert spread(7, 1, 3, 5, 9, 2, 4) == Spread(7, 4, 2.5, 6)
    assert spread(1, 2) == Spread(2, 1.5, 1.25, 1.75)
    assert spread(0.5) == Spread(1, 0.5, 0.5, 0.5)
    with pytest.raises(ValueError, match="nothing was measured"):
        spread()


def test_percentile_is_a_measured_value() -> None:
    hundred = range(1, 101)
    assert [percentile(hundred, share) for share in (0.0, 0.5, 0.99, 0.991, 1.0)] == [1, 50, 99, 100, 100]
    assert percentile([7], 0.5) == percentile([7], 0.99) == 7


def test_latency_is_told_in_milliseconds() -> None:
    assert Latency.of([3_000_000, 1_000_000, 2_000_000]) == Latency(2.0, 3.0, 3.0)
    with pytest.raises(ValueError, match="no frame"):
        Latency.of([])


@pytest.mark.parametrize(
    ("values", "outcome"),
    [
        ((0.50, 0.52, 0.55, 0.56, 0.57, 0.58, 0.90), "held"),
        ((0.70, 0.71, 0.72, 0.73, 0.74, 0.75, 0.60), "missed"),
        ((0.50, 0.55, 0.60, 0.62, 0.66, 0.70, 0.75), "not decided"),
        ((0.60, 0.65, 0.66, 0.67, 0.68, 0.70, 0.75), "missed"),
        ((0.60, 0.64, 0.65, 0.66, 0.68, 0.70, 0.75), "not decided"),
        ((0.65,) * 7, "held"),
        ((0.50,) * 6, "not decided"),
    ],
)
def test_bar_is_decided_only_when_the_quartiles_lie_on_one_side_of_it(values: list[float], outcome: str) -> None:
    assert judge(BAR, spread(*values)).outcome == outcome


def test_undecided_verdict_says_why() -> None:
    assert "crosses the bar" in judge(BAR, spread(0.5, 0.5, 0.5, 0.6, 0.7, 0.8, 0.9)).why
    assert judge(BAR, spread(0.5, 0.5)).why == "2 of 7 repetitions"
    assert judge(BAR, spread(*[0.5] * 7)).why == ""


def test_one_harmed_frame_is_one_too_many() -> None:
    assert judge_harmed([0] * 7).outcome == "held"
    assert judge_harmed([0, 1]).outcome == "missed"
    assert judge_harmed([0, 0]).outcome == "not decided"


def test_bars_are_those_of_the_project() -> None:
    limits = {bar.key: (bar.limit, bar.goal) for bar in BARS}
    assert limits["tls_20"] == (0.65, 0.57)
    assert limits["tls_100"] == (0.45, 0.40)
    assert limits["floor_plain_100"] == (1.25, None)
    assert limits["p99_ms_100"] == (20.0, None)
