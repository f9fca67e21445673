"""The cloud's REST side answers as the real one is known to."""

import copy
from typing import Any

import attrs
import httpx
import pytest
import trio
from vapi_api import Api, call_body

from simulation.behaviour import Behaviour
from simulation.vapi_cloud import VapiCloud
from simulation.vapi_requests import complaints_about
from simulation.vapi_rest import INVALID_KEY


async def test_cloud_creates_a_call_with_201_and_no_monitor(api: Api) -> None:
    """V-101, V-102, V-103, V-104, V-108, V-121."""
    reply = await api.create(call_body() | {"name": "n", "metadata": {"a": 1}})
    body = reply.json()
    assert reply.status_code == 201
    assert "monitor" not in body
    assert body["type"] == "vapi.websocketCall"
    assert body["status"] == "queued"
    assert body["metadata"] == {"a": 1}
    assert body["transport"]["websocketCallUrl"].endswith(f"/{body['id']}/transport")
    assert body["subscriptionLimits"] == {
        "concurrencyBlocked": False,
        "concurrencyLimit": 2,
        "remainingConcurrentCalls": 1,
    }
    assert api.cloud.calls[0].id == body["id"]


async def test_cloud_shows_the_control_url_only_on_get_and_only_later(api: Api) -> None:
    """V-103, V-115."""
    call_id = (await api.create()).json()["id"]
    assert "monitor" not in (await api.get(f"/call/{call_id}")).json()
    api.cloud.behaviour = attrs.evolve(api.cloud.behaviour, monitor_after_seconds=0.0)
    shown = (await api.get(f"/call/{call_id}")).json()
    assert shown["monitor"]["controlUrl"] == api.cloud.control_url(api.cloud.calls[0])


async def test_cloud_ends_a_call_at_its_control_url(api: Api) -> None:
    """V-119."""
    call_id = (await api.create()).json()["id"]
    control = api.cloud.control_url(api.cloud.calls[0])
    assert (await api.http.post(control, json={"type": "nonsense"})).status_code == 400
    reply = await api.http.post(control, json={"type": "end-call"})
    assert (reply.status_code, reply.headers["connection"]) == (200, "close")
    assert (await api.get(f"/call/{call_id}")).json()["status"] == "ended"
    assert (await api.http.post(control, json={"type": "end-call"})).status_code == 404


async def test_cloud_lists_the_newest_calls_first(api: Api) -> None:
    """V-116."""
    first, second = [(await api.create()).json()["id"] for _ in range(2)]
    assert [call["id"] for call in (await api.get("/call?limit=5")).json()] == [second, first]
    assert [call["id"] for call in (await api.get("/call?limit=1")).json()] == [second]
    assert (await api.get("/call?limit=1001")).status_code == 400


async def test_cloud_refuses_a_wrong_key_with_the_real_text(api: Api) -> None:
    """V-106, V-107."""
    reply = await api.create(authorization="Bearer public-key")
    assert reply.status_code == 401
    assert reply.json() == {"message": INVALID_KEY, "error": "Unauthorized", "statusCode": 401}


async def test_cloud_answers_1010_when_there_is_no_user_agent(cloud: VapiCloud) -> None:
    """V-105."""
    async with httpx.AsyncClient(trust_env=False) as http:
        request = http.build_request("POST", f"{cloud.base_url}/call", json=call_body())
        del request.headers["user-agent"]
        reply = await http.send(request)
    assert (reply.status_code, reply.text) == (403, "error code: 1010")


async def test_cloud_has_so_many_slots_and_frees_them(api: Api) -> None:
    """V-113."""
    for _ in range(2):
        assert (await api.create()).status_code == 201
    refused = await api.create()
    assert refused.status_code == 400
    assert refused.json()["message"].startswith("Over Concurrency Limit")
    await api.http.post(api.cloud.control_url(api.cloud.calls[0]), json={"type": "end-call"})
    assert (await api.create()).status_code == 201


async def test_cloud_ends_a_call_that_nobody_dials(api: Api) -> None:
    """V-120."""
    api.cloud.behaviour = Behaviour(dial_within_seconds=0.05)
    await api.create()
    with trio.fail_after(2):
        await api.cloud.calls[0].over.wait()
    assert api.cloud.calls[0].ended_reason == "call.in-progress.error-vapifault-transport-never-connected"
    assert api.cloud.active_calls == 0


@pytest.mark.parametrize(
    ("behaviour", "status", "content_type"),
    [
        (Behaviour(reject_status=500), 500, "application/json"),
        (Behaviour(reject_status=429), 429, "application/json"),
        (Behaviour(html_error=502), 502, "text/html"),
    ],
)
async def test_cloud_fails_as_it_is_told(api: Api, behaviour: Behaviour, status: int, content_type: str) -> None:
    """V-114."""
    api.cloud.behaviour = behaviour
    reply = await api.create()
    assert reply.status_code == status
    assert reply.headers["content-type"].startswith(content_type)
    assert not api.cloud.calls


async def test_cloud_makes_the_call_when_it_loses_the_reply(api: Api) -> None:
    """V-112."""
    api.cloud.behaviour = Behaviour(lose_reply=True)
    with pytest.raises(httpx.RemoteProtocolError):
        await api.create()
    assert api.cloud.active_calls == 1
    assert [call["id"] for call in (await api.get("/call")).json()] == [api.cloud.calls[0].id]


async def test_cloud_takes_its_time_over_a_slow_post(api: Api) -> None:
    """V-101."""
    api.cloud.behaviour = Behaviour(post_delay_seconds=0.1)
    began = trio.current_time()
    await api.create()
    assert trio.current_time() - began >= 0.1


async def test_cloud_does_not_know_other_paths_and_calls(api: Api) -> None:
    """V-115."""
    for path in ("/", "/call/x/y", "/call/00000000-0000-4000-8000-000000000001"):
        assert (await api.get(path)).status_code == 404
    assert (await api.http.delete(f"{api.cloud.base_url}/call/x")).status_code == 404


async def test_cloud_outlives_a_connection_that_speaks_no_http(api: Api) -> None:
    stream = await trio.open_tcp_stream("127.0.0.1", api.cloud.port)
    await stream.send_all(b"\x00\xffnonsense\r\n\r\n")
    with trio.fail_after(2):
        assert await stream.receive_some() == b""
    await stream.aclose()
    assert (await api.create()).status_code == 201


def broken(path: str, value: Any) -> dict[str, Any]:
    """A good body with ``value`` at the dotted ``path``."""
    body = copy.deepcopy(call_body(tool_url="https://example.test/tool"))
    place: Any = body
    *parents, last = path.split(".")
    for name in parents:
        place = place[int(name)] if isinstance(place, list) else place.setdefault(name, {})
    place[last] = value
    return body


TOOL = "assistant.model.tools.0"


@pytest.mark.parametrize(
    ("path", "value", "complaint"),
    [
        ("surprise", 1, "property surprise should not exist"),
        ("name", "n" * 41, "name must be shorter than or equal to 40 characters"),
        ("metadata", "text", "metadata must be an object"),
        ("transport.provider", "daily", "transport.provider must be one of"),
        ("transport.extra", 1, "transport.property extra should not exist"),
        ("transport.audioFormat", {"format": "pcm_s16le"}, "transport.audioFormat.sampleRate should not be null"),
        ("transport.audioFormat", {"sampleRate": 24000}, "transport.audioFormat.format should not be null"),
        ("transport.audioFormat.format", "opus", "transport.audioFormat.format must be one of"),
        ("transport.audioFormat.sampleRate", 192001, "transport.audioFormat.sampleRate must not be greater"),
        ("assistant.assistantId", "a", "assistant.property assistantId should not exist"),
        ("assistant.server.secret", "s", "assistant.server.property secret should not exist"),
        ("assistant.firstMessageMode", "x", "assistant.firstMessageMode must be one of"),
        ("assistant.maxDurationSeconds", 5, "assistant.maxDurationSeconds must not be less than 10"),
        ("assistant.clientMessages", ["speech"], "each value in assistant.clientMessages must be one of"),
        ("assistant.stopSpeakingPlan.voiceSeconds", 0.6, "assistant.stopSpeakingPlan.voiceSeconds must not be"),
        ("assistant.stopSpeakingPlan.numWords", True, "assistant.stopSpeakingPlan.numWords must be a number"),
        ("assistant.startSpeakingPlan.waitSeconds", 6, "assistant.startSpeakingPlan.waitSeconds must not be"),
        ("assistant.voice", {"provider": "elevenlabs"}, "assistant.voice.provider must be one of"),
        ("assistant.voice", {"provider": "openai"}, "assistant.voice.voiceId should not be null"),
        ("assistant.transcriber", {"provider": "x"}, "assistant.transcriber.provider must be one of"),
        ("assistant.model.provider", "open-ai", "assistant.model.provider must be one of"),
        ("assistant.model.maxTokens", 49, "assistant.model.maxTokens must not be less than 50"),
        ("assistant.model.messages", [{"role": "robot"}], "assistant.model.messages.0.role must be one of"),
        (f"{TOOL}.type", "functions", f"{TOOL}.type must be one of"),
        (f"{TOOL}.server.timeoutSeconds", 301, f"{TOOL}.server.timeoutSeconds must not be greater than 300"),
        (f"{TOOL}.function.name", "two words", f"{TOOL}.function.name must match"),
        (f"{TOOL}.function.parameters", {"type": "object"}, f"{TOOL}.function.parameters.properties should not"),
        (
            f"{TOOL}.function.parameters",
            {"type": "object", "properties": {"a": {"type": "string", "minLength": 1}}},
            f"{TOOL}.function.parameters.properties.a.property minLength should not exist",
        ),
        ("customer", {"number": "+1"}, "`customer` Can't Be Combined"),
    ],
)
def test_validation_names_what_is_wrong(path: str, value: Any, complaint: str) -> None:
    """V-107, V-109, V-111."""
    found = complaints_about(broken(path, value), strict_parameters=True)
    assert complaint in (found if isinstance(found, str) else found[0])


def test_validation_needs_somebody_to_answer_and_a_transport() -> None:
    """V-111."""
    transport = call_body()["transport"]
    assert "Couldn't Find Assistant" in complaints_about({"transport": transport}, strict_parameters=True)
    assert "Couldn't Get Phone Number" in complaints_about({"assistant": {}}, strict_parameters=True)
    assert complaints_about([], strict_parameters=True) == ["body must be an object"]


def test_validation_accepts_what_is_accepted_though_not_in_the_schema() -> None:
    """V-108."""
    body = broken("assistant.silenceTimeoutSeconds", 60) | {"metadata": {"key": "value"}}
    assert complaints_about(body, strict_parameters=True) == []


def test_validation_looks_into_parameters_only_when_strict() -> None:
    """V-110."""
    parameters = {"type": "object", "properties": {}, "additionalProperties": False}
    body = broken(f"{TOOL}.function.parameters", parameters)
    assert complaints_about(body, strict_parameters=True)
    assert complaints_about(body, strict_parameters=False) == []


async def test_cloud_sends_validation_as_a_list_and_its_own_rules_as_a_string(api: Api) -> None:
    """V-107."""
    listed = await api.create(call_body() | {"surprise": 1, "also": 2})
    assert listed.status_code == 400
    assert len(listed.json()["message"]) == 2
    assert isinstance((await api.create({})).json()["message"], str)
