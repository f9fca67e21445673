"""runtime/tool_posts.py: every documented request of the tool webhook, and every rule of its reply."""

import json
from typing import Any

import hypothesis
import msgspec
import pytest
import trio
from hypothesis import strategies as st

from db.door import check_ledger_key
from runtime import limits
from runtime.tool_posts import BadPost, ToolAnswer, ToolCall, build_reply, errors_for, parse_post
from tests.fakes import arriving_now

CARD = {"card_id": 5}
READ = ToolCall("call_1", "get_card", CARD)


def post(call: dict[str, Any] | None = None, /, **fields: Any) -> bytes:
    message = {"type": "tool-calls", "call": {"id": "vapi-1"}, **fields}
    if call is not None:
        message["toolCallList"] = [call]
    return json.dumps({"message": message}).encode()


def function(**holds: Any) -> dict[str, Any]:
    return {"id": "call_1", "type": "function", "function": {"name": "get_card", **holds}}


SHAPES: dict[str, bytes] = {
    "live": post(function(arguments=CARD)),
    "arguments as a JSON string": post(function(arguments='{"card_id": 5}')),
    "flat, docs A": post({"id": "call_1", "name": "get_card", "arguments": CARD}),
    "flat, docs B": post({"id": "call_1", "name": "get_card", "parameters": CARD}),
    "parameters in the function": post(function(parameters=CARD)),
    "another type of tool": post({**function(arguments=CARD), "type": "make"}),
    "toolCalls, the older alias": post(toolCalls=[function(arguments=CARD)]),
    "an empty toolCallList and toolCalls": post(toolCallList=[], toolCalls=[function(arguments=CARD)]),
    "toolWithToolCallList, OpenAPI": post(
        toolWithToolCallList=[
            {"type": "function", "function": {"name": "get_card"}, "toolCall": function(arguments='{"card_id":5}')}
        ]
    ),
    "toolWithToolCallList, docs": post(
        toolWithToolCallList=[{"name": "get_card", "toolCall": {"id": "call_1", "parameters": CARD}}]
    ),
    "toolWithToolCallList, named by its definition": post(
        toolWithToolCallList=[{"function": {"name": "get_card"}, "toolCall": {"id": "call_1", "arguments": CARD}}]
    ),
    "listed twice": post(
        function(arguments=CARD), toolWithToolCallList=[{"name": "x", "toolCall": {"id": "call_1", "parameters": {}}}]
    ),
    "function.arguments before all others": post({**function(arguments=CARD, parameters={}), "arguments": {"x": 1}}),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_parser_reads_the_call_when_it_comes_in_any_documented_shape(shape: str) -> None:
    parsed = parse_post(SHAPES[shape])
    assert (parsed.kind, parsed.call_id, parsed.calls, parsed.legacy) == ("tool-calls", "vapi-1", (READ,), False)


@pytest.mark.parametrize("nothing", ["", "  ", None, {}, "{}", "null"])
def test_parser_reads_no_arguments_when_they_are_empty(nothing: Any) -> None:
    assert parse_post(post(function(arguments=nothing))).calls == (ToolCall("call_1", "get_card", {}),)
    assert parse_post(post(function())).calls == (ToolCall("call_1", "get_card", {}),)


@pytest.mark.parametrize("bad", ["{", "[1]", "7", [1], 7, True])
def test_parser_names_the_problem_when_the_arguments_cannot_be_used(bad: Any) -> None:
    (call,) = parse_post(post(function(arguments=bad))).calls
    assert call.arguments == {}
    assert call.problem in ("the arguments are not JSON", "the arguments are not a JSON object")


def test_parser_keeps_order_and_duplicates_when_several_calls_share_a_post() -> None:
    calls = [{"id": id_, "name": "get_card", "arguments": CARD} for id_ in ("b", "a", "b")]
    assert [call.id for call in parse_post(post(toolCallList=calls)).calls] == ["b", "a", "b"]


def test_parser_reads_a_call_without_a_name_as_one_that_no_tool_has() -> None:
    assert parse_post(post({"id": "call_1", "arguments": CARD})).calls == (ToolCall("call_1", "", CARD),)


@pytest.mark.parametrize("call", [None, 7, {}, {"id": 7}])
def test_parser_knows_no_call_id_when_the_message_names_none(call: Any) -> None:
    assert parse_post(post(function(arguments=CARD), call=call)).call_id is None


def test_parser_asks_for_no_answer_when_it_is_another_server_message() -> None:
    body = json.dumps({"message": {"type": "end-of-call-report", "call": {"id": "vapi-1"}}}).encode()
    parsed = parse_post(body)
    assert (parsed.kind, parsed.call_id, parsed.calls) == ("end-of-call-report", "vapi-1", ())


def legacy(parameters: Any) -> bytes:
    message = {"type": "function-call", "functionCall": {"name": "get_card", "parameters": parameters}}
    return json.dumps({"message": message}).encode()


def test_parser_reads_the_legacy_message_with_an_id_that_follows_from_what_it_asks() -> None:
    first, same = parse_post(legacy({"a": 1, "b": 2})), parse_post(legacy({"b": 2, "a": 1}))
    other = parse_post(legacy({"a": 1, "b": 3}))
    assert first.legacy
    assert first.calls[0].arguments == {"a": 1, "b": 2}
    assert first.calls[0].id == same.calls[0].id != other.calls[0].id


def test_legacy_call_has_an_id_that_the_ledger_keeps_when_its_arguments_are_long() -> None:

    made = parse_post(legacy({"address": "12 Harbour Lane, Portland " * 10})).calls[0].id
    check_ledger_key(made)


@pytest.mark.parametrize(
    "body",
    [
        b"", b"hello", b"\xff\xfe", b'"\xff"', b"[]", b"null", b"{}", b'{"message":[]}', b'{"message":{}}',
        b'{"message":{"type":7}}', b'{"message":{"type":"tool-calls"}}', b"[" * 5_000, b'{"message":' * 5_000,
        post(toolCallList=[]), post(toolCallList=[7]), post({"name": "x"}), post({"id": "", "name": "x"}),
        post({"id": 7, "name": "x"}), b'{"message":{"type":"function-call"}}',
        b'{"message":{"type":"function-call","functionCall":{"name":7}}}', b'{"message":{"type":"a","x":"\\ud800"}}',
    ],
)  # fmt: skip
def test_parser_says_why_in_one_line_when_the_body_is_no_tool_calls(body: bytes) -> None:
    with pytest.raises(BadPost) as raised:
        parse_post(body)
    assert str(raised.value)
    assert "\n" not in str(raised.value)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=12) | st.sampled_from(["tool-calls", "function-call", "call_1", "{}", '{"a":1}']),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    | st.fixed_dictionaries({}, optional=dict.fromkeys(("id", "name", "arguments", "parameters", "function"), inner)),
    max_leaves=10,
)  # fmt: skip
MESSAGES = st.fixed_dictionaries(
    {"type": st.sampled_from(["tool-calls", "function-call", "hang"]) | ANYTHING},
    optional={
        "call": ANYTHING,
        "toolCallList": st.lists(ANYTHING, max_size=3) | ANYTHING,
        "toolCalls": st.lists(ANYTHING, max_size=3) | ANYTHING,
        "toolWithToolCallList": st.lists(
            st.fixed_dictionaries({"toolCall": ANYTHING}, optional={"function": ANYTHING}), max_size=3
        ) | ANYTHING,
        "functionCall": ANYTHING,
    },
)  # fmt: skip


@hypothesis.settings(max_examples=150, deadline=None)
@hypothesis.given(st.fixed_dictionaries({"message": MESSAGES}) | ANYTHING)
def test_parser_raises_nothing_but_bad_post_and_every_call_can_be_answered_when_given_any_json(body: Any) -> None:
    try:
        parsed = parse_post(json.dumps(body).encode())
    except BadPost:
        return
    reply = json.loads(build_reply(errors_for(parsed.calls, "no"), legacy=parsed.legacy))
    if parsed.calls and not parsed.legacy:
        assert [entry["toolCallId"] for entry in reply["results"]] == [call.id for call in parsed.calls]


@hypothesis.given(st.binary(max_size=100))
def test_parser_raises_nothing_but_bad_post_when_given_any_bytes(body: bytes) -> None:
    with pytest.raises(BadPost):
        parse_post(body)


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
RESULTS = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
ANSWERS = st.builds(ToolAnswer, TEXT, TEXT, result=RESULTS) | st.builds(ToolAnswer, TEXT, TEXT, error=TEXT)


@hypothesis.given(st.lists(ANSWERS, max_size=5))
def test_reply_keeps_every_rule_when_the_answers_hold_anything(answers: list[ToolAnswer]) -> None:
    results = json.loads(build_reply(answers))["results"]
    assert [(entry["toolCallId"], entry["name"]) for entry in results] == [(a.tool_call_id, a.name) for a in answers]
    for answer, entry in zip(answers, results, strict=True):
        (said,) = set(entry) - {"toolCallId", "name"}
        assert said == ("error" if answer.error is not None else "result")
        assert isinstance(entry[said], str)
        assert entry[said]
        assert not {"\n", "\r"} & set(entry[said])


def test_reply_holds_an_object_as_compact_json_in_a_string() -> None:
    (entry,) = json.loads(build_reply([ToolAnswer("1", "x", {"line": "a\nb", "n": 1})]))["results"]
    assert entry["result"] == '{"line":"a\\nb","n":1}'


def test_reply_says_something_when_the_text_is_empty() -> None:
    results = json.loads(build_reply([ToolAnswer("1", "x", ""), ToolAnswer("2", "x", error=" \n ")]))["results"]
    assert [results[0]["result"], results[1]["error"]] == ["no text", "no text"]


def test_reply_is_bare_when_the_request_was_legacy() -> None:
    assert json.loads(build_reply([ToolAnswer("1", "x", {"a": 1})], legacy=True)) == {"result": '{"a":1}'}
    assert json.loads(build_reply([ToolAnswer("1", "x", error="no\nway")], legacy=True)) == {"error": "no way"}


def test_reply_entry_holds_an_id_a_name_and_one_of_result_and_error() -> None:
    message = msgspec.json.decode(build_reply([ToolAnswer("1", "x", {"a": 1}), ToolAnswer("2", "y", error="no")]))
    assert set(message) == {"results"}
    assert [set(entry) for entry in message["results"]] == [
        {"toolCallId", "name", "result"},
        {"toolCallId", "name", "error"},
    ]


async def test_pending_post_gives_its_answers_once_when_answered_twice() -> None:
    pending = arriving_now((READ,))
    pending.answer([ToolAnswer("call_1", "get_card", "first")])
    pending.fail("second")
    assert await pending.wait() == [ToolAnswer("call_1", "get_card", "first")]
    assert trio.current_time() == 0


async def test_pending_post_gives_errors_when_its_deadline_passes() -> None:
    pending = arriving_now((READ, READ))
    answers = await pending.wait()
    assert trio.current_time() == limits.POST_SECONDS
    assert [answer.tool_call_id for answer in answers] == ["call_1", "call_1"]
    assert all(answer.error for answer in answers)
