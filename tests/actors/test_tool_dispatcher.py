"""actors/tool_dispatcher.py: order, duplicates, and what the model is told. What goes wrong: the file beside."""

import pytest
import structlog
import trio
import trio.testing

from actors.tool_dispatcher import ToolDispatcher
from db.memory import open_memory_database
from runtime.tool_posts import PendingPost, ToolCall
from tests.actors.dispatching import FREEZE, Dispatching, Reports, call, dispatching, lasting
from tests.bank import bank_tools
from tests.fakes import FakeHttp, arriving_now, captured_log, new_record
from tools.policy import tools_under


async def test_dispatcher_answers_in_order_when_a_post_holds_several_calls() -> None:
    async with dispatching() as d:
        first, second = await d.post(call("b", **FREEZE), call("a", "display_user_info", user_id=3))
    assert (first.tool_call_id, first.name, first.error) == ("b", "change_card_status", None)
    assert first.result["status"] == "frozen"
    assert (second.tool_call_id, second.result["full_name"]) == ("a", "Dana Whitfield")
    assert [name for name, _, _ in d.reports.told] == ["change_card_status", "display_user_info"]
    assert d.reports.told[0] == ("change_card_status", FREEZE, first.result), "the object, not a string"
    assert d.record.counts["tool_results"] == 2


async def test_posts_run_one_after_the_other_when_they_arrive_together(nursery: trio.Nursery) -> None:
    finished: list[tuple[str, float]] = []

    async def ask(d: Dispatching, id_: str) -> None:
        await d.post(call(id_, **FREEZE))
        finished.append((id_, trio.current_time()))

    async with dispatching() as d:
        d.database.before = lasting(2.0)
        async with trio.open_nursery() as asking:
            for id_ in ("1", "2", "3"):
                asking.start_soon(ask, d, id_)
                await trio.testing.wait_all_tasks_blocked()
    assert finished == [("1", 2.0), ("2", 4.0), ("3", 6.0)]


async def test_duplicate_is_answered_from_the_ledger_when_it_comes_in_one_post_and_in_two() -> None:
    async with dispatching() as d:
        arguments = {"card_id": 5}
        one, two = await d.post(*[call("a", "request_card_replacement", **arguments)] * 2)
        (three,) = await d.post(call("a", "request_card_replacement", **arguments))
        assert one == two == three
        assert one.error is None
        assert len(await d.database.rows("replacements", {"old_card_id": 5})) == 1
    assert len(d.reports.told) == 1, "one entry per execution"
    assert d.record.counts["tool_duplicates"] == 2


async def test_refusal_is_kept_when_its_id_comes_again() -> None:
    async with dispatching() as d:
        (first,) = await d.post(call("a", "display_user_info", user_id=999))
        (again,) = await d.post(call("a", "display_user_info", user_id=999))
    assert first == again
    assert first.error == "There is no customer 999."
    assert d.reports.told == [("display_user_info", {"user_id": 999}, {"error": "There is no customer 999."})]


async def test_second_use_of_an_id_is_an_error_and_counted_when_the_arguments_differ() -> None:
    async with dispatching() as d:
        await d.post(call("a", **FREEZE))
        (answer,) = await d.post(call("a", card_id=6, new_status="frozen"))
        assert answer.error is not None
        assert "other arguments" in answer.error
        assert await d.card_status(6) == "active"
    assert d.record.counts["tool_conflicts"] == 1


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (call("a", "delete_everything"), "There is no such tool"),
        (call("a", ""), "There is no such tool"),
        (call("a", "display_user_info"), "needs the argument user_id"),
        (call("a", "display_user_info", user_id="x"), "must be a whole number"),
        (call("a", "display_user_info", user_id=3, extra=1), "takes no such argument"),
        (call("a", problem="the arguments are not JSON"), "the arguments are not JSON"),
        (call("x" * 201, **FREEZE), "id cannot be kept"),
        (call("a\nb", **FREEZE), "id cannot be kept"),
    ],
)
async def test_model_is_told_what_is_wrong_when_it_calls_a_tool_wrongly(asked: ToolCall, says: str) -> None:
    async with dispatching() as d:
        (answer,) = await d.post(asked)
        (again,) = await d.post(asked)
    assert answer.error is not None
    assert says in answer.error
    assert again == answer
    assert d.reports.told == [(asked.name, asked.arguments, {"error": answer.error})], "told once"
    assert d.entries == []


async def test_each_answered_call_leaves_one_line_with_what_was_asked_and_no_personal_data() -> None:
    who = {"last4": "4242", "full_name": "Dana Whitfield", "phone": "+15035550121"}
    async with dispatching(tools_under("verified")) as d:
        await d.post(call("a", "verify_caller", **who), call("b", **FREEZE), call("b", **FREEZE))
        await d.post(
            call("c", "display_user_info", user_id=3, note="call me on 212 555 0121", more=[1], **{"x" * 999: 1})
        )
    assert [(line["tool"], line["tool_call_id"], line["outcome"]) for line in d.audit] == [
        ("verify_caller", "a", "result"),
        ("change_card_status", "b", "result"),
        ("change_card_status", "b", "duplicate"),
        ("display_user_info", "c", "error"),
    ]
    assert all(line["log_level"] == "info" and line["ledger"] == d.record.ledger_id for line in d.audit)
    assert d.audit[1]["arguments"] == FREEZE
    told = repr(d.audit)
    assert not any(word in told for word in ("Dana", "Whitfield", "555", "0121"))
    assert d.audit[3]["arguments"]["more"] == "[list]"
    assert len(told) < 3_000, "whatever the model sends, a line stays a line"


async def test_line_of_a_call_shows_no_name_and_no_id_that_cannot_be_one() -> None:
    async with dispatching() as d:
        await d.post(call("my phone is 215-555-0199", "call Jane Doe"))
    assert (d.audit[0]["tool"], d.audit[0]["tool_call_id"]) == ("[odd]", "[odd]")


async def test_dispatcher_ends_when_its_channel_ends() -> None:
    """With every sender closed; the original receiver stays open, for a restart."""
    sender, receiver = trio.open_memory_channel[PendingPost](1)
    log: structlog.typing.FilteringBoundLogger = captured_log()[0]
    async with open_memory_database() as database:
        reports = Reports(FakeHttp(), "http://engine", None)  # type: ignore[arg-type]
        dispatcher = ToolDispatcher(receiver, database, bank_tools(), reports, new_record(), log)
        pending = arriving_now((call("a", **FREEZE),))
        await sender.send(pending)
        sender.close()
        await dispatcher.run(trio.TASK_STATUS_IGNORED)
        assert (await pending.wait())[0].error is None


async def test_calls_are_traced_with_arguments_and_answers() -> None:
    async with dispatching() as d:
        d.database.before = lasting(0.25)
        await d.post(call("a", **FREEZE))
    asked, answered = [event for event in d.trace if event.who == "tool"]
    assert (asked.event, asked.data) == ("tool-call", {"id": "a", "name": "change_card_status", "arguments": FREEZE})
    assert (answered.event, answered.data["seconds"], answered.data["duplicate"]) == ("tool-answer", 0.25, False)
    assert answered.data["result"]["status"] == "frozen"
