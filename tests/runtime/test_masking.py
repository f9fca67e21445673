"""runtime/masking.py: what nobody may read in a log, a trace or on a screen."""

import json
from typing import Annotated, Any

import attrs
import hypothesis
import pytest
from hypothesis import strategies as st
from msgspec import Meta

from db.door import Answer
from runtime.audit import audit
from runtime.masking import Masker, masker_of
from runtime.tool_posts import ToolCall
from tests.fakes import captured_log, new_record
from tools.registry import Registry, Tool

DANA = {
    "user_id": 3,
    "full_name": "Dana Whitfield",
    "phone": "+15035550121",
    "email": "dana.whitfield@example.com",
    "address": "77 Alder Court, Denver, CO 80203",
}
SECRETS = ("dana", "whitfield", "503", "0121", "alder", "denver", "80203", "example")


def shows_nothing(masked: object) -> bool:
    shown = json.dumps(masked, ensure_ascii=False).lower()
    return not [secret for secret in SECRETS if secret in shown]


def test_fields_are_masked_wherever_they_are() -> None:
    nested = {"result": [DANA, {"cards": [{"card_id": 5, "last4": "4242", "full_name": "Dana Whitfield"}]}]}
    masked = Masker().masked(nested)
    assert shows_nothing(masked)
    assert masked["result"][0]["phone"] == "[…21]"
    assert masked["result"][1]["cards"][0] | {"full_name": ""} == {"card_id": 5, "last4": "4242", "full_name": ""}


def test_fields_are_masked_when_the_object_was_made_a_string() -> None:
    masked = Masker().masked({"result": json.dumps(DANA), "broken": '{"full_name": "x"'})
    assert shows_nothing(masked)
    assert json.loads(masked["result"])["user_id"] == 3


def test_nothing_else_is_changed() -> None:
    told = {"id": "t-1", "name": "verify_caller", "seconds": 0.5, "counts": {"caller_bytes": 960}, "x": None, "b": True}
    assert Masker().masked(told) == told


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("This is Dana Whitfield, hello.", "This is [name], hello."),
        ("my name is dana whitfield", "my name is [name]"),
        ("It is five oh three, five five five, oh one two one.", "It is [number]."),
        ("Call +1 (503) 555-0121 now", "Call [number] now"),
        ("Write to dana.whitfield@example.com please", "Write to [email] please"),
        ("I live at 77 Alder Court, Denver, CO 80203, thanks", "I live at [address], thanks"),
        ("Thanks for calling Acme Bank, this is Riley.", "Thanks for calling Acme Bank, this is Riley."),
        ("the card ending in four two four two", "the card ending in four two four two"),
        ("the card ending in 4242", "the card ending in 4242"),
    ],
)
def test_free_text_is_masked_by_rule(said: str, shown: str) -> None:
    assert Masker().masked({"text": said}) == {"text": shown}


def test_words_of_a_masked_field_are_masked_in_what_is_said_after_it() -> None:
    masker = Masker()
    masker.masked({"arguments": DANA})
    assert masker.text("Thank you, Dana. Is it still Alder Court?") == "Thank you, […]. Is it still […] Court?"


def test_event_reaches_no_sink_unmasked() -> None:
    import trio

    async def main() -> None:
        trace: list[object] = []
        record = new_record(trace)  # type: ignore[arg-type]
        record.event("tool", "tool-answer", name="x", seconds=0.0, duplicate=False, result=DANA)
        record.event("caller", "transcript", text="I am Dana Whitfield")
        assert shows_nothing([event.data for event in trace])  # type: ignore[attr-defined]

    trio.run(main)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@hypothesis.given(JSON)
def test_masking_takes_any_json_and_leaves_json(value: object) -> None:
    json.dumps(Masker().masked({"text": value, "full_name": value, "data": value}))


@pytest.mark.parametrize("text", ["a" * 40_000, "a@" * 20_000, "1 " * 20_000, "one " * 20_000, "77 Alder " * 5_000])
def test_long_text_is_cut_before_it_takes_long(text: str) -> None:
    assert len(Masker().text(text)) < 2_000


def test_deep_nesting_is_cut() -> None:
    deep: object = DANA
    for _ in range(900):
        deep = [deep]
    assert shows_nothing(Masker().masked({"arguments": deep}))


def test_words_of_a_call_are_bounded() -> None:
    masker = Masker()
    for number in range(2_000):
        masker.masked({"full_name": f"Person{number} Somebody{number}"})
    assert masker.text("so Somebody1999 it is") == "so […] it is"
    assert len(masker._words) <= 500


def test_arguments_that_no_tool_has_are_not_shown_and_text_in_the_others_is_masked() -> None:
    invented = {"ssn": "123-45-6789", "date_of_birth": "1980-01-01", "my name is Jane Doe": 1, "card_number": 4111}
    known = {"card_id": 5, "last4": "4242", "note": "my name is Jane Doe, 215-555-0199", "phone": "+1 215 555 0199"}
    masker = Masker(known=frozenset(known))
    told = masker.masked({"id": "t", "arguments": {**invented, **known}})["arguments"]
    assert told["[unknown]"] == len(invented)
    assert (told["card_id"], told["last4"]) == (5, "4242")
    assert not any(word in repr(told) for word in ("Jane", "Doe", "6789", "1980", "4111", "555", "ssn"))
    assert Masker().masked({"arguments": {"any": 1}}) == {"arguments": {"any": 1}}


@attrs.frozen
class Visit:
    name: str
    day: Annotated[str, Meta(pattern="^[0-9-]{10}$")]
    symptoms: list[str]


async def book(work: Any, arguments: Any) -> None:
    pass


def test_masker_hides_what_tools_are_told_in_free_text_and_what_they_call_personal() -> None:
    masker = masker_of(Registry((Tool("book", "Book.", Visit, book, personal=("diagnosis",)),)))
    told = {"name": "book", "arguments": {"name": "Nora", "day": "2031-03-03", "symptoms": ["chest pain"]}}
    assert masker.masked(told)["arguments"] == {"name": "[masked]", "day": "[number]", "symptoms": "[masked]"}
    answered = {"name": "book", "result": {"diagnosis": "angina", "day": 3}, "diagnosis": "not of a tool"}
    assert masker.masked(answered) == {
        "name": "book", "result": {"diagnosis": "[masked]", "day": 3}, "diagnosis": "not of a tool"
    }  # fmt: skip
    assert masker.masked({"answer": '{"diagnosis":"angina"}'}) == {"answer": '{"diagnosis":"[masked]"}'}


def test_log_line_of_a_tool_call_has_no_word_that_somebody_said() -> None:
    log, lines = captured_log()
    masker = masker_of(Registry((Tool("book", "Book.", Visit, book),)))
    arguments = {"name": "Nora", "day": "2031-03-03", "symptoms": ["chest pain"], "made_up": "HIV"}
    audit(log, masker, "ledger", ToolCall("id", "book", arguments), Answer(None, "No."), 0.1)
    shown = json.dumps(lines)
    assert not [word for word in ("Nora", "chest", "HIV") if word in shown]
