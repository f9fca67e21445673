"""What one end sent and the other received, joined."""

from typing import Any

import pytest

from stress.accounts import Accounts, Direction
from stress.histogram import Histogram


def end(tag: int, hears: int | None, *, sent: int = 100, blocked: int = 0, **heard: int) -> dict[str, Any]:
    counts = {"first": 0, "arrived": 100, "reordered": 0, "repeated": 0, "damaged": 0, "foreign": 0, "silent_bytes": 0}
    return {"tag": tag, "sent": sent, "blocked": blocked, "heard": {"tag": hears, **counts, **heard}}


def test_nothing_is_harmed_when_all_that_was_sent_has_come() -> None:
    accounts = Accounts.of([end(0, 1), end(2, 3)], [end(3, 2), end(1, 0, first=20, arrived=80)])
    assert [call.number for call in accounts.calls] == [0, 1]
    assert (accounts.up.sent, accounts.up.harmed, accounts.down.sent, accounts.down.harmed) == (180, 0, 200, 0)
    assert accounts.crossed == 0
    assert accounts.worst == []


def test_loss_is_told_by_its_call_and_direction() -> None:
    callers = [end(0, 1), end(2, 3, arrived=98, reordered=1)]
    accounts = Accounts.of(callers, [end(1, 0), end(3, 2)])
    assert accounts.up.harmed == 0
    assert accounts.down.harms == "1 lost, 1 reordered"
    assert [call.number for call in accounts.worst] == [1]


def test_frames_that_their_sender_left_out_are_harm() -> None:
    assert Direction.of(end(0, 1, blocked=3), end(1, 0)).harms == "3 blocked"


def test_crossed_calls_are_told() -> None:
    assert Accounts.of([end(0, 3), end(2, 1)], [end(1, 0), end(3, 2)]).crossed == 2


def test_call_is_left_out_when_no_frame_came_through() -> None:
    callers = [end(0, 1), end(2, None, arrived=0), end(4, 5)]
    assert [call.number for call in Accounts.of(callers, [end(1, 0), end(5, None, arrived=0)]).calls] == [0]


def test_percentiles_survive_the_way_between_processes() -> None:
    histogram = Histogram()
    for milliseconds in range(1, 101):
        histogram.add(milliseconds * 1_000_000)
    told = Histogram.of_json(histogram.take().as_json())
    assert histogram.percentile_ms(0.99) is None
    told.merge(Histogram.of_json(told.as_json()))
    found = told.percentiles()
    assert (found.count, found.max_ms) == (200, 100.0)
    assert [found.p50_ms, found.p95_ms, found.p99_ms] == [pytest.approx(ms, abs=0.051) for ms in (50, 95, 99)]
