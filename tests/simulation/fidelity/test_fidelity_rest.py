"""REST behaviours of the cloud that have a knob, or that the product does not use."""

import json
from typing import Any

import pytest
import trio
from vapi_api import Api, call_body
from vapi_peers import dialled, open_webhook, until_over

from simulation.behaviour import Behaviour
from simulation.http_server import HttpReply, HttpRequest, json_reply
from simulation.network import TrioSockets
from simulation.websockets import DialError, open_client_socket


async def test_call_is_made_and_over_at_once_when_no_slot_is_free_and_refusing_is_off(virtual: Api) -> None:
    """V-113."""
    virtual.cloud.behaviour = Behaviour(over_limit="ended")
    first, second, third = [(await virtual.create()).json() for _ in range(3)]
    assert [made["status"] for made in (first, second, third)] == ["queued"] * 3
    assert third["subscriptionLimits"]["concurrencyBlocked"]
    shown = (await virtual.get(f"/call/{third['id']}")).json()
    assert shown["endedReason"] == "call.start.error-subscription-concurrency-limit-reached"
    assert virtual.cloud.active_calls == 2
    with pytest.raises(DialError, match="410"):
        async with open_client_socket(TrioSockets(), third["transport"]["websocketCallUrl"]):
            pass


async def test_call_is_renamed_and_nothing_else_when_patched(virtual: Api) -> None:
    """V-117."""
    call_id = (await virtual.create()).json()["id"]
    url = f"{virtual.cloud.base_url}/call/{call_id}"
    assert (await virtual.http.patch(url, json={"name": "new"})).json()["name"] == "new"
    refused = await virtual.http.patch(url, json={"status": "ended"})
    assert (refused.status_code, refused.json()["message"]) == (400, ["property status should not exist"])
    assert (await virtual.http.patch(url, content=b"{")).status_code == 400
    assert virtual.cloud.calls[0].status == "queued"


async def test_call_goes_on_when_its_data_is_deleted(virtual: Api) -> None:
    """V-118."""
    ids = [(await virtual.create()).json()["id"] for _ in range(2)]
    url = f"{virtual.cloud.base_url}/call/{ids[0]}"
    assert (await virtual.http.request("DELETE", url, json={"ids": ids})).status_code == 200
    assert [(await virtual.get(f"/call/{call_id}")).status_code for call_id in ids] == [404, 404]
    assert (await virtual.get("/call")).json() == []
    assert virtual.cloud.active_calls == 2


@pytest.mark.parametrize(
    ("query", "complaint"),
    [
        ("limit=0", "limit must not be less than 1"),
        ("limit=1001", "limit must not be greater than 1000"),
        ("limit=2.5", "limit must be an integer number"),
        ("limit=ten", "limit must be an integer number"),
        ("createdAtGe=yesterday", "createdAtGe must be a valid ISO 8601 date string"),
        ("createdAtGe=2026-08-01", "createdAtGe must be a valid ISO 8601 date string"),
        ("createdAtEq=2026-08-01T00:00:00Z", "property createdAtEq should not exist"),
        ("status=ended", "property status should not exist"),
    ],
)
async def test_list_is_refused_when_its_query_is_wrong(virtual: Api, query: str, complaint: str) -> None:
    """V-116."""
    reply = await virtual.get(f"/call?{query}")
    assert (reply.status_code, reply.json()["message"]) == (400, [complaint])


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ({}, [("status-update", 1.58), ("end-of-call-report", 2.88)]),
        ({"serverMessages": ["end-of-call-report"]}, [("end-of-call-report", 2.88)]),
        ({"serverMessages": ["tool-calls"]}, []),
    ],
)
async def test_end_is_reported_to_the_assistants_server_and_to_no_other(
    virtual: Api, messages: dict[str, Any], expected: list[tuple[str, float]]
) -> None:
    """V-504."""
    came: list[tuple[str, float]] = []

    def reply(request: HttpRequest) -> HttpReply:
        assert (request.headers["x-mine"], request.headers["x-call-id"]) == ("1", virtual.cloud.calls[0].id)
        message = json.loads(request.body)["message"]
        assert message["endedReason"] == "manually-canceled"
        came.append((message["type"], trio.current_time() - ended))
        return json_reply(200, {})

    async with open_webhook() as tools, open_webhook(reply) as server:
        mine = {"url": server.url, "headers": {"x-mine": "1"}}
        async with dialled(virtual, call_body(tool_url=tools.url, server=mine, **messages)) as (client, call):
            await client.socket.send_message('{"type":"end-call"}')
            await until_over(call)
            ended = trio.current_time()
            await trio.sleep(5)
    assert [kind for kind, _ in came] == [kind for kind, _ in expected]
    assert [after for _, after in came] == pytest.approx([after for _, after in expected], abs=0.1)
    assert not tools.requests
