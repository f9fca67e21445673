"""One tool call from arguments to answer, on the bank in memory and in virtual time."""

from collections.abc import AsyncIterator
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from db.door import Answer, Database, LedgerConflict, Work
from db.memory import open_memory_database
from tests.bank import bank_tools
from tools.execution import execute, fingerprint
from tools.registry import Tool


@pytest.fixture
async def bank() -> AsyncIterator[Database]:
    async with open_memory_database(webhook_key=b"k" * 32) as database:
        yield database


@attrs.frozen
class Nothing:
    pass


async def test_card_changes_once_when_the_call_is_delivered_twice(bank: Database) -> None:
    tool = bank_tools().get("change_card_status")
    first = await execute(bank, tool, "call", "tool", {"card_id": 5, "new_status": "frozen"})
    await execute(bank, tool, "call", "between", {"card_id": 5, "new_status": "active"})
    again = await execute(bank, tool, "call", "tool", {"new_status": "frozen", "card_id": "5"})
    assert again == attrs.evolve(first, stored=True)
    assert await bank.rows("cards", {"card_id": 5, "status": "active"})


async def test_nothing_is_kept_when_the_arguments_are_wrong(bank: Database) -> None:
    tool = bank_tools().get("change_card_status")
    answer = await execute(bank, tool, "call", "tool", {"card_id": 5})
    assert answer.error == "change_card_status needs the argument new_status: one of active, frozen, cancelled."
    assert await bank.answers("call", ["tool"]) == {}


async def test_conflict_reaches_the_caller_when_an_id_is_used_for_something_else(bank: Database) -> None:
    tools = bank_tools()
    await execute(bank, tools.get("display_user_info"), "call", "tool", {"user_id": 3})
    with pytest.raises(LedgerConflict):
        await execute(bank, tools.get("display_user_info"), "call", "tool", {"user_id": 4})
    with pytest.raises(LedgerConflict):
        await execute(bank, tools.get("request_card_replacement"), "call", "tool", {"card_id": 3})


async def test_error_reaches_the_caller_when_a_tool_is_faulty(bank: Database) -> None:
    async def fail(work: Work, arguments: Nothing) -> Any:
        await work.set_card_status(5, "cancelled")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await execute(bank, Tool("fail", "Fail.", Nothing, fail), "call", "tool", {})
    assert await bank.rows("cards", {"card_id": 5, "status": "active"})


async def test_duplicates_share_one_run_when_the_tool_takes_a_minute(bank: Database, autojump_clock: MockClock) -> None:
    runs: list[float] = []
    answers: list[Answer] = []

    async def slow(work: Work, arguments: Nothing) -> Any:
        await trio.sleep(60)
        runs.append(trio.current_time())
        return {"runs": len(runs)}

    async def ask() -> None:
        answers.append(await execute(bank, Tool("slow", "Slow.", Nothing, slow), "call", "tool", {}))

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(ask)
    assert len(runs) == 1
    assert [answer.result for answer in answers] == [{"runs": 1}] * 3


async def test_answers_are_forgotten_when_a_day_has_passed(bank: Database, autojump_clock: MockClock) -> None:
    tool = bank_tools().get("display_user_info")
    await execute(bank, tool, "call", "old", {"user_id": 3})
    await trio.sleep(24 * 3600 - 60)
    await execute(bank, tool, "call", "new", {"user_id": 3})
    assert await bank.purge_answers() == 0
    await trio.sleep(61)
    assert await bank.purge_answers() == 1
    assert list(await bank.answers("call", ["old", "new"])) == ["new"]


async def test_bank_repeats_itself_when_opened_again(autojump_clock: MockClock) -> None:
    stories = []
    for _ in range(2):
        async with open_memory_database(webhook_key=b"k" * 32) as bank:
            await trio.sleep(100)
            await execute(bank, bank_tools().get("request_card_replacement"), "call", "tool", {"card_id": 5})
            stories.append([await bank.rows(table, {}) for table in ("cards", "replacements")])
    assert stories[0] == stories[1]
    assert stories[0][1][-1]["requested_at"] == "2026-02-02T09:01:40Z"


def test_fingerprint_tells_tools_and_arguments_apart_when_they_differ() -> None:
    tools = bank_tools()
    change, replace = tools.get("change_card_status"), tools.get("request_card_replacement")
    frozen = change.parse({"card_id": 5, "new_status": "frozen"})
    assert fingerprint(change, frozen) == fingerprint(change, change.parse({"new_status": "frozen", "card_id": "5"}))
    others = [
        fingerprint(change, change.parse({"card_id": 5, "new_status": "active"})),
        fingerprint(change, change.parse({"card_id": 6, "new_status": "frozen"})),
        fingerprint(replace, replace.parse({"card_id": 5})),
    ]
    assert len({fingerprint(change, frozen), *others}) == 4
