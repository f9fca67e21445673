"""A tool call runs once: the ledger, on both sides of the door."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio

from db.door import Answer, BadLedgerKey, Database, LedgerConflict, Refusal, Work

IDLE_SECONDS = 0.3  # long enough for a rival to have reached the claim it must wait at


def freezing(runs: list[str], card_id: int = 5) -> Callable[[Work], Awaitable[Any]]:
    async def effect(work: Work) -> Any:
        runs.append("ran")
        await work.lock_card(card_id)
        return await work.set_card_status(card_id, "frozen")

    return effect


async def frozen(database: Database, card_id: int = 5) -> bool:
    return bool(await database.rows("cards", {"card_id": card_id, "status": "frozen"}))


async def test_effect_runs_once_when_called_twice(database: Database) -> None:
    runs: list[str] = []
    first = await database.run_once("call", "tool", "f", freezing(runs))
    second = await database.run_once("call", "tool", "f", freezing(runs))
    assert runs == ["ran"]
    assert (first.stored, second.stored) == (False, True)
    assert first.result == second.result
    assert first.result is not None
    assert first.result["expires"] == "2029-09-30"  # a JSON value, from the first answer on


async def test_effect_runs_for_each_when_ids_differ(database: Database) -> None:
    runs: list[str] = []
    for call_id, tool_call_id in (("call", "tool"), ("call", "other"), ("other", "tool")):
        assert not (await database.run_once(call_id, tool_call_id, "f", freezing(runs))).stored
    assert len(runs) == 3


async def test_duplicates_get_one_answer_when_they_overlap(database: Database) -> None:
    runs: list[str] = []
    answers: list[Answer] = []

    async def slow(work: Work) -> Any:
        runs.append("ran")
        await work.lock_card(5)
        await trio.sleep(IDLE_SECONDS)
        return len(runs)

    async def ask() -> None:
        answers.append(await database.run_once("call", "tool", "f", slow))

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(ask)
    assert runs == ["ran"]
    assert [answer.result for answer in answers] == [1] * 5
    assert sorted(answer.stored for answer in answers) == [False, True, True, True, True]


async def test_duplicate_runs_itself_when_the_first_rolls_back(database: Database) -> None:
    runs: list[str] = []
    started = trio.Event()

    async def hang(work: Work) -> Any:
        await work.set_card_status(5, "cancelled")
        started.set()
        await trio.sleep_forever()

    with trio.CancelScope() as first:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(database.run_once, "call", "tool", "f", hang)
            await started.wait()
            with trio.CancelScope(shield=True) as rival_scope:
                rival_scope.deadline = trio.current_time() + 5
                async with trio.open_nursery() as rivals:
                    rivals.start_soon(database.run_once, "call", "tool", "f", freezing(runs))
                    await trio.sleep(IDLE_SECONDS)
                    assert runs == []  # it waits for the first one's end
                    first.cancel()
    assert runs == ["ran"]
    assert await frozen(database)


async def test_refusal_keeps_its_row_and_no_effect_when_raised(database: Database) -> None:
    async def refuse(work: Work) -> Any:
        await work.set_card_status(5, "cancelled")
        raise Refusal("Not today.")

    assert await database.run_once("call", "tool", "f", refuse) == Answer(None, "Not today.")
    assert await database.run_once("call", "tool", "f", refuse) == Answer(None, "Not today.", stored=True)
    assert await database.answers("call", ["tool"]) == {"tool": Answer(None, "Not today.", stored=True)}
    assert await database.rows("cards", {"card_id": 5, "status": "active"})


async def test_effect_is_undone_when_it_raises(database: Database) -> None:
    async def fail(work: Work) -> Any:
        await work.set_card_status(5, "cancelled")
        raise KeyError("a bug")

    with pytest.raises(KeyError):
        await database.run_once("call", "tool", "f", fail)
    assert await database.answers("call", ["tool"]) == {}
    assert await database.rows("cards", {"card_id": 5, "status": "active"})
    runs: list[str] = []
    await database.run_once("call", "tool", "f", freezing(runs))
    assert runs == ["ran"]


async def test_effect_is_undone_when_its_result_is_not_json(database: Database) -> None:
    async def answer_nonsense(work: Work) -> Any:
        await work.set_card_status(5, "cancelled")
        return object()

    with pytest.raises(TypeError):
        await database.run_once("call", "tool", "f", answer_nonsense)
    assert await database.rows("cards", {"card_id": 5, "status": "active"})
    assert await database.answers("call", ["tool"]) == {}


async def test_effect_is_undone_when_cancelled_midway(database: Database) -> None:
    async def hang(work: Work) -> Any:
        await work.set_card_status(5, "cancelled")
        await trio.sleep_forever()

    with trio.move_on_after(0.1) as scope:
        await database.run_once("call", "tool", "f", hang)
    assert scope.cancelled_caught
    assert await database.answers("call", ["tool"]) == {}
    assert await database.rows("cards", {"card_id": 5, "status": "active"})
    assert (await database.run_once("call", "tool", "f", freezing([]))).stored is False


async def test_answer_is_the_same_when_stored(database: Database) -> None:
    results: list[Any] = [None, True, 0, "", "a\nb\u0000c", [1, "zwei", {"drei": 3.5}], {"z": 1, "a": 2}]
    for number, result in enumerate(results):

        async def effect(work: Work, result: Any = result) -> Any:
            return result

        first = await database.run_once("call", f"tool-{number}", "f", effect)
        second = await database.run_once("call", f"tool-{number}", "f", effect)
        assert repr(first.result) == repr(second.result) == repr(result)  # the order of keys included
        assert first.error is None


async def test_conflict_is_raised_when_the_arguments_differ(database: Database) -> None:
    runs: list[str] = []
    await database.run_once("call", "tool", "f", freezing(runs))
    with pytest.raises(LedgerConflict, match="'tool' of call 'call'"):
        await database.run_once("call", "tool", "g", freezing(runs, 6))
    assert runs == ["ran"]
    assert not await frozen(database, 6)


async def test_answers_hold_what_was_answered_when_asked_for_many(database: Database) -> None:
    await database.run_once("call", "a", "f", freezing([]))
    await database.run_once("other", "b", "f", freezing([]))
    found = await database.answers("call", ["a", "b", "c"])
    assert list(found) == ["a"]
    assert found["a"].stored
    assert await database.answers("call", []) == {}


async def test_id_is_refused_when_the_ledger_cannot_keep_it(database: Database) -> None:
    runs: list[str] = []
    for bad in ("", "x" * 201, "nul\x00", "surrogate\ud800", "line\n"):
        for key in ((bad, "tool"), ("call", bad)):
            with pytest.raises(BadLedgerKey):
                await database.run_once(*key, "f", freezing(runs))
        with pytest.raises(BadLedgerKey):
            await database.answers("call", [bad])
    assert runs == []
    longest = "x" * 200
    assert not (await database.run_once(longest, longest, "f", freezing(runs))).stored


async def test_purge_forgets_nothing_when_answers_are_fresh(database: Database) -> None:
    await database.run_once("call", "tool", "f", freezing([]))
    assert await database.purge_answers() == 0
    assert await database.answers("call", ["tool"])


async def test_webhook_key_is_the_same_when_many_ask(database: Database) -> None:
    keys: list[bytes] = []

    async def ask() -> None:
        keys.append(await database.webhook_key())

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(ask)
    assert len(keys[0]) == 32
    assert keys == [keys[0]] * 5


async def test_rows_match_json_values_when_filtered(database: Database) -> None:
    assert [row["card_id"] for row in await database.rows("cards", {"user_id": 3})] == [5, 6]
    assert await database.rows("cards", {"user_id": "3"}) == []
    assert await database.rows("cards", {"user_id": True}) == []
    assert await database.rows("cards", {"last4": "x' OR '1'='1"}) == []
    assert len(await database.rows("cards", {"expires": "2029-09-30"})) == 1
    assert (await database.rows("replacements", {"status": "mailed"}))[0]["requested_at"] == "2026-01-05T14:10:00Z"
    assert len(await database.rows("users", {})) >= 20


async def test_rows_are_refused_when_a_name_is_not_on_the_list(database: Database) -> None:
    for table in ("tool_answers", "process_keys", "cards; DROP TABLE cards", "pg_user"):
        with pytest.raises(ValueError, match="no table"):
            await database.rows(table, {})
    with pytest.raises(ValueError, match="has no column"):
        await database.rows("cards", {"1=1; --": 1})


async def test_ping_returns_when_the_database_answers(database: Database) -> None:
    await database.ping()
