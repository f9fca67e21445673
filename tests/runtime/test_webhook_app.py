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
from runtime.tool_answers import CALL_IS_OVER, WRONG_CALL
from runtime.tool_posts import PendingPost, ToolAnswer
from runtime.tunnels.way_in import FixedAddress
from runtime.webhook import webhook_app
from runtime.webhook_secret import SECRET_HEADER, call_tag, sign
from tests.actors.dispatching import Reports
from tests.bank import bank_tools
from tests.endings.databases import SlowDatabase
from tests.fakes import FakeHttp
from tools.execution import NOT_REACHABLE, execute

KEY, STRANGER = b"k" * 32, bytes(16)


@attrs.define
class Door:
    house: House
    record: CallRecord
    posts: "trio.MemoryReceiveChannel[PendingPost]"

    async def ask(
        self, body: Any, secret: str | None = None, path: str = "/p/pod/tool", **more: str
    ) -> tuple[int, Any]:
        """`more`: headers, with _ for -."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {SECRET_HEADER: sign(KEY, self.record.call_key) if secret is None else secret}
        headers |= {name.replace("_", "-"): value for name, value in more.items()}
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
async def open_door(database: SlowDatabase | None = None, **environ: str) -> AsyncIterator[Door]:
    """`database` gets a bank in memory behind it; `environ` adds to the settings."""
    settings = read_settings({"POD_ID": "pod", **environ}, state_folder=Path("/dev/null/runs"))
    async with open_memory_database() as bank:
        if database is not None:
            database.inner = bank
        parts: dict[str, Any] = {"sink": lambda _event: None, "database": database or bank}
        parts |= dict.fromkeys(("vapi_calls", "register", "gateway"))
        house = House(
            settings=settings, prompt="x", way_in=FixedAddress("https://bank.example"), webhook_key=KEY,
            registry=bank_tools(), reporter=Reports(FakeHttp(), "http://engine", "sim-1"),  # type: ignore[arg-type]
            **parts,
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


# --- Web pages.


@pytest.mark.parametrize("header", ["Origin", "Sec-Fetch-Site", "origin"])
@pytest.mark.parametrize("path", ["/tool", "/p/pod/tool", "/p/other/tool", "/nowhere"])
async def test_request_is_refused_before_all_else_when_a_browser_sends_it(header: str, path: str) -> None:
    async with open_door(WEBHOOK_SECRET=FLEET) as door:
        for secret in (None, FLEET, ""):
            status, reply = await door.ask(b"not even JSON", secret, path, **{header: "https://evil.example"})
            assert (status, set(reply)) == (403, {"error"})
        assert door.house.counts == {"webhook_cross_site": 3}


async def test_health_is_not_shown_when_a_browser_asks() -> None:
    async with open_door() as door:
        client = webhook_app(door.house).test_client()
        assert (await client.get("/healthz")).status_code == 200
        for headers in ({"Origin": "null"}, {"Sec-Fetch-Site": "none"}):
            assert (await client.get("/healthz", headers=headers)).status_code == 403
        assert (await client.options("/tool", headers={"Origin": "https://evil.example"})).status_code == 403


# --- The fleet's secret.

FLEET = "a-secret-for-the-whole-fleet"
SHOWN = [{"X_Voice_Secret": FLEET}, {"X_Vapi_Secret": FLEET}, {"Authorization": f"Bearer {FLEET}"}]


@pytest.mark.parametrize("headers", SHOWN)
async def test_call_is_found_by_its_id_at_vapi_when_the_fleets_secret_is_shown(headers: dict[str, str]) -> None:
    async with open_door(WEBHOOK_SECRET=FLEET) as door, trio.open_nursery() as nursery:
        nursery.start_soon(door.answer_next, "yes")
        status, reply = await door.ask(tool_calls(), "", "/tool", **headers)
        assert (status, reply["results"][0]["result"]) == (200, "yes")


@pytest.mark.parametrize("headers", SHOWN)
async def test_fleets_secret_is_refused_when_the_path_names_a_pod_or_it_was_never_set(headers: dict[str, str]) -> None:
    async with open_door(WEBHOOK_SECRET=FLEET) as door:
        assert (await door.ask(tool_calls(), "", "/p/pod/tool", **headers))[0] == 401
    async with open_door() as door:
        assert (await door.ask(tool_calls(), "", "/tool", **headers))[0] == 401


@pytest.mark.parametrize("shown", ["", " ", FLEET[:-1], FLEET + "x", FLEET.upper(), "Bearer", "None", "\xe9" * 20])
async def test_request_is_refused_when_the_fleets_secret_is_wrong(shown: str) -> None:
    async with open_door(WEBHOOK_SECRET=FLEET) as door:
        headers = {"X_Vapi_Secret": shown, "Authorization": f"Bearer {shown}"}
        assert (await door.ask(b"not even JSON", shown, "/tool", **headers))[0] == 401
        assert door.house.counts == {"webhook_unauthorized": 1}


async def test_nothing_runs_when_the_fleets_secret_comes_with_no_calls_id_or_with_a_strangers() -> None:
    async with open_door(WEBHOOK_SECRET=FLEET) as door:
        for call_id in (None, "", "vapi-2", "x" * 201, "nul\x00"):
            status, reply = await door.ask(tool_calls(call_id=call_id), FLEET, "/tool")
            assert (status, reply["results"][0]["error"]) == (200, CALL_IS_OVER)


async def test_blank_secret_of_vapis_own_does_not_hide_ours_when_both_are_sent() -> None:
    async with open_door(WEBHOOK_SECRET=FLEET) as door, trio.open_nursery() as nursery:
        nursery.start_soon(door.answer_next, "yes")
        assert (await door.ask(tool_calls(), path="/tool", X_Vapi_Secret=""))[0] == 200


async def test_call_goes_to_its_dispatcher_when_the_fleets_request_overtakes_the_reply_to_post_call() -> None:
    async with open_door(WEBHOOK_SECRET=FLEET) as door, trio.open_nursery() as nursery:
        door.record.vapi_call_id, door.record.vapi_call_known = None, trio.Event()

        async def reply_late() -> None:
            await trio.sleep(0.45)
            door.record.known_at_vapi_as("vapi-1")
            await door.house.database.keep_call(door.record.ledger_id, "vapi-1", "pod")

        nursery.start_soon(reply_late)
        nursery.start_soon(door.answer_next, "by its dispatcher")
        status, reply = await door.ask(tool_calls(), FLEET, "/tool")
        assert (status, reply["results"][0]["result"]) == (200, "by its dispatcher")
        assert door.house.counts["tools_for_other_pods"] == 0


# --- Calls of other pods.

OTHER = bytes(range(16))


async def other_pods_call(door: Door, vapi_call_id: str = "vapi-9") -> str:
    """A live call of another pod on the same database; the secret of its webhooks."""
    await door.house.database.keep_call(call_tag(OTHER), vapi_call_id, "another-pod")
    return sign(KEY, OTHER)


async def test_tool_is_run_here_once_and_told_to_the_engine_once_when_the_call_is_another_pods() -> None:
    async with open_door() as door:
        secret = await other_pods_call(door)
        told = door.house.reporter.told  # type: ignore[attr-defined]
        for _ in range(2):
            status, reply = await door.ask(tool_calls(call_id="vapi-9"), secret)
            assert status == 200
            assert json.loads(reply["results"][0]["result"])["full_name"] == "Dana Whitfield"
        assert [(name, arguments) for name, arguments, _ in told] == [("display_user_info", {"user_id": 3})]
        assert door.house.counts["tools_for_other_pods"] == 2


async def test_nothing_runs_when_the_request_names_another_call_than_the_other_pods() -> None:
    async with open_door() as door:
        secret = await other_pods_call(door)
        for call_id in ("vapi-1", "vapi-8", ""):
            status, reply = await door.ask(tool_calls(call_id=call_id), secret)
            assert (status, reply["results"][0]["error"]) == (200, WRONG_CALL)
        assert door.house.counts["webhook_wrong_call"] == 3
        assert await door.house.database.answers(call_tag(OTHER), ["t-1"]) == {}


async def test_request_waits_for_the_other_pods_news_when_it_comes_before_them() -> None:
    async with open_door() as door, trio.open_nursery() as nursery:

        async def tell_late() -> None:
            await trio.sleep(0.75)
            await other_pods_call(door)

        nursery.start_soon(tell_late)
        _, reply = await door.ask(tool_calls(call_id="vapi-9"), sign(KEY, OTHER))
        assert "result" in reply["results"][0]
        assert trio.current_time() == pytest.approx(0.8)


async def test_nothing_runs_when_a_call_of_this_pod_is_over_and_the_database_has_not_heard_of_it_yet() -> None:
    """Also for a call that this pod's name has left behind: its process was killed, and we have just started."""
    async with open_door() as door:
        await door.house.database.keep_call(call_tag(OTHER), "vapi-9", "pod")
        tool = bank_tools().get("display_user_info")
        await execute(door.house.database, tool, call_tag(OTHER), "known", {"user_id": 3})
        for id_, says in (("known", "Dana Whitfield"), ("new", CALL_IS_OVER)):
            _, reply = await door.ask(tool_calls(id_, "vapi-9"), sign(KEY, OTHER))
            assert says in json.dumps(reply)
        assert list(await door.house.database.answers(call_tag(OTHER), ["known", "new"])) == ["known"]


async def test_nothing_runs_when_the_call_here_is_over_and_its_last_actors_are_still_leaving() -> None:
    async with open_door() as door:
        await door.house.database.keep_call(door.record.ledger_id, "vapi-1", "pod")
        door.record.phase = "over"
        assert (await door.ask(tool_calls()))[1]["results"][0]["error"] == CALL_IS_OVER


async def test_answer_stands_when_the_next_call_of_the_same_request_takes_too_long() -> None:
    slow = SlowDatabase(inner=None)  # type: ignore[arg-type]
    async with open_door(slow) as door:
        secret = await other_pods_call(door)
        body = tool_calls("first", "vapi-9")
        body["message"]["toolCallList"].append(
            {"id": "second", "name": "display_user_info", "arguments": {"user_id": 4}}
        )
        slow.within_seconds = 9.0
        status, reply = await door.ask(body, secret)
    first, second = reply["results"]
    assert (status, "result" in first) == (200, True)
    assert "took too long" in second["error"]
    assert trio.current_time() <= limits.POST_SECONDS


async def test_call_is_not_taken_for_one_that_is_over_when_the_database_is_slow() -> None:
    class Slow(SlowDatabase):
        async def find_call(self, **ids: Any) -> Any:
            await trio.sleep(3 * limits.CALL_ID_WAIT_SECONDS)
            return await self.inner.find_call(**ids)

    async with open_door(Slow(inner=None)) as door:  # type: ignore[arg-type]
        secret = await other_pods_call(door)
        assert "result" in (await door.ask(tool_calls(call_id="vapi-9"), secret))[1]["results"][0]


async def test_request_is_answered_in_17_seconds_when_its_calls_id_was_waited_for_as_well() -> None:
    async with open_door() as door:
        door.record.vapi_call_id, door.record.vapi_call_known = None, trio.Event()
        assert (await door.ask(tool_calls()))[1]["results"][0]["error"]
    assert trio.current_time() == limits.POST_SECONDS


async def test_error_says_so_when_the_database_is_away_and_the_call_is_not_here() -> None:
    away = SlowDatabase(inner=None, away=True)  # type: ignore[arg-type]
    async with open_door(away) as door:
        status, reply = await door.ask(tool_calls(call_id="vapi-9"), sign(KEY, OTHER))
    assert (status, reply["results"][0]["error"]) == (200, NOT_REACHABLE)


async def test_stored_answer_is_given_when_another_id_of_the_same_request_cannot_be_kept() -> None:
    async with open_door() as door:
        await execute(
            door.house.database, bank_tools().get("display_user_info"), call_tag(STRANGER), "known", {"user_id": 3}
        )
        body = tool_calls("known")
        body["message"]["toolCallList"].insert(0, {"id": "a\nb", "name": "display_user_info", "arguments": {}})
        bad, known = (await door.ask(body, sign(KEY, STRANGER)))[1]["results"]
    assert bad["error"] == CALL_IS_OVER
    assert "Dana Whitfield" in known["result"]


async def test_problem_with_the_arguments_is_answered_and_told_when_the_call_is_another_pods() -> None:
    async with open_door() as door:
        secret = await other_pods_call(door)
        body = tool_calls(call_id="vapi-9")
        body["message"]["toolCallList"][0]["arguments"] = "{not JSON"
        (answer,) = (await door.ask(body, secret))[1]["results"]
        assert answer["error"] == "the arguments are not JSON"
        assert door.house.reporter.told == [("display_user_info", {}, {"error": answer["error"]})]  # type: ignore[attr-defined]


async def test_connection_is_closed_with_the_answer_unless_a_secret_was_shown() -> None:
    async with open_door() as door:
        client = webhook_app(door.house).test_client()
        shown = {SECRET_HEADER: sign(KEY, door.record.call_key)}
        kept = await client.post("/tool", data=b'{"message":{"type":"hang"}}', headers=shown)
        assert "Connection" not in kept.headers
        for path in ("/healthz", "/tool", "/nowhere"):
            assert (await client.get(path)).headers["Connection"] == "close"
        assert (await client.post("/tool", data=b"{}")).headers["Connection"] == "close"
