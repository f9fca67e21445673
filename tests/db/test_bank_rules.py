"""The bank's rules, told through the tools, on both sides of the door."""

from typing import Any

import pytest

from db.door import Answer, Database, RuleViolated, Work
from tests.bank import bank_tools
from tools.execution import execute


class Agent:
    """Calls tools as a model does; each call has an id of its own."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.calls = 0

    async def call(self, name: str, **arguments: Any) -> Answer:
        self.calls += 1
        return await execute(self.database, bank_tools().get(name), "call", f"tool-{self.calls}", arguments)


@pytest.fixture
def agent(database: Database) -> Agent:
    return Agent(database)


async def test_agent_sees_a_customer_and_the_cards_when_asked_by_id(agent: Agent) -> None:
    answer = await agent.call("display_user_info", user_id=3)
    assert answer.result == {
        "user_id": 3,
        "full_name": "Dana Whitfield",
        "phone": "+15035550121",
        "email": "dana.whitfield@example.com",
        "address": "77 Alder Court, Denver, CO 80203",
        "cards": [
            {"card_id": 5, "last4": "4242", "kind": "debit", "status": "active", "expires": "09/2029"},
            {"card_id": 6, "last4": "6110", "kind": "credit", "status": "active", "expires": "04/2030"},
        ],
    }


async def test_agent_is_refused_when_the_customer_or_card_does_not_exist(agent: Agent) -> None:
    assert (await agent.call("display_user_info", user_id=999)).error == "There is no customer 999."
    assert (await agent.call("display_card_info_by_last4", last4="0000")).error == "There is no card ending in 0000."
    for tool, more in (
        ("change_card_status", {"new_status": "frozen"}),
        ("request_card_replacement", {}),
        ("update_card_replacement_status", {"new_status": "mailed"}),
    ):
        assert (await agent.call(tool, card_id=999, **more)).error == "There is no card 999."


async def test_agent_sees_every_holder_when_two_cards_end_alike(agent: Agent) -> None:
    answer = await agent.call("display_card_info_by_last4", last4="5519")
    assert answer.result is not None
    assert [(c["card_id"], c["full_name"]) for c in answer.result["cards"]] == [
        (3, "Marcus Lindqvist"),
        (20, "Noor Siddiqui"),
    ]


async def test_agent_sees_the_delivery_when_a_card_is_being_replaced(agent: Agent) -> None:
    for last4, status in (("3364", "requested"), ("2750", "requested"), ("4477", "mailed"), ("6021", "delivered")):
        answer = await agent.call("display_card_info_by_last4", last4=last4)
        assert answer.result is not None
        assert answer.result["cards"][0]["replacement"]["status"] == status


async def test_card_changes_and_changes_back_when_frozen(agent: Agent) -> None:
    frozen = await agent.call("change_card_status", card_id=5, new_status="frozen")
    assert frozen.result is not None
    assert frozen.result["status"] == "frozen"
    await agent.call("change_card_status", card_id=5, new_status="frozen")
    assert await agent.database.rows("cards", {"card_id": 5, "status": "frozen"})
    await agent.call("change_card_status", card_id=5, new_status="active")
    assert await agent.database.rows("cards", {"card_id": 5, "status": "active"})


async def test_card_stays_cancelled_when_asked_to_come_back(agent: Agent) -> None:
    assert (await agent.call("change_card_status", card_id=5, new_status="cancelled")).error is None
    assert (await agent.call("change_card_status", card_id=5, new_status="cancelled")).error is None
    for status in ("active", "frozen"):
        answer = await agent.call("change_card_status", card_id=5, new_status=status)
        assert answer.error == "The card ending in 4242 is cancelled for good; it can only be replaced."
    assert await agent.database.rows("cards", {"card_id": 5, "status": "cancelled"})


@pytest.mark.parametrize("before", ["active", "frozen", "cancelled"])
async def test_replacement_cancels_issues_and_tracks_when_requested(agent: Agent, before: str) -> None:
    await agent.call("change_card_status", card_id=5, new_status=before)
    answer = await agent.call("request_card_replacement", card_id=5)
    assert answer.result is not None
    assert answer.result["replacement"].items() >= {"old_card_id": 5, "new_card_id": 38, "status": "requested"}.items()
    assert await agent.database.rows("cards", {"user_id": 3}) == [
        {"card_id": 5, "user_id": 3, "last4": "4242", "kind": "debit", "status": "cancelled", "expires": "2029-09-30"},
        {"card_id": 6, "user_id": 3, "last4": "6110", "kind": "credit", "status": "active", "expires": "2030-04-30"},
        {"card_id": 38, "user_id": 3, "last4": "2156", "kind": "debit", "status": "active", "expires": "2033-09-30"},
    ]
    (row,) = await agent.database.rows("replacements", {"old_card_id": 5})
    assert (row["replacement_id"], row["user_id"], row["new_card_id"], row["status"]) == (4, 3, 38, "requested")


async def test_replacement_is_refused_when_the_card_has_one_already(agent: Agent) -> None:
    cards = await agent.database.rows("cards", {})
    answer = await agent.call("request_card_replacement", card_id=8)
    assert answer.error == "The card ending in 3364 was already replaced by card 9; that delivery is requested."
    delivered = await agent.call("request_card_replacement", card_id=13)
    assert delivered.error == "The card ending in 6021 was already replaced by card 14; that delivery is delivered."
    assert await agent.database.rows("cards", {}) == cards


async def test_replacement_is_refused_when_the_card_has_not_arrived_itself(agent: Agent) -> None:
    answer = await agent.call("request_card_replacement", card_id=12)
    assert answer.error == "The card ending in 1593 is itself a replacement and still on its way."
    assert (await agent.call("request_card_replacement", card_id=14)).error is None


async def test_delivery_moves_forward_when_told_and_never_back(agent: Agent) -> None:
    for status in ("requested", "mailed", "mailed", "delivered"):
        answer = await agent.call("update_card_replacement_status", card_id=8, new_status=status)
        assert answer.result is not None
        assert answer.result["status"] == status
    for status in ("mailed", "requested"):
        answer = await agent.call("update_card_replacement_status", card_id=8, new_status=status)
        assert answer.error == f"The replacement is delivered already; it cannot go back to {status}."
    assert await agent.database.rows("replacements", {"old_card_id": 8, "status": "delivered"})


async def test_delivery_is_found_by_either_card_when_it_moves(agent: Agent) -> None:
    assert (await agent.call("update_card_replacement_status", card_id=12, new_status="delivered")).error is None
    assert await agent.database.rows("replacements", {"old_card_id": 11, "status": "delivered"})
    answer = await agent.call("update_card_replacement_status", card_id=5, new_status="mailed")
    assert answer.error == "No replacement was requested for the card ending in 4242."


async def test_open_delivery_is_meant_when_a_card_was_sent_and_is_replaced(agent: Agent) -> None:
    await agent.call("request_card_replacement", card_id=14)  # it came in place of 13, and that was delivered
    await agent.call("update_card_replacement_status", card_id=14, new_status="mailed")
    assert [row["status"] for row in await agent.database.rows("replacements", {"user_id": 8})] == [
        "delivered",
        "mailed",
    ]


async def test_database_refuses_when_a_tool_breaks_a_rule(database: Database) -> None:
    async def revive(work: Work) -> Any:
        return await work.set_card_status(8, "active")

    async def replace_twice(work: Work) -> Any:
        old = await work.lock_card(8)
        assert old is not None
        return await work.add_replacement(old, await work.issue_card(old))

    async def replace_a_live_card(work: Work) -> Any:
        old = await work.lock_card(5)
        assert old is not None
        return await work.add_replacement(old, await work.issue_card(old))

    async def give_to_another(work: Work) -> Any:
        old, other = await work.lock_card(21), await work.lock_card(5)
        assert old is not None
        assert other is not None
        return await work.add_replacement(old, other)

    async def go_back(work: Work) -> Any:
        return await work.set_delivery_status(2, "requested")

    async def issue_twice(work: Work) -> Any:
        old, taken = await work.lock_card(13), await work.lock_card(14)
        assert old is not None
        assert taken is not None
        return await work.add_replacement(old, taken)

    before = [await database.rows(table, {}) for table in ("users", "cards", "replacements")]
    for effect in (revive, replace_twice, replace_a_live_card, give_to_another, go_back, issue_twice):
        with pytest.raises(RuleViolated):
            await database.run_once("call", effect.__name__, "f", effect)
        assert await database.answers("call", [effect.__name__]) == {}
    assert [await database.rows(table, {}) for table in ("users", "cards", "replacements")] == before
