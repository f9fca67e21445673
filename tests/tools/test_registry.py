"""What the model is told of the tools, and how what it sends is read."""

from typing import Annotated, Any

import attrs
import pytest
from msgspec import Meta

from tests.bank import bank_tools
from tools.card_tools import ChangeCardStatus, DisplayCardInfoByLast4
from tools.registry import BadArguments, Registry, Tool, UnknownTool

AN_ID = "a whole number from 1 to 2147483647"
SUBSET = {"type", "properties", "required", "enum", "description", "pattern", "items"}


async def nothing(work: Any, arguments: Any) -> Any:
    return None


def keys(schema: Any) -> set[str]:
    """Every keyword used in a schema; the names of properties are not keywords."""
    found = set(schema)
    for inner in schema.get("properties", {}).values():
        found |= keys(inner)
    return found | (keys(schema["items"]) if "items" in schema else set())


def test_registry_holds_the_five_tools_when_opened_for_the_bank() -> None:
    assert [tool.name for tool in bank_tools()] == [
        "display_user_info",
        "display_card_info_by_last4",
        "change_card_status",
        "request_card_replacement",
        "update_card_replacement_status",
    ]
    assert len(bank_tools()) == 5
    assert all(tool.description for tool in bank_tools())


def test_schema_stays_in_the_subset_when_generated() -> None:
    for tool in bank_tools():
        schema = tool.parameters()
        assert keys(schema) <= SUBSET
        assert all(isinstance(inner["type"], str) for inner in schema["properties"].values())
        assert all(inner["description"] for inner in schema["properties"].values())
        assert schema["required"] == list(schema["properties"])


def test_schema_tells_kind_values_and_pattern_when_generated() -> None:
    status = bank_tools().get("change_card_status").parameters()["properties"]
    assert status["card_id"]["type"] == "integer"
    assert status["new_status"]["enum"] == ["active", "frozen", "cancelled"]
    last4 = bank_tools().get("display_card_info_by_last4").parameters()["properties"]["last4"]
    assert (last4["type"], last4["pattern"]) == ("string", "^[0-9]{4}$")


def test_schema_leaves_an_argument_optional_when_it_has_a_default() -> None:
    @attrs.frozen
    class Noted:
        tags: Annotated[list[str], Meta(description="Words.")]
        loud: bool = False

    tool = Tool("note", "Note.", Noted, nothing)
    assert tool.parameters() == {
        "type": "object",
        "properties": {
            "tags": {"type": "array", "items": {"type": "string"}, "description": "Words."},
            "loud": {"type": "boolean"},
        },
        "required": ["tags"],
    }
    assert tool.parse({"tags": ["a"]}) == Noted(["a"])


@pytest.mark.parametrize("card_id", [7, "7", 7.0])
def test_arguments_are_read_when_a_number_comes_in_another_dress(card_id: Any) -> None:
    tool = bank_tools().get("change_card_status")
    assert tool.parse({"new_status": "frozen", "card_id": card_id}) == ChangeCardStatus(7, "frozen")


def test_arguments_are_read_when_digits_come_as_a_number() -> None:
    assert bank_tools().get("display_card_info_by_last4").parse({"last4": 4242}) == DisplayCardInfoByLast4("4242")


@pytest.mark.parametrize(
    ("tool", "arguments", "line"),
    [
        ("display_user_info", {}, f"display_user_info needs the argument user_id: {AN_ID}."),
        ("display_user_info", {"user_id": "Dana"}, f"The argument user_id of display_user_info must be {AN_ID}."),
        ("display_user_info", {"user_id": None}, f"The argument user_id of display_user_info must be {AN_ID}."),
        ("display_user_info", {"user_id": True}, f"The argument user_id of display_user_info must be {AN_ID}."),
        ("display_user_info", {"user_id": 1.5}, f"The argument user_id of display_user_info must be {AN_ID}."),
        ("display_user_info", {"user_id": [1]}, f"The argument user_id of display_user_info must be {AN_ID}."),
        (
            "display_user_info",
            {"user_id": 3, "admin": True},
            "display_user_info takes no such argument; it takes user_id.",
        ),
        (
            "display_card_info_by_last4",
            {"last4": "42"},
            "The argument last4 of display_card_info_by_last4 must be a text that matches ^[0-9]{4}$.",
        ),
        (
            "display_card_info_by_last4",
            {"last4": "4242\n"},
            "The argument last4 of display_card_info_by_last4 must be a text that matches ^[0-9]{4}$.",
        ),
        (
            "change_card_status",
            {"card_id": 5, "new_status": "stolen"},
            "The argument new_status of change_card_status must be one of active, frozen, cancelled.",
        ),
    ],
)
def test_arguments_are_refused_in_one_line_when_wrong(tool: str, arguments: dict[str, Any], line: str) -> None:
    with pytest.raises(BadArguments) as raised:
        bank_tools().get(tool).parse(arguments)
    assert raised.value.line == line


@pytest.mark.parametrize("number", [0, -1, 2_147_483_648, 10**40])
def test_id_is_refused_with_its_bounds_when_no_row_can_have_it(number: int) -> None:
    with pytest.raises(BadArguments, match=f"must be {AN_ID}"):
        bank_tools().get("display_user_info").parse({"user_id": number})


def test_tool_is_refused_when_nobody_has_that_name() -> None:
    with pytest.raises(UnknownTool, match="the tools are display_user_info, ") as raised:
        bank_tools().get("transfer_money\n")
    assert "transfer_money" not in raised.value.line


def test_registry_is_refused_when_two_tools_share_a_name() -> None:
    tool = Tool("note", "Note.", ChangeCardStatus, nothing)
    with pytest.raises(ValueError, match="same name"):
        Registry((tool, tool))
