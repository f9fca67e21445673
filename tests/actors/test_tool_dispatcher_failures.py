"""actors/tool_dispatcher.py: deadlines, and tools, databases and dispatchers that fail in the middle."""

from typing import Any

import attrs
import pytest
import trio
import trio.testing

from runtime import limits
from runtime.record import Event
from runtime.tool_posts import ToolAnswer
from tests.actors.dispatching import FREEZE, call, dispatching, hanging, lasting
from tests.bank import bank_tools
from tools.execution import NOT_REACHABLE
from tools.registry import Registry


async def test_tool_is_stopped_when_it_takes_longer_than_15_seconds() -> None:
    async with dispatching() as d:
        d.database.before = hanging()
        (answer,) = await d.post(call("a", **FREEZE))
        assert trio.current_time() == limits.TOOL_SECONDS
        assert answer.error is not None
        assert "took too long" in answer.error
        assert await d.card_status() == "active"


async def test_what_cannot_start_any_more_is_an_error_when_the_post_is_17_seconds_old() -> None:
    async with dispatching() as d:
        d.database.before = hanging("slow")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(d.post, call("slow", **FREEZE))
            await trio.sleep(0.1)
            d.database.before = lasting(15, "slower")
            answers = await d.post(call("slower", **FREEZE), call("never", card_id=6, new_status="frozen"))
        assert trio.current_time() == pytest.approx(17.1)
        assert all(answer.error for answer in answers)
        await trio.sleep(60)
        assert await d.card_status(6) == "active"


async def test_done_calls_are_answered_with_their_results_when_a_later_one_uses_up_the_post() -> None:
    async with dispatching() as d:
        d.database.undo_seconds = 0.1  # a rollback takes its time

        async def wait(tool_call_id: str) -> None:
            await trio.sleep(3 if tool_call_id == "done" else 60)

        d.database.before = wait
        done, slow = await d.post(call("done", **FREEZE), call("slow", card_id=6, new_status="frozen"))
        assert trio.current_time() <= limits.POST_SECONDS
        assert await d.card_status() == "frozen"
        assert slow.error is not None
        assert done.error is None, "the card is frozen, and the model is told that nothing is known"


async def test_tool_can_be_called_again_when_the_database_was_unavailable() -> None:
    async with dispatching() as d:
        d.database.down = True
        (failed,) = await d.post(call("a", **FREEZE))
        d.database.down = False
        (answer,) = await d.post(call("a", **FREEZE))
    assert failed.error == NOT_REACHABLE
    assert answer.error is None
    assert [result for _, _, result in d.reports.told] == [{"error": NOT_REACHABLE}, answer.result]
    assert [entry["event"] for entry in d.entries] == ["database_unavailable"]


async def test_model_hears_no_internals_when_a_tool_raises() -> None:
    async def explode(_work: Any, _arguments: Any) -> Any:
        raise RuntimeError("secret internals")

    tool = attrs.evolve(bank_tools().get("display_user_info"), run=explode)
    async with dispatching(Registry((tool,))) as d:
        (answer,) = await d.post(call("a", "display_user_info", user_id=3))
        (well,) = await d.post(call("b", "display_user_info"))
    assert answer.error == "the tool failed; nothing was changed"
    assert well.error is not None, "the dispatcher is alive"
    assert [entry["event"] for entry in d.entries] == ["tool_failed"]
    assert d.supervisor.exits[0].error is None


async def test_post_in_hand_is_answered_and_the_dispatcher_restarted_when_it_crashes() -> None:
    def sink(event: Event) -> None:
        if event.event == "tool-call" and event.data["id"] == "bad":
            raise OSError("no space left on the disk")

    async with dispatching(sink=sink) as d:
        (bad,) = await d.post(call("bad", **FREEZE))
        assert trio.current_time() == 0
        (good,) = await d.post(call("good", **FREEZE))
        assert repr(d.supervisor) == "<call: dispatcher running (restarts: 1)>"
    assert bad.error is not None
    assert good.error is None
    assert [entry["event"] for entry in d.entries] == ["actor_failed", "actor_restarted"]


@pytest.mark.parametrize("crashes_at", [("tool-call", "second"), ("tool-answer", "first")])
async def test_model_is_not_told_that_nothing_was_changed_when_something_was(crashes_at: tuple[str, str]) -> None:
    def sink(event: Event) -> None:
        if (event.event, event.data["id"]) == crashes_at:
            raise OSError("no space left on the disk")

    async with dispatching(sink=sink) as d:
        first, _ = await d.post(call("first", **FREEZE), call("second", "display_user_info", user_id=3))
        assert await d.card_status() == "frozen"
    assert "nothing was changed" not in (first.error or "")


async def test_nothing_is_half_done_and_the_post_is_answered_when_cancelled_in_the_middle_of_a_tool() -> None:
    replaced = attrs.evolve(bank_tools().get("request_card_replacement"))
    half = trio.Event()

    async def half_way(work: Any, arguments: Any) -> Any:
        old = await work.set_card_status(arguments.card_id, "cancelled")
        await work.issue_card(old)
        half.set()
        await trio.sleep_forever()

    answers: list[ToolAnswer] = []
    async with trio.open_nursery() as nursery:
        async with dispatching(Registry((attrs.evolve(replaced, run=half_way),))) as d:

            async def ask() -> None:
                answers.extend(await d.post(call("a", "request_card_replacement", card_id=5)))

            nursery.start_soon(ask)
            await half.wait()
            d.supervisor.end()
            await trio.sleep_forever()
        assert await d.card_status() == "active"
        assert len(await d.database.rows("cards", {"user_id": 3})) == 2
    assert (answers[0].error or "").startswith("the tool was interrupted")
    assert trio.current_time() == 0
