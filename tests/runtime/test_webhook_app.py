"""runtime/webhook.py without a socket: who may ask, and what an authenticated request always gets."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from db.memory import open_memory_database
from runtime import limits
from runtime.house import House
from runtime.record import CallRecord
from runtime.settings import read_settings
from runtime.tool_posts import PendingPost, ToolAnswer
from runtime.tunnels.way_in import FixedAddress
from runtime.webhook import webhook_app
from runtime.webhook_secret import SECRET_HEADER, call_tag, sign
from tools.execution import execute
from tools.registry import bank_tools

KEY, STRANGER = b"k" * 32, bytes(16)


@attrs.define
class Door:
    house: House
    record: CallRecord
    posts: "trio.MemoryReceiveChannel[PendingPost]"

    async def ask(self, body: Any, secret: str | None = None, path: str = "/p/pod/tool") -> tuple[int, Any]:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {SECRET_HEADER: sign(KEY, self.record.call_key) if secret is None else secret}
        reply = await webhook_app(self.house).test_client().post(path, data=raw, headers=headers)
        assert reply.content_type == "application/json"
        return reply.status_code, json.loads(await reply.get_data())

    async def answer_next(self, result: Any) -> None:
        pending = await self.posts.receive()
        pending.answer([ToolAnswer(call.id, call.name, result) for call in pending.calls])


def tool_calls(id_: str = "t-1", call_id: str | None = "vapi-1") -> dict[str, Any]:
    call = {} if call_id is None else {"call": {"id": call_id}}
    asked = {"id": id_, "name": "display_user_info", "arguments": {"user_id": 3}}
    return {"message": {"type": "tool-calls", **call, "toolCallList": [asked]}}


@asynccontextmanager
async def open_door() -> AsyncIterator[Door]:
    settings = read_settings({"POD_ID": "pod"}, state_folder=Path("/dev/null/runs"))
    async with open_memory_database() as database:
        parts: dict[str, Any] = {"sink": lambda _event: None}
        parts |= dict.fromkeys(("vapi_calls", "reporter", "register", "gateway"))
        house = House(
            settings=settings, prompt="x", way_in=FixedAddress("https://bank.example"), webhook_key=KEY,
            registry=bank_tools(), database=database, **parts,
        )  # fmt: skip
        record = CallRecord("c-1", house.sink)
        record.known_at_vapi_as("vapi-1")
        record.tool_posts, posts = trio.open_memory_channel[PendingPost](limits.TOOL_QUEUE_ITEMS)
        with house.calls.registered(record), record.tool_posts, posts:
            yield Door(house, record, posts)


@pytest.mark.parametrize("path", ["/tool", "/p/pod/tool"])
async def test_tool_calls_are_answered_when_the_secret_names_a_call_that_is_here(path: str) -> None:
    async with open_door() as door, trio.open_nursery() as nursery:
        nursery.start_soon(door.answer_next, {"a": 1})
        status, reply = await door.ask(tool_calls(), path=path)
    assert status == 200
    assert reply == {"results": [{"toolCallId": "t-1", "name": "display_user_info", "result": '{"a":1}'}]}


@pytest.mark.parametrize("secret", ["", "x", sign(b"another key", bytes(16))])
async def test_request_is_refused_before_its_body_is_read_when_the_secret_is_wrong(secret: str) -> None:
    async with open_door() as door:
        status, _ = await door.ask(b"not even JSON", secret)
        assert door.house.counts == {"webhook_unauthorized": 1}
    assert status == 401


async def test_request_is_not_found_when_it_is_for_another_pod_or_path() -> None:
    async with open_door() as door:
        assert (await door.ask(tool_calls(), path="/p/other/tool"))[0] == 404
        assert (await door.ask(tool_calls(), path="/voice"))[0] == 404


@pytest.mark.parametrize("body", [b"", b"{", {"message": {}}, {"message": {"type": "tool-calls"}}])
async def test_problem_is_told_with_a_200_when_the_body_is_malformed(body: Any) -> None:
    async with open_door() as door:
        status, reply = await door.ask(body)
        assert door.house.counts["webhook_malformed"] == 1
    assert status == 200
    assert reply["results"] == []
    assert reply["error"]


async def test_other_server_messages_get_an_empty_answer() -> None:
    async with open_door() as door:
        assert await door.ask({"message": {"type": "end-of-call-report"}}) == (200, {})


async def test_request_is_answered_with_errors_when_it_names_another_call() -> None:
    async with open_door() as door:
        status, reply = await door.ask(tool_calls(call_id="vapi-2"))
        assert door.house.counts["webhook_wrong_call"] == 1
    assert status == 200
    assert "not of the call" in reply["results"][0]["error"]


async def test_request_waits_at_most_a_second_when_the_call_id_is_not_known_yet() -> None:
    async with open_door() as door, trio.open_nursery() as nursery:
        door.record.vapi_call_id, door.record.vapi_call_known = None, trio.Event()
        nursery.start_soon(door.answer_next, "late")
        began = trio.current_time()
        assert (await door.ask(tool_calls()))[1]["results"][0]["result"] == "late"
        assert trio.current_time() == pytest.approx(began + limits.CALL_ID_WAIT_SECONDS)


async def test_request_is_answered_in_17_seconds_when_nobody_takes_it() -> None:
    async with open_door() as door:
        status, reply = await door.ask(tool_calls())
    assert trio.current_time() == limits.POST_SECONDS
    assert status == 200
    assert reply["results"][0]["error"]


async def test_ledger_answers_what_it_knows_and_nothing_runs_when_the_call_is_not_here_any_more() -> None:
    async with open_door() as door:
        tool = bank_tools().get("display_user_info")
        await execute(door.house.database, tool, call_tag(STRANGER), "known", {"user_id": 3})
        for id_, says in (("known", "Dana Whitfield"), ("unknown", "call is over")):
            status, reply = await door.ask(tool_calls(id_), sign(KEY, STRANGER))
            assert status == 200
            assert says in json.dumps(reply)
        assert (await door.ask(tool_calls(call_id=None), sign(KEY, STRANGER)))[1]["results"][0][
            "error"
        ] == "call is over"


@pytest.mark.parametrize(("id_", "call_id"), [("x" * 201, "vapi-1"), ("t-1", ""), ("a\nb", "vapi-1")])
async def test_request_gets_a_200_when_the_call_is_over_and_an_id_cannot_be_kept(id_: str, call_id: str) -> None:
    async with open_door() as door:
        status, reply = await door.ask(tool_calls(id_, call_id), sign(KEY, STRANGER))
    assert status == 200
    assert reply["results"][0]["toolCallId"] == id_
