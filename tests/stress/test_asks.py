"""What assistants under stress ask, and what they must hear. Pure."""

import pytest

from simulation.scenario import AgentTurn, Scenario
from simulation.webhook_client import Verdict
from stress.asks import CARDS, WRITE_EVERY, Ask, Asks, as_json, of_json

FIND = Ask("display_card_info_by_last4", {"last4": "4242"}, '"last4":"4242"')


def heard(text: str, *, is_error: bool = False) -> Verdict:
    return Verdict("call_1", FIND.tool, accepted=True, heard=text, is_error=is_error)


def test_each_call_looks_for_its_card_and_now_and_then_changes_it() -> None:
    turns = [Asks().ask(1, turn) for turn in range(2 * WRITE_EVERY)]
    assert {ask.arguments["last4"] for ask in turns if "last4" in ask.arguments} == {CARDS[1][1]}
    written = [ask.arguments for ask in turns if ask.tool == "change_card_status"]
    assert written == [{"card_id": CARDS[1][0], "new_status": status} for status in ("frozen", "active")]


@pytest.mark.parametrize(
    ("verdict", "said"),
    [
        (heard('{"cards":[{"last4":"4242"}]}'), ""),
        (heard('{"cards":[{"last4":"1881"}]}'), "was answered"),
        (heard('"last4":"4242" is not reachable', is_error=True), "was answered"),
        (Verdict("call_1", FIND.tool, accepted=False, heard="", problem="no answer within 20 s"), "no answer within"),
    ],
)
def test_answer_is_checked(verdict: Verdict, said: str) -> None:
    assert (said in FIND.complaint(verdict)) if said else not FIND.complaint(verdict)


def test_refusal_will_do_when_a_scenario_asks() -> None:
    assert not Ask("request_card_replacement", {"card_id": 5}).complaint(heard("already replaced", is_error=True))


def test_asks_survive_the_way_to_another_process() -> None:
    assert of_json(as_json(Asks())) == Asks()


def test_scenario_without_tools_is_refused() -> None:
    with pytest.raises(ValueError, match="calls no tool"):
        Asks.of(Scenario("small talk", caller=(), agent=(AgentTurn("hello"),)))
