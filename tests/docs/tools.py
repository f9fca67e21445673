"""What the model hears in place of a tool's result."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import attrs
import trio
import trio.testing

from actors.call import _refuse_tools
from actors.engine_reporter import EngineReporter
from actors.tool_dispatcher import ToolDispatcher
from db.memory import open_memory_database
from runtime import limits
from runtime.tool_answers import CALL_IS_OVER, WRONG_CALL
from runtime.tool_posts import PendingPost, parse_post
from tests.actors.dispatching import call, hanging
from tests.bank import bank_tools
from tests.docs.symptom import Symptom, in_virtual_time, seen
from tests.fakes import FakeHttp, FaultyDatabase, arriving_now, captured_log, new_record
from tests.runtime.test_webhook_app import open_door, tool_calls
from tools.execution import ToolRunner
from tools.policy import tools_under
from tools.registry import Registry, Tool

WRONG: Final = {"last4": "4242", "full_name": "Dana Whitfield", "phone": "+15035550122"}
# Tool, arguments, and what varies: asked of the bank without a policy, in this order.
REFUSALS: Final[tuple[tuple[str, dict[str, Any], dict[str, object]], ...]] = (
    ("display_user_info", {"user_id": 999}, {"id": 999}),
    ("display_card_info_by_last4", {"last4": "0000"}, {"last4": "0000"}),
    ("change_card_status", {"card_id": 999, "new_status": "frozen"}, {"id": 999}),
    ("change_card_status", {"card_id": 8, "new_status": "active"}, {"last4": "3364"}),
    ("request_card_replacement", {"card_id": 8}, {"last4": "3364"}),
    ("request_card_replacement", {"card_id": 9}, {"last4": "2750"}),
    ("update_card_replacement_status", {"card_id": 5, "new_status": "mailed"}, {"last4": "4242"}),
    ("update_card_replacement_status", {"card_id": 8, "new_status": "delivered"}, {}),  # is done
    ("update_card_replacement_status", {"card_id": 8, "new_status": "requested"}, {}),
    ("pay_bill", {}, {}),
    ("display_user_info", {"colour": "red"}, {"tool": "display_user_info", "arguments": "user_id"}),
    ("display_user_info", {}, {"tool": "display_user_info"}),
    ("display_user_info", {"user_id": "x"}, {"tool": "display_user_info"}),
)


BODY: Final = b'{"message":{"type":"tool-calls","toolCallList":[{"id":"t","name":"x","arguments":%s}]}}'


@attrs.define
class Asked:
    """A bank that is asked for tools in one call of the telephone. Mutable: `number`, how often."""

    database: Any
    registry: Registry
    number: int = 0
    log: Any = attrs.field(factory=lambda: captured_log()[0])

    async def error(self, name: str, arguments: dict[str, Any], id_: str = "") -> str:
        self.number += 1
        runner = ToolRunner(self.database, self.registry, "call", Counter(), self.log)
        deadline = trio.current_time() + limits.POST_SECONDS
        answer = await runner.answer(id_ or f"t-{self.number}", name, arguments, deadline)
        return answer.error or str((answer.result or {}).get("message", ""))


def tool_errors(_folder: Path) -> Iterator[Symptom]:
    yield from in_virtual_time(_of_the_bank)
    yield from in_virtual_time(_of_the_runner)
    yield from in_virtual_time(_of_the_call)


async def _of_the_bank(found: list[Symptom]) -> None:
    async with open_memory_database() as bank:
        asked = Asked(bank, bank_tools())
        for name, arguments, varies in REFUSALS:
            if line := await asked.error(name, arguments):
                found.append(_named(line, varies))
    async with open_memory_database() as bank:
        asked = Asked(bank, tools_under("verified"))
        found.append(seen(await asked.error("verify_caller", {"last4": "4242", "full_name": "x"})))
        found.append(seen(await asked.error("display_user_info", {"user_id": 3})))
        found += [seen(await asked.error("verify_caller", WRONG)) for _ in range(limits.VERIFY_TRIES + 1)]


def _named(line: str, varies: dict[str, object]) -> Symptom:
    """With what is behind these words named, too: a list of tools, a status, what is expected."""
    for before, name, after in (
        ("the tools are ", "tools", "."), ("it takes ", "arguments", "."), ("user_id: ", "what is expected", "."),
        ("must be ", "what is expected", "."), ("that delivery is ", "status", "."), ("by card ", "id", ";"),
        ("The replacement is ", "status", " already"), ("go back to ", "status before", "."),
        ("the argument ", "argument", ":"), ("The argument ", "argument", " of"),
    ):  # fmt: skip
        if before in line and after in (rest := line.partition(before)[2]):
            varies = {**varies, name.replace(" ", "_"): rest.partition(after)[0]}
    return seen(line, **varies)


async def _of_the_runner(found: list[Symptom]) -> None:
    async def breaks(_work: Any, _arguments: Any) -> Any:
        raise ZeroDivisionError

    @attrs.frozen
    class Nothing:
        pass

    async with open_memory_database() as bank:
        faulty = FaultyDatabase(bank)
        asked = Asked(faulty, Registry((*bank_tools(), Tool("breaks", "Break.", Nothing, breaks))))
        found.append(seen(await asked.error("breaks", {})))
        found.append(seen(await asked.error("display_user_info", {"user_id": 3}, "x" * 201)))
        await asked.error("change_card_status", {"card_id": 5, "new_status": "frozen"}, "t")
        found.append(seen(await asked.error("change_card_status", {"card_id": 5, "new_status": "active"}, "t")))
        faulty.before = hanging()
        found.append(seen(await asked.error("display_user_info", {"user_id": 3})))
        faulty.down = True
        found.append(seen(await asked.error("display_user_info", {"user_id": 3})))


async def _of_the_call(found: list[Symptom]) -> None:
    for arguments in (b'"no JSON"', b"7"):
        (unread,) = parse_post(BODY % arguments).calls
        assert unread.problem is not None
        found.append(seen(unread.problem))
    sender, receiver = trio.open_memory_channel[PendingPost](1)
    over = arriving_now((call("t"),))
    await sender.send(over)
    _refuse_tools(sender, receiver)
    (answer,) = await over.wait()
    assert answer.error == CALL_IS_OVER
    found.append(seen(answer.error))
    (late,) = await arriving_now((call("t"),)).wait()
    found.append(seen(str(late.error)))
    async with open_door() as door:
        _, reply = await door.ask(tool_calls(call_id="another"))
        assert reply["results"][0]["error"] == WRONG_CALL
        found.append(seen(WRONG_CALL))
    found.append(seen(await _interrupted()))


async def _interrupted() -> str:
    sender, receiver = trio.open_memory_channel[PendingPost](1)
    post = arriving_now((call("t", card_id=5, new_status="frozen"),))
    await sender.send(post)
    async with open_memory_database() as bank, trio.open_nursery() as nursery:
        database: Any = FaultyDatabase(bank, before=hanging())
        log, _ = captured_log()
        reporter = EngineReporter(FakeHttp(), "http://engine", None)  # type: ignore[arg-type]
        dispatcher = ToolDispatcher(receiver, database, bank_tools(), reporter, new_record(), log)
        await nursery.start(dispatcher.run)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    (answer,) = await post.wait()
    return str(answer.error)
