"""runtime/vapi_api.py and runtime/http_client.py: what is asked of Vapi's REST API, and what its answers mean."""

import json
from typing import Any

import httpx
import pytest
import trio

from runtime import limits
from runtime.errors import NoAnswer
from runtime.http_client import HttpClient, Reply, Unreachable
from runtime.vapi_api import CreatedCall, VapiApi, refusal
from runtime.webhook_secret import SECRET_HEADER, call_tag, verify
from tests.bank import bank_tools
from tests.fakes import FakeHttp
from tests.product_request import KEY, request_body

CREATED = {"id": "vapi-1", "status": "queued", "transport": {"websocketCallUrl": "wss://x/vapi-1/transport"}}


def answering(status: int, body: Any) -> FakeHttp:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return FakeHttp(respond=lambda *_: Reply(status, raw))


def api_at(http: Any) -> VapiApi:
    return VapiApi(http, "https://vapi.test", "private-key")


async def test_request_names_every_tool_with_its_server_when_a_call_is_created() -> None:
    body, call_key = await request_body()
    tools = body["assistant"]["model"]["tools"]
    assert [tool["function"]["name"] for tool in tools] == [tool.name for tool in bank_tools()]
    for tool in tools:
        assert (tool["type"], tool["async"]) == ("function", False)
        assert tool["server"]["url"] == "https://bank.example/p/pod-1/tool"
        assert tool["server"]["timeoutSeconds"] == 20
        assert verify(KEY, tool["server"]["headers"][SECRET_HEADER]) == call_key
        assert {message["type"] for message in tool["messages"]} == {"request-start", "request-failed"}
        assert set(tool["function"]["parameters"]) == {"type", "properties", "required"}
    assert limits.TOOL_SECONDS < limits.POST_SECONDS < limits.VAPI_TOOL_TIMEOUT_SECONDS


async def test_request_is_explicit_about_messages_and_audio_when_a_call_is_created() -> None:
    body, call_key = await request_body()
    assistant = body["assistant"]
    assert assistant["serverMessages"] == ["tool-calls"]
    assert {"speech-update", "status-update", "user-interrupted"} <= set(assistant["clientMessages"])
    assert "conversation-update" not in assistant["clientMessages"]
    assert body["transport"] == {
        "provider": "vapi.websocket",
        "audioFormat": {"format": "pcm_s16le", "container": "raw", "sampleRate": 24_000},
    }
    assert assistant["firstMessage"] == "Thanks for calling Acme Bank, this is Riley — how can I help?"
    assert assistant["firstMessageMode"] == "assistant-speaks-first"
    assert assistant["model"]["messages"] == [{"role": "system", "content": "You are Riley."}]
    assert assistant["model"]["model"] == "gpt-4.1-mini"
    assert body["name"] == f"voice-{call_tag(call_key)}"
    assert len(body["name"]) <= 40, "Vapi's limit"
    assert body["metadata"] == {"voiceCall": call_tag(call_key)}
    assert call_key.hex() not in json.dumps({**body, "assistant": None}), "the dashboard shows these"


async def test_create_reads_id_and_url_when_vapi_answers_201() -> None:
    http = answering(201, CREATED)
    assert await api_at(http).create({"name": "x"}) == CreatedCall("vapi-1", "wss://x/vapi-1/transport")
    assert http.requests == [("POST", "https://vapi.test/call", {"name": "x"})]
    assert http.headers["Authorization"] == "Bearer private-key"


def test_created_call_and_api_do_not_show_their_secrets_when_printed() -> None:
    shown = f"{CreatedCall('vapi-1', 'wss://secret-url')!r} {api_at(FakeHttp())!r}"
    assert "secret-url" not in shown
    assert "private-key" not in shown


@pytest.mark.parametrize(
    "body", [b"", b"<html>", [], {}, {"id": "x"}, {"id": "x", "transport": None}, {"id": "x", "transport": {}}]
)
async def test_create_counts_the_reply_as_lost_when_it_cannot_be_read(body: Any) -> None:
    with pytest.raises(Unreachable) as raised:
        await api_at(answering(201, body)).create({})
    assert raised.value.sent, "a call may have been made"


@pytest.mark.parametrize("body", [b'{"id":"\xff"}', b"[" * 50_000])
async def test_reply_has_no_json_when_its_body_cannot_be_decoded(body: bytes) -> None:
    assert Reply(500, body).json() is None


async def test_create_says_vapi_is_down_when_nothing_was_sent() -> None:
    with pytest.raises(NoAnswer, match=r"Vapi at https://vapi\.test cannot be reached: connection refused") as raised:
        await api_at(FakeHttp(down=True)).create({})
    assert raised.value.cause == "vapi_down"


async def test_create_counts_the_reply_as_lost_when_it_takes_too_long() -> None:
    with pytest.raises(Unreachable) as raised:
        await api_at(FakeHttp(seconds=60)).create({})
    assert raised.value.sent
    assert trio.current_time() == limits.VAPI_CREATE_SECONDS


BAD_REQUEST = {"error": "Bad Request", "statusCode": 400}
REFUSALS: list[tuple[int, Any, str, str]] = [
    (400, {**BAD_REQUEST, "message": "Need assistant"}, "vapi_rejected", "Need assistant"),
    (400, {**BAD_REQUEST, "message": ["a should not exist", "b is bad"]}, "vapi_rejected", "a should not exist; b is"),
    (400, {**BAD_REQUEST, "message": "Over Concurrency Limit"}, "vapi_no_slot", "no free slot"),
    (401, {"message": "Invalid Key. Hot tip, …"}, "vapi_rejected", "VAPI_API_KEY"),
    (402, {"message": "insufficient credits"}, "vapi_rejected", "add credit"),
    (403, b"error code: 1010", "vapi_rejected", "User-Agent"),
    (403, {"message": "Forbidden"}, "vapi_rejected", "Forbidden"),
    (404, {"message": "Not Found"}, "vapi_rejected", "is VAPI_BASE_URL right?"),
    (413, b"<html>Request Entity\nToo Large</html>", "vapi_rejected", "too large"),
    (429, {"message": "Rate limit exceeded"}, "vapi_no_slot", "429"),
    (500, {"message": "oops"}, "vapi_down", "oops"),
    (502, b"<html>\n<h1>Bad gateway</h1>", "vapi_down", "Bad gateway"),
    (503, b"", "vapi_down", "an empty body"),
    (302, b"", "vapi_down", "302"),
    (400, {"message": ["first\nline", 7]}, "vapi_rejected", "first"),
]


@pytest.mark.parametrize(("status", "body", "cause", "says"), REFUSALS)
async def test_create_tells_cause_and_remedy_when_vapi_refuses(status: int, body: Any, cause: str, says: str) -> None:
    with pytest.raises(NoAnswer) as raised:
        await api_at(answering(status, body)).create({})
    assert raised.value.cause == cause
    assert says in str(raised.value)
    assert len(str(raised.value)) < 600


async def test_refusal_hides_the_secrets_that_vapi_quotes() -> None:
    body, _ = await request_body()
    quoted = json.dumps({"message": [json.dumps(body["assistant"]["model"]["tools"][0]["server"]), "private-key"]})
    with pytest.raises(NoAnswer) as raised:
        await api_at(answering(400, quoted.encode())).create(body)
    (secret,) = body["assistant"]["model"]["tools"][0]["server"]["headers"].values()
    line = str(raised.value)
    assert "X-Voice-Secret" in line
    assert secret not in line
    assert "private-key" not in line


@pytest.mark.parametrize("message", ["first\nsecond", ["first\nsecond"], "x" * 100_000])
def test_refusal_is_one_short_line_when_vapis_message_is_not(message: Any) -> None:
    line = str(refusal(Reply(400, json.dumps({"message": message}).encode())))
    assert "\n" not in line
    assert len(line) < 1_000


async def test_control_url_is_read_from_the_call_when_it_is_there() -> None:
    shown = {"status": "in-progress", "monitor": {"controlUrl": "https://control/1"}}
    assert await api_at(answering(200, shown)).control_url("vapi-1") == ("in-progress", "https://control/1")
    assert await api_at(answering(200, {"status": "queued"})).control_url("v") == ("queued", None)
    assert await api_at(answering(404, {"message": "Not Found"})).control_url("v") == ("not-found", None)
    assert await api_at(answering(500, b"<html>")).control_url("v") == ("unknown", None)


async def test_call_is_found_by_its_tag_when_the_list_holds_it() -> None:
    others: list[Any] = [7, {"id": "a"}, {"id": "b", "metadata": {"voiceCall": "other"}, "name": "voice-other"}]
    mine = {"id": "c", "metadata": {"voiceCall": "tag"}, "transport": {"websocketCallUrl": "wss://c"}}
    assert await api_at(answering(200, [*others, mine])).find("tag") == CreatedCall("c", "wss://c")
    assert await api_at(answering(200, [*others, {"id": "d", "name": "voice-tag"}])).find("tag") == CreatedCall("d", "")
    assert await api_at(answering(200, others)).find("tag") is None
    assert await api_at(answering(401, {"message": "no"})).find("tag") is None


@pytest.mark.parametrize(
    ("error", "sent"),
    [
        (httpx.ConnectError("refused"), False), (httpx.ConnectTimeout(""), False),
        (httpx.ReadError("reset"), True), (httpx.RemoteProtocolError("closed\nearly"), True),
        (httpx.InvalidURL("x"), True),
    ],
)  # fmt: skip
async def test_client_maps_httpx_errors_and_tells_whether_the_request_may_have_been_taken(
    error: Exception, sent: bool
) -> None:
    def fail(_request: httpx.Request) -> httpx.Response:
        raise error

    async with httpx.AsyncClient(transport=httpx.MockTransport(fail)) as client:
        with pytest.raises(Unreachable) as raised:
            await HttpClient(client).request("GET", "https://vapi.test/", seconds=1)
    assert raised.value.sent is sent
    assert str(raised.value)
    assert "\n" not in str(raised.value)


async def test_client_gives_up_within_its_seconds_when_no_answer_comes() -> None:
    async def hang(_request: httpx.Request) -> httpx.Response:
        await trio.sleep_forever()
        raise AssertionError

    async with httpx.AsyncClient(transport=httpx.MockTransport(hang), timeout=None) as client:
        with pytest.raises(Unreachable, match="no answer within 3 s"):
            await HttpClient(client).request("POST", "https://vapi.test/", seconds=3, json={})
    assert trio.current_time() == 3
