"""What a run with the real Vapi may cost: a call is begun only when the dearest it can become still fits."""

import attrs
import pytest

from sandbox.live import DOLLARS_PER_MINUTE, MAX_CALL_SECONDS, Budget, LiveCall, created_call, ended_check
from sandbox.verdict import Conversation

HELD = Conversation("one", "one.yaml", "", 1, 0, seconds=120.0)


@pytest.mark.parametrize(
    ("budget", "words"),
    [
        (Budget(1, 60, 60, calls=1), "--max-calls"),
        (Budget(9, 5, 60, minutes=2.5), "--max-minutes"),
        (Budget(9, 60, 1, dollars=0.5), "--max-cost"),
    ],
)
def test_budget_refuses_when_the_next_call_might_not_fit(budget: Budget, words: str) -> None:
    assert words in budget.refuses()


def test_budget_lets_a_call_begin_when_its_longest_fits() -> None:
    minutes = MAX_CALL_SECONDS / 60
    assert Budget(1, minutes, minutes * DOLLARS_PER_MINUTE).refuses() == ""


def test_budget_counts_what_vapi_says_and_else_its_estimate() -> None:
    budget = Budget(9, 60, 60)
    budget.spend(attrs.evolve(HELD, cost_dollars=0.07))
    assert (budget.calls, budget.minutes, budget.dollars) == (1, 2.0, 0.07)
    budget.spend(HELD)
    assert budget.dollars == pytest.approx(0.07 + 2 * DOLLARS_PER_MINUTE)


def test_budget_counts_its_estimate_when_vapi_says_nothing_yet_and_the_longest_call_of_a_breakdown() -> None:
    budget = Budget(9, 60, 60)
    budget.spend(attrs.evolve(HELD, cost_dollars=0.0))
    assert budget.dollars == pytest.approx(2 * DOLLARS_PER_MINUTE)
    budget.spend(attrs.evolve(HELD, seconds=0.0, problem="the database went away"))
    assert budget.minutes == pytest.approx(2 + MAX_CALL_SECONDS / 60)


def test_budget_asks_with_the_most_that_can_come_of_it() -> None:
    asked = Budget(3, 60, 60).question(10)
    assert asked.startswith("3 call(s) at Vapi that cost money, 9 minutes at most, about $2.25")


def test_live_call_is_known_from_the_log_of_our_agent() -> None:
    assert created_call('{"event": "call-created", "data": {"id": "abc"}}') == "abc"
    assert created_call('{"event": "call-over", "data": {"id": "abc"}}') is None
    assert created_call('not JSON "call-created"') is None


def test_live_check_fails_when_the_call_runs_on_or_was_never_told_of() -> None:
    assert ended_check(LiveCall("ended", "hangup")).passed
    assert ended_check(LiveCall("in-progress")).failed
    assert ended_check(None).failed


def test_budget_refuses_while_a_call_may_still_be_running() -> None:
    budget = Budget(9, 60, 60)
    budget.spend(attrs.evolve(HELD, checks=(ended_check(LiveCall("in-progress")),)))
    assert "the call of one may still be running at Vapi" in budget.refuses()


def test_budget_refuses_when_its_ceiling_is_not_a_number() -> None:
    assert Budget(9, 60, float("nan")).refuses()
