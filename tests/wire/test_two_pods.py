"""Two `voice serve` on one database and one WEBHOOK_KEY: each may run the tools of the other's live calls."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import attrs
import httpx
import trio

from runtime.tool_answers import CALL_IS_OVER, WRONG_CALL
from runtime.webhook_secret import SECRET_HEADER
from simulation.scenario import AgentTurn
from simulation.vapi_cloud import VapiCloud, open_vapi_cloud
from tests.postgres import run_sql_at
from tests.wire.processes import START_SECONDS, Bridge, Program, open_bridge, open_program
from tests.wire.sockets import hold_call
from tests.world import VOICE
from tools.policy import NOT_VERIFIED

FLEET_SECRET: Final = "a-secret-for-the-whole-fleet"
DANA: Final = {"last4": "4242", "full_name": "Dana Whitfield", "phone": "+15035550121"}
DANAS_INFO: Final = ("display_user_info", {"user_id": 3})
FREEZE: Final = ("change_card_status", {"card_id": 5, "new_status": "frozen"})
THAW: Final = ("change_card_status", {"card_id": 5, "new_status": "active"})


@attrs.frozen
class Pods:
    a: Bridge
    b: Bridge
    cloud: VapiCloud
    url: str
    settings: dict[str, str]
    client: httpx.AsyncClient

    async def post(self, url: str, id_: str, asked: Any, headers: dict[str, str], call_id: str | None) -> Any:
        """What came of one tool call: the answer to it, or the status when that is not 200."""
        name, arguments = asked
        call = {} if call_id is None else {"call": {"id": call_id}}
        entry = {"id": id_, "type": "function", "function": {"name": name, "arguments": arguments}}
        body = {"message": {"type": "tool-calls", "toolCallList": [entry], **call}}
        reply = await self.client.post(url, json=body, headers=headers)
        if reply.status_code != 200:
            return reply.status_code
        (answer,) = reply.json()["results"]
        assert (answer["toolCallId"], answer["name"]) == (id_, name)
        return answer.get("error") or json.loads(answer["result"])

    async def card_status(self) -> str:
        return str((await run_sql_at(self.url, "SELECT status FROM cards WHERE card_id = 5"))[0]["status"])

    async def calls(self, state: str, count: int) -> None:
        """Until so many calls are live, or over, as far as the database knows."""
        condition = {"live": "over_at IS NULL AND pod_id IS NOT NULL", "over": "over_at IS NOT NULL"}[state]
        with trio.fail_after(10):
            while len(await run_sql_at(self.url, f"SELECT 1 FROM calls WHERE {condition}")) != count:
                await trio.sleep(0.02)


@attrs.frozen
class Call:
    """A call of pod A, and how Vapi asks for its tools, wherever the request ends up."""

    pods: Pods
    id: str
    secret: str

    async def ask(self, where: str, id_: str, asked: Any) -> Any:
        return await self.pods.post(where, id_, asked, {SECRET_HEADER: self.secret}, self.id)


async def listening(program: Program) -> Bridge:
    voice = await program.says("voice listening on ", START_SECONDS)
    webhook = await program.says("webhook listening on ")
    return Bridge(program, voice.split()[-1], f"http://{webhook.split()[-1]}")


@asynccontextmanager
async def two_pods(url: str) -> AsyncIterator[Pods]:
    settings = {"DATABASE_URL": url, "WEBHOOK_KEY": "one-key-for-the-fleet", "WEBHOOK_SECRET": FLEET_SECRET}
    async with (
        open_vapi_cloud(agent=(AgentTurn("Hello."),), speech=VOICE) as cloud,
        httpx.AsyncClient(trust_env=False, verify=False, timeout=20) as client,
    ):
        settings |= {"VAPI_BASE_URL": cloud.base_url, "VAPI_API_KEY": cloud.api_key}
        async with (
            open_program("serve", **settings, POD_ID="pod-a") as a,
            open_program("serve", **settings, POD_ID="pod-b") as b,
        ):
            yield Pods(await listening(a), await listening(b), cloud, url, settings, client)


@asynccontextmanager
async def call_at_a(pods: Pods) -> AsyncIterator[Call]:
    made = len(pods.cloud.calls)
    async with hold_call(pods.a.voice_url):
        with trio.fail_after(20):
            while len(pods.cloud.calls) == made or pods.cloud.calls[-1].status != "in-progress":
                await trio.sleep(0.02)
        at_vapi = pods.cloud.calls[-1]
        yield Call(pods, at_vapi.id, at_vapi.tools["verify_caller"]["server"]["headers"][SECRET_HEADER])


async def test_pod_runs_the_tools_of_anothers_call_once_under_its_callers_session(url: str) -> None:
    async with two_pods(url) as pods:
        a, b = pods.a.webhook_url, pods.b.webhook_url
        async with call_at_a(pods) as call:
            # Refused on either until the caller is verified; and a refusal stays one.
            assert await call.ask(f"{b}/tool", "early", DANAS_INFO) == NOT_VERIFIED
            assert (await call.ask(f"{a}/p/pod-a/tool", "verify", ("verify_caller", DANA)))["verified"] is True
            assert await call.ask(f"{a}/tool", "early", DANAS_INFO) == NOT_VERIFIED

            # Served by B under the session that A has opened, on either path; others' cards are not there.
            assert (await call.ask(f"{b}/tool", "info", DANAS_INFO))["full_name"] == "Dana Whitfield"
            frozen = await call.ask(f"{b}/p/pod-b/tool", "freeze", FREEZE)
            assert frozen["status"] == await pods.card_status() == "frozen"
            foreign = ("change_card_status", {"card_id": 7, "new_status": "frozen"})
            assert await call.ask(f"{b}/tool", "foreign", foreign) == "There is no card 7."

            # Once: whoever is asked again, gives the answer that B gave, and does nothing.
            await call.ask(f"{a}/tool", "thaw", THAW)
            for where in (f"{a}/p/pod-a/tool", f"{a}/tool", f"{b}/tool"):
                assert await call.ask(where, "freeze", FREEZE) == frozen
            assert await pods.card_status() == "active"
            other = await call.ask(
                f"{b}/tool", "freeze", ("change_card_status", {"card_id": 6, "new_status": "frozen"})
            )
            assert "used before with other arguments" in other

            await the_fleets_secret_opens(pods, call)
            await the_call_is_nobody_elses(pods, call)

        await pods.calls("over", 1)
        for where in (f"{b}/tool", f"{b}/p/pod-b/tool", f"{a}/tool"):
            assert await call.ask(where, "freeze", FREEZE) == frozen
            assert await call.ask(where, "late", FREEZE) == CALL_IS_OVER
        for where in (a, b):
            fleet = {SECRET_HEADER: FLEET_SECRET}
            assert await pods.post(f"{where}/tool", "freeze", FREEZE, fleet, call.id) == frozen
            assert await pods.post(f"{where}/tool", "late", FREEZE, fleet, call.id) == CALL_IS_OVER
        assert await pods.card_status() == "active"


async def the_fleets_secret_opens(pods: Pods, call: Call) -> None:
    """`/tool` only, for the call that the body names."""
    for number, headers in enumerate(
        ({SECRET_HEADER: FLEET_SECRET}, {"X-Vapi-Secret": FLEET_SECRET}, {"Authorization": f"Bearer {FLEET_SECRET}"})
    ):
        for bridge, pod in ((pods.a, "pod-a"), (pods.b, "pod-b")):
            id_, path = f"fleet-{number}-{pod}", f"/p/{pod}/tool"
            answer = await pods.post(f"{bridge.webhook_url}/tool", id_, DANAS_INFO, headers, call.id)
            assert answer["full_name"] == "Dana Whitfield"
            assert await pods.post(f"{bridge.webhook_url}{path}", id_ + "-p", DANAS_INFO, headers, call.id) == 401
    wrong = {SECRET_HEADER: FLEET_SECRET + "x"}
    assert await pods.post(f"{pods.b.webhook_url}/tool", "wrong", DANAS_INFO, wrong, call.id) == 401
    fleet = {SECRET_HEADER: FLEET_SECRET}
    for call_id in (None, "no such call"):
        asked = await pods.post(f"{pods.b.webhook_url}/tool", "nobody", DANAS_INFO, fleet, call_id)
        assert asked == CALL_IS_OVER


async def the_call_is_nobody_elses(pods: Pods, call: Call) -> None:
    """A second call at A has a session of its own, and its secret is not the first one's."""
    async with call_at_a(pods) as second:
        for where in (pods.a.webhook_url, pods.b.webhook_url):
            assert await second.ask(f"{where}/tool", "second", DANAS_INFO) == NOT_VERIFIED
            mixed = attrs.evolve(call, id=second.id)
            assert await mixed.ask(f"{where}/tool", "mixed", DANAS_INFO) == WRONG_CALL
    await pods.calls("over", 1)
    await run_sql_at(pods.url, "DELETE FROM calls WHERE over_at IS NOT NULL")


async def test_pod_ends_its_calls_when_it_was_killed_and_starts_again(url: str) -> None:
    async with two_pods(url) as pods:
        a, b = pods.a.webhook_url, pods.b.webhook_url
        async with call_at_a(pods) as call:
            await call.ask(f"{a}/tool", "verify", ("verify_caller", DANA))
            frozen = await call.ask(f"{a}/tool", "freeze", FREEZE)
            await pods.calls("live", 1)
            pods.a.program.process.kill()
            await pods.a.program.ends()
        # The call may well be alive at Vapi: its tools are served by who is there.
        assert await call.ask(f"{b}/tool", "freeze", FREEZE) == frozen
        assert (await call.ask(f"{b}/tool", "info", DANAS_INFO))["full_name"] == "Dana Whitfield"
        async with open_bridge(**pods.settings, POD_ID="pod-a") as again:
            await pods.calls("over", 1)
            for where in (again.webhook_url, b):
                assert await call.ask(f"{where}/tool", "freeze", FREEZE) == frozen
                assert await call.ask(f"{where}/tool", "thaw", THAW) == CALL_IS_OVER
            await again.program.says("calls_left_behind")
        assert await pods.card_status() == "frozen"
