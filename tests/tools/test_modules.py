"""Tools of one's own: a module in tools/ is all that it takes, and TOOLS chooses among them."""

from pathlib import Path
from typing import Any

import attrs
import pytest

import tools
from db.door import Answer
from db.memory import open_memory_database
from runtime import limits
from runtime.settings import read_settings
from tests.own_modules import lying_in
from tools.execution import execute
from tools.policy import LOCKED, NOT_VERIFIED, tools_under
from tools.registry import BadTools, Tool, agent_tools, tool_modules

HOURS = """
import attrs
from db.door import Card, User
from tools.registry import Tool

@attrs.frozen
class Hours:
    pass

async def hours(work, arguments):
    users = [user.user_id for user in await work.find(User)]
    return {"open": "8 to 5", "users": users, "cards": len(await work.find(Card))}

TOOLS = (
    Tool("planted_opening", "When the practice is open.", Hours, hours, for_anybody=True),
    Tool("planted_own", "When the caller is expected.", Hours, hours),
)
"""


def test_agent_has_the_tools_of_all_modules_when_none_is_named(tmp_path: Path) -> None:
    with lying_in(tools, tmp_path, planted_hours=HOURS, planted_table="TABLE = 1"):
        assert tool_modules() == ("planted_hours",)
        assert [tool.name for tool in agent_tools()] == ["planted_opening", "planted_own"]
    assert "card_tools" in tool_modules()
    assert "planted_opening" not in [tool.name for tool in agent_tools()]


def test_agent_has_the_tools_of_the_modules_that_are_named(tmp_path: Path) -> None:
    more = HOURS.replace("hours", "days")
    with lying_in(tools, tmp_path, planted_hours=HOURS, planted_days=more):
        settings = read_settings({"TOOLS": "planted_hours", "POD_ID": "pod"})
        names = [tool.name for tool in tools_under("open", settings.tools)]
        assert names == ["planted_opening", "planted_own"]
        assert [tool.name for tool in tools_under("verified", settings.tools)] == ["verify_caller", *names]


async def test_tool_for_anybody_sees_no_customer_before_one_is_verified_and_nobody_else_then(tmp_path: Path) -> None:
    with lying_in(tools, tmp_path, planted_hours=HOURS):
        registry = tools_under("verified")

    async def asked(name: str, number: int, arguments: dict[str, Any] | None = None, call: str = "call") -> Answer:
        return await execute(database, registry.get(name), call, f"{name}-{number}", arguments or {})

    details = {"last4": "4242", "full_name": "Dana Whitfield", "phone": "+15035550121"}
    async with open_memory_database() as database:
        assert await asked("planted_opening", 1) == Answer({"open": "8 to 5", "users": [], "cards": 0})
        assert (await asked("planted_own", 1)).error == NOT_VERIFIED
        assert (await asked("verify_caller", 1, details)).result["verified"]  # type: ignore[index]
        for name in ("planted_opening", "planted_own"):
            assert await asked(name, 2) == Answer({"open": "8 to 5", "users": [3], "cards": 2})
        for number in range(limits.VERIFY_TRIES):
            await asked("verify_caller", number, details | {"phone": "+15035550199"}, call="guesses")
        for name in ("planted_opening", "planted_own"):
            assert (await asked(name, 1, call="guesses")).error == LOCKED


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("TOOLS = (1,)", r"tools/own.py: TOOLS must be Tool\(...\) objects"),
        (
            "from tools.card_tools import TOOLS as bank\nTOOLS = bank[:1] * 2",
            "display_user_info is the name of another tool as well",
        ),
    ],
)
def test_module_is_refused_in_one_line_when(source: str, line: str, tmp_path: Path) -> None:
    with lying_in(tools, tmp_path, own=source), pytest.raises(BadTools, match=line):
        agent_tools()


def test_module_is_refused_when_it_is_not_there() -> None:
    with pytest.raises(BadTools, match=r"TOOLS='nothing': there is no tools/nothing\.py with TOOLS in it"):
        tools_under("open", ("nothing",))


@attrs.frozen
class Wish:
    when: complex


async def grant(work: Any, arguments: Any) -> None:
    pass


@pytest.mark.parametrize(
    ("parts", "line"),
    [
        (("grant a wish", "Grant it.", Wish, grant), "tool 'grant a wish': a name is 1 to 64 letters"),
        (("grant", "Grant it.", dict, grant), "tool grant: its arguments must be an attrs class"),
        (("grant", "Grant it.", Wish, grant), "tool grant: a model cannot be asked for when; it may be text"),
    ],
)
def test_tool_is_refused_when_no_model_could_be_told_of_it(parts: Any, line: str) -> None:
    with pytest.raises(BadTools, match=line):
        Tool(*parts)
