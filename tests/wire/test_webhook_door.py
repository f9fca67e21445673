"""The webhook door over real HTTP, beside a running call: nothing breaks it, and it always gives an answer."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import httpx
import pytest
import trio

from runtime import limits
from runtime.webhook_secret import SECRET_HEADER, sign
from simulation.network import TrioSockets
from simulation.websockets import open_client_socket
from tests.world import World, open_world

Post = Callable[..., Awaitable[httpx.Response]]


@asynccontextmanager
async def running_call() -> AsyncIterator[tuple[World, Post]]:
    """A world with one call on, and a way to POST as Vapi would: `post(body, secret=…, path=…)`."""
    async with open_world() as world, calling(world) as post:
        yield world, post


@asynccontextmanager
async def calling(world: World) -> AsyncIterator[Post]:
    async with open_client_socket(TrioSockets(), world.doors.voice_url):
        await world.until(lambda: world.event("socket-opened"))
        record = next(iter(world.doors.house.calls))
        secret = sign(world.doors.house.webhook_key, record.call_key)
        base_url = f"http://{world.doors.webhook}"
        async with httpx.AsyncClient(base_url=base_url, trust_env=False, timeout=20) as client:
            yield partial(_post, client, secret)


async def _post(
    client: httpx.AsyncClient, secret: str, body: Any, *, path: str = "/p/pod-1/tool", **headers: str | bytes
) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent: dict[str, str | bytes] = {SECRET_HEADER: secret, "Content-Type": "application/json", **headers}
    return await client.post(
        path,
        content=content,
        headers=[(k.encode(), v if isinstance(v, bytes) else v.encode()) for k, v in sent.items() if v],
    )


def tool_calls(*calls: tuple[str, str, Any], call_id: str | None = None) -> dict[str, Any]:
    listed = [{"id": i, "type": "function", "function": {"name": n, "arguments": a}} for i, n, a in calls]
    message: dict[str, Any] = {"type": "tool-calls", "toolCallList": listed}
    if call_id is not None:
        message["call"] = {"id": call_id}
    return {"message": message}


def only(response: httpx.Response) -> dict[str, Any]:
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    (result,) = response.json()["results"]
    return dict(result)


async def test_tool_is_answered_when_vapi_asks_on_either_path() -> None:
    async with running_call() as (world, post):
        for path in ("/tool", "/p/pod-1/tool"):
            body = tool_calls((f"id{path}", "display_user_info", {"user_id": 3}), call_id=world.cloud.calls[0].id)
            answer = only(await post(body, path=path))
            assert answer["toolCallId"] == f"id{path}"
            assert answer["name"] == "display_user_info"
            assert json.loads(answer["result"])["full_name"] == "Dana Whitfield"


@pytest.mark.parametrize("secret", [b"", b"x", b"00" * 16 + b".00", b"00" * 16 + b".\xe9"])
async def test_stranger_is_refused_when_the_secret_is_missing_or_wrong(secret: bytes) -> None:
    async with running_call() as (world, post):
        body = tool_calls(("a", "display_user_info", {"user_id": 3}))
        response = await post(body, **{SECRET_HEADER: secret})
        assert response.status_code == 401
        assert "X-Voice-Secret" in response.json()["error"]
        assert world.counts["webhook_unauthorized"] == 1
        assert not world.event("tool-call")


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"message":{}}', b'{"message":{"type":"tool-calls"}}', b"[" * 50_000,
     b'{"message":{"type":"tool-calls","toolCallList":[{"function":{"name":"x"}}]}}'],
)  # fmt: skip
async def test_malformed_body_gets_an_explicit_answer(body: bytes) -> None:
    async with running_call() as (world, post):
        response = await post(body)
        assert response.status_code == 200
        assert response.json()["results"] == []
        assert response.json()["error"]
        assert world.counts["webhook_malformed"] == 1
        # ... and the next request works.
        assert "result" in only(await post(tool_calls(("a", "display_user_info", {"user_id": 3}))))


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("drop_tables", {}, "display_user_info"),
        ("display_user_info", {}, "user_id"),
        ("display_user_info", {"user_id": "many"}, "user_id"),
        ("display_user_info", "{", "not JSON"),
        ("display_user_info", [3], "not a JSON object"),
        ("display_user_info", {"user_id": 3, "sql": "x"}, "no such argument"),
        ("display_user_info", {"user_id": 999_999}, "customer"),
    ],
)
async def test_wrong_call_of_a_tool_gets_one_line_that_says_why(name: str, arguments: Any, says: str) -> None:
    async with running_call() as (_, post):
        answer = only(await post(tool_calls(("a", name, arguments))))
        assert says in answer["error"]
        assert "\n" not in answer["error"]


async def test_request_of_another_call_runs_nothing() -> None:
    async with running_call() as (world, post):
        answer = only(await post(tool_calls(("a", "request_card_replacement", {"card_id": 5}), call_id="other")))
        assert "not of the call" in answer["error"]
        assert not await world.database.rows("replacements", {"old_card_id": 5})


async def test_request_of_a_call_that_is_over_gets_what_the_ledger_knows() -> None:
    async with running_call() as (world, post):
        call_id = world.cloud.calls[0].id
        first = only(await post(tool_calls(("a", "request_card_replacement", {"card_id": 5}), call_id=call_id)))
        next(iter(world.doors.house.calls)).phase = "over"
        again = await post(
            tool_calls(("a", "request_card_replacement", {"card_id": 5}), ("b", "x", {}), call_id=call_id)
        )
        assert [entry.get("error") for entry in again.json()["results"]] == [None, "call is over"]
        assert again.json()["results"][0] == first
        assert len(await world.database.rows("replacements", {"old_card_id": 5})) == 1


async def test_duplicates_run_once_when_they_come_together_and_later() -> None:
    async with running_call() as (world, post):
        body = tool_calls(("a", "request_card_replacement", {"card_id": 5}))
        answers = []

        async def ask() -> None:
            answers.append(only(await post(body)))

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(ask)
        answers.append(only(await post(body)))
        assert len(answers) == 6
        assert all(answer == answers[0] for answer in answers)
        assert len(await world.database.rows("replacements", {"old_card_id": 5})) == 1
        await world.until(lambda: world.engine.events("test"))
        assert len(world.engine.events("test")) == 1


async def test_other_messages_and_paths_get_their_status() -> None:
    async with running_call() as (world, post):
        assert (await post({"message": {"type": "status-update"}})).json() == {}
        assert (await post({}, path="/p/other/tool")).status_code == 404
        assert (await post({}, path="/metrics")).status_code == 404
        too_long = await post(b"x" * (limits.BODY_BYTES + 1))
        assert (too_long.status_code, too_long.json()["results"]) == (200, [])
        assert "longer than" in too_long.json()["error"]
        async with httpx.AsyncClient(trust_env=False) as client:
            base = f"http://{world.doors.webhook}"
            health = await client.get(base + "/healthz")
            assert health.json()["status"] == "ok"
            assert len(health.json()["nonce"]) == 16
            assert (await client.get(base + "/tool")).status_code == 405


async def test_door_stays_open_when_a_websocket_upgrade_brings_bytes_with_it() -> None:
    """hypercorn's issue #225: on its own server this packet ends the process."""
    async with running_call() as (world, post):
        port = int(world.doors.webhook.rpartition(":")[2])
        for _ in range(3):
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                await stream.send_all(UPGRADE_WITH_BYTES)
                with trio.move_on_after(0.3):
                    await stream.receive_some()
        assert "result" in only(await post(tool_calls(("a", "display_user_info", {"user_id": 3}))))


UPGRADE_WITH_BYTES = (
    b"GET /tool HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\nX"
)
