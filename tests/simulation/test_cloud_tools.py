"""The simulated assistant's tool calls: the POST it makes, and what it makes of the answer."""

import json
from typing import Any

import attrs
import pytest
import trio
from vapi_api import QUICK, Api, call_body
from vapi_peers import Webhook, good_answer, open_webhook

from simulation.behaviour import Behaviour
from simulation.http_server import HttpReply, HttpRequest, json_reply
from simulation.network import TrioSockets
from simulation.scenario import AgentTurn, ToolCall
from simulation.webhook_client import NO_RESULT, Answer, WebhookExchange, judge
from simulation.websockets import open_client_socket

FIND = AgentTurn(say="found", calls=(ToolCall("find", {"last4": "4242"}),))
CALLS = (("call_1", "find", {"last4": "4242"}),)


async def exchanges_of(api: Api, webhook: Webhook, body: dict[str, Any] | None = None) -> list[WebhookExchange]:
    """Run a call whose greeting calls the tool; its exchanges once the assistant has spoken."""
    api.cloud.agent = (FIND,) if len(api.cloud.agent) == 1 else api.cloud.agent
    url = await api.transport(body or call_body(tool_url=webhook.url))
    call = api.cloud.calls[-1]
    async with open_client_socket(TrioSockets(), url):
        with trio.fail_after(5):
            while not call.spoken:  # noqa: ASYNC110  # a record of the cloud, not an event
                await trio.sleep(0.01)
    return call.exchanges


async def test_tool_call_has_the_live_envelope_and_headers(api: Api) -> None:
    """V-401, V-402, V-405, V-406, V-407, V-408, V-409."""
    async with open_webhook() as webhook:
        (exchange,) = await exchanges_of(api, webhook, call_body(tool_url=webhook.url) | {"metadata": {"k": "v"}})
    request = webhook.requests[0]
    message = json.loads(request.body)["message"]
    call = api.cloud.calls[0]
    assert request.headers["x-call-id"] == message["call"]["id"] == call.id
    assert request.headers["x-voice-secret"] == "s"
    assert request.headers["x-vapi-secret"] == ""
    assert message["type"] == "tool-calls"
    assert message["call"]["metadata"] == {"k": "v"}
    (entry,) = message["toolCallList"]
    assert entry["function"] == {"name": "find", "arguments": {"last4": "4242"}}
    assert message["toolCalls"] == [entry]
    assert message["toolWithToolCallList"][0]["toolCall"] == entry
    assert message["toolWithToolCallList"][0]["function"]["name"] == "find"
    assert exchange.accepted
    assert exchange.verdicts[0].heard == "yes"
    assert exchange.seconds < 1


async def test_tool_arguments_are_a_string_when_told(api: Api) -> None:
    """V-402, V-406."""
    api.cloud.behaviour = Behaviour(arguments_as="string", call_id_in_body=False)
    async with open_webhook() as webhook:
        await exchanges_of(api, webhook)
    message = json.loads(webhook.requests[0].body)["message"]
    assert json.loads(message["toolCallList"][0]["function"]["arguments"]) == {"last4": "4242"}
    assert "id" not in message["call"]


async def test_tool_calls_of_a_turn_share_a_post_when_told(api: Api) -> None:
    """V-418."""
    api.cloud.agent = (attrs.evolve(FIND, calls=FIND.calls * 2), FIND)
    async with open_webhook() as webhook:
        assert [len(exchange.verdicts) for exchange in await exchanges_of(api, webhook)] == [1, 1]
        api.cloud.behaviour = Behaviour(calls_together=True)
        assert [len(exchange.verdicts) for exchange in await exchanges_of(api, webhook)] == [2]


async def test_tool_call_is_delivered_twice_with_the_same_id_when_told(api: Api) -> None:
    """V-412."""
    api.cloud.behaviour = Behaviour(redeliver=True)
    async with open_webhook() as webhook:
        webhook.delay_seconds = 0.1
        exchanges = await exchanges_of(api, webhook)
    assert sorted(exchange.redelivered for exchange in exchanges) == [False, True]
    assert webhook.requests[0].body == webhook.requests[1].body


async def test_tool_call_is_retried_only_as_the_backoff_plan_says(api: Api) -> None:
    """V-411."""

    def failing(request: HttpRequest) -> HttpReply:
        return json_reply(503, {}) if len(webhook.requests) < 3 else good_answer(request)

    async with open_webhook(failing) as webhook:
        body = call_body(tool_url=webhook.url)
        plan = {"type": "fixed", "maxRetries": 2, "baseDelaySeconds": 0.01}
        body["assistant"]["model"]["tools"][0]["server"]["backoffPlan"] = plan
        exchanges = await exchanges_of(api, webhook, body)
        assert [(exchange.attempt, exchange.status) for exchange in exchanges] == [(1, 503), (2, 503), (3, 200)]
        del body["assistant"]["model"]["tools"][0]["server"]["backoffPlan"]
        webhook.requests.clear()
        assert len(await exchanges_of(api, webhook, body)) == 1


async def test_tool_call_times_out_as_its_server_says(api: Api) -> None:
    """V-410."""
    api.cloud.behaviour = Behaviour(tool_timeout_seconds=0.1)
    async with open_webhook() as webhook:
        webhook.delay_seconds = 0.5
        (exchange,) = await exchanges_of(api, webhook)
    assert (exchange.status, exchange.failure) == (None, "no answer within 0.1 s")
    assert exchange.verdicts[0].heard == NO_RESULT


async def test_tool_call_survives_a_server_that_is_not_there(api: Api) -> None:
    """V-419."""
    async with open_webhook() as webhook:
        pass
    (exchange,) = await exchanges_of(api, webhook)
    assert exchange.failure.startswith("OSError")
    assert not exchange.accepted


async def test_tool_call_survives_a_connection_that_drops(api: Api) -> None:
    """V-419."""
    async with open_webhook(lambda _request: None) as webhook:
        (exchange,) = await exchanges_of(api, webhook)
    assert exchange.failure.startswith("RemoteProtocolError")
    assert exchange.verdicts[0].heard == NO_RESULT


async def test_tool_call_without_a_url_is_no_result(api: Api) -> None:
    """V-420."""
    async with open_webhook() as webhook:
        body = call_body(tool_url=webhook.url)
        body["assistant"]["model"]["tools"] = []
        (exchange,) = await exchanges_of(api, webhook, body)
    assert "was given no tool of this name" in exchange.failure


async def test_assistant_speaks_its_filler_before_tools_when_told(api: Api) -> None:
    """V-309."""
    api.cloud.behaviour = Behaviour(filler="hold on")
    async with open_webhook() as webhook:
        await exchanges_of(api, webhook)
    assert bytes(api.cloud.calls[0].spoken)[:2000] == QUICK.pcm("rms", "hold on")[:2000]


def answer(content: Any, status: int = 200, content_type: str = "application/json") -> Answer:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return Answer(status, body, {"content-type": content_type}, 0.0)


def result(**entry: Any) -> dict[str, Any]:
    return {"results": [{"toolCallId": "call_1", "name": "find", **entry}]}


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        (answer(result(result="yes"), status=201), "status 201"),
        (answer(result(result="yes"), content_type="text/plain"), "not application/json"),
        (answer(b"{"), "not JSON"),
        (answer({"result": "yes"}), "no 'results' array"),
        (answer([]), "no 'results' array"),
        (answer({"results": {"a": 1}}), "no 'results' array"),
        (answer({"results": [{"toolCallId": "call_2", "result": "yes"}]}), "no result has the toolCallId call_1"),
        (answer(result(result={"ok": True})), "'result' is not a string"),
        (answer(result(result="two\nlines")), "'result' has a line break"),
        (answer(result(error="two\rlines")), "'error' has a line break"),
        (answer(result()), "'error' is not a string"),
        (Answer(None, b"", {}, 1.0, "no answer within 1 s"), "no answer within 1 s"),
    ],
)
def test_model_hears_no_result_when_the_answer_is_wrong(reply: Answer, problem: str) -> None:
    """V-413, V-414, V-415, V-416."""
    (verdict,) = judge(reply, CALLS)
    assert (verdict.accepted, verdict.heard) == (False, NO_RESULT)
    assert problem in verdict.problem


def test_model_hears_results_and_errors() -> None:
    """V-416, V-417."""
    (good,) = judge(answer(result(result="yes")), CALLS)
    assert (good.accepted, good.heard, good.is_error, good.remark) == (True, "yes", False, "")
    (bad,) = judge(answer(result(error="card not found")), CALLS)
    assert (bad.accepted, bad.heard, bad.is_error) == (True, "card not found", True)
    (nameless,) = judge(answer({"results": [{"toolCallId": "call_1", "result": "yes"}]}), CALLS)
    assert nameless.accepted
    assert "name" in nameless.remark
