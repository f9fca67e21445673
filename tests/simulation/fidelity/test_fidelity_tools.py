"""Every shape in which a tool call has been seen or documented reaches a server, and its answer is heard."""

import json
from typing import Any

import pytest
from vapi_api import Api, call_body
from vapi_peers import dialled, open_webhook

from simulation.behaviour import Behaviour
from simulation.http_server import HttpReply, HttpRequest, json_reply
from simulation.scenario import AgentTurn, ToolCall
from simulation.webhook_client import NO_RESULT, Answer, WebhookExchange, judge

FIND = ToolCall("find", {"last4": "4242"})


async def exchanged(api: Api, reply: Any, *calls: ToolCall) -> tuple[list[dict[str, Any]], list[WebhookExchange]]:
    """The messages that a tool server got from one turn with `calls`, and the exchanges."""
    api.cloud.agent = (AgentTurn(say="found", calls=calls or (FIND,)),)
    async with open_webhook(reply) as webhook:
        async with dialled(api, call_body(tool_url=webhook.url)) as (client, call):
            await client.be_silent(2.0)
        return [json.loads(request.body)["message"] for request in webhook.requests], call.exchanges


def answers(request: HttpRequest) -> HttpReply:
    """By the ids alone, wherever they are."""
    message = json.loads(request.body)["message"]
    calls = message.get("toolCallList") or [entry["toolCall"] for entry in message["toolWithToolCallList"]]
    return json_reply(200, {"results": [{"toolCallId": call["id"], "name": "find", "result": "yes"} for call in calls]})


@pytest.mark.parametrize(
    ("shape", "entry"),
    [
        ("flat-arguments", {"name": "find", "arguments": {"last4": "4242"}}),
        ("flat-parameters", {"name": "find", "parameters": {"last4": "4242"}}),
        ("with-tool", None),
    ],
)
async def test_tool_call_is_written_as_told(virtual: Api, shape: Any, entry: dict[str, Any] | None) -> None:
    """V-403."""
    virtual.cloud.behaviour = Behaviour(shape=shape)
    (message,), (exchange,) = await exchanged(virtual, answers)
    (beside,) = message["toolWithToolCallList"]
    assert beside["function"]["name"] == "find"
    if entry is None:
        assert "toolCallList" not in message
        assert beside["toolCall"]["function"] == {"name": "find", "arguments": {"last4": "4242"}}
    else:
        (listed,) = message["toolCallList"]
        assert listed == {"id": beside["toolCall"]["id"], **entry}
        assert beside["toolCall"]["parameters"] == {"last4": "4242"}
    assert "toolCalls" not in message
    assert exchange.accepted


async def test_deprecated_message_carries_one_call_and_takes_a_bare_result(virtual: Api) -> None:
    """V-404."""
    virtual.cloud.behaviour = Behaviour(shape="function-call", calls_together=True)
    messages, exchanges = await exchanged(virtual, lambda _: json_reply(200, {"result": "yes"}), FIND, FIND)
    assert [message["type"] for message in messages] == ["function-call"] * 2
    assert messages[0]["functionCall"] == {"name": "find", "parameters": {"last4": "4242"}}
    assert [exchange.verdicts[0].heard for exchange in exchanges] == ["yes", "yes"]


@pytest.mark.parametrize("body", [{}, {"result": {"a": 1}}, {"results": []}, [], {"result": "two\nlines"}])
def test_model_hears_no_result_when_the_answer_to_the_deprecated_message_is_wrong(body: Any) -> None:
    """V-404."""
    answer = Answer(200, json.dumps(body).encode(), {"content-type": "application/json"}, 0.0)
    (verdict,) = judge(answer, (("call_1", "find", {}),), function_call=True)
    assert (verdict.accepted, verdict.heard) == (False, NO_RESULT)


@pytest.mark.parametrize(
    ("knobs", "headers", "in_body"),
    [
        ({}, {"x-call-id", "x-vapi-secret"}, True),
        ({"blank_secret": False}, {"x-call-id"}, True),
        ({"call_id_in_header": False}, {"x-vapi-secret"}, True),
        ({"call_id_in_body": False}, {"x-call-id", "x-vapi-secret"}, False),
    ],
)
async def test_call_id_and_blank_secret_are_left_out_when_told(
    virtual: Api, knobs: dict[str, bool], headers: set[str], in_body: bool
) -> None:
    """V-406, V-409."""
    virtual.cloud.behaviour = Behaviour(**knobs)  # type: ignore[arg-type]
    (message,), (exchange,) = await exchanged(virtual, answers)
    assert set(exchange.request_headers) - {"x-voice-secret"} == headers
    assert ("id" in message["call"]) == in_body
