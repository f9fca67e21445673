"""A fleet behind the real HAProxy: by the pod in the path, and by the call's id with the real registrar."""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio

from actors.gateway_registrar import GatewayRegistrar
from runtime.gateway import GatewayOptions
from simulation.background import open_background
from tests.gateway.fleet import (
    PODS,
    Gateway,
    check_doors,
    check_shared_tool,
    free_port,
    open_haproxy,
    open_small_pods,
    short_folder,
    write_certificate,
)
from tests.gateway.real_pod import kill_in_mid_tool, open_real_pod
from tests.postgres import RunSql
from tests.programs import need

APART = GatewayOptions(certificate="", pods=PODS)
TOGETHER = attrs.evolve(APART, shared_database=True)


@pytest.fixture
def haproxy() -> str:
    return need("haproxy", "haproxy")


@pytest.fixture
def folder() -> Iterator[Path]:
    with short_folder() as made:
        yield made


@asynccontextmanager
async def registrar(folder: Path, pod_id: str) -> AsyncIterator[GatewayRegistrar]:
    actor = GatewayRegistrar(f"{folder}/api", pod_id, every_seconds=0.2)
    async with open_background() as nursery:
        await nursery.start(actor.run)
        yield actor


def tool_call(call_id: str, size_bytes: int = 0) -> bytes:
    """The call's id behind a conversation of that size, as Vapi may send it."""
    message = {"type": "tool-calls", "artifact": {"messages": ["x" * size_bytes]}, "call": {"id": call_id}}
    return json.dumps({"message": message}).encode()


async def pod_of(gateway: Gateway, call_id: str, size_bytes: int = 0) -> str:
    """Who answers for the call, or the status when nobody does."""
    answer = await gateway.ask("/tool", tool_call(call_id, size_bytes))
    return str(json.loads(answer.body)["pod"]) if answer.status == 200 else str(answer.status)


async def reaches(gateway: Gateway, call_id: str, pod: str) -> None:
    with trio.fail_after(5):
        while await pod_of(gateway, call_id) != pod:
            await trio.sleep(0.01)


async def test_haproxy_gives_each_tool_to_its_pod_and_strangers_nothing(haproxy: str, folder: Path) -> None:
    async with open_small_pods(folder, PODS[:4]) as pods, open_haproxy(haproxy, folder, APART) as gateway:
        await check_doors(gateway, pods)
        assert (await gateway.ask("/p/pod-5/tool")).status == 503  # it is down
        assert (await gateway.ask("/p/pod-9/tool")).status == 404  # there is none
        await check_shared_tool(gateway, 503)  # no pod has registered such a call


async def test_haproxy_finds_the_pod_by_the_call_when_it_was_registered(haproxy: str, folder: Path) -> None:
    async with (
        open_small_pods(folder) as pods,
        open_haproxy(haproxy, folder, APART) as gateway,
        registrar(folder, "pod-2") as second,
        registrar(folder, "pod-4") as fourth,
    ):
        second.note_live("019a-call")
        fourth.note_live("019b-call")
        await reaches(gateway, "019a-call", "pod-2")
        await reaches(gateway, "019b-call", "pod-4")
        assert await pod_of(gateway, "019b-call", 900_000) == "pod-4"
        assert await pod_of(gateway, "019a-call", 2_000_000) == "pod-2"
        # Each pod has its own database here: another pod must not answer.
        assert await pod_of(gateway, "019c-call") == "503"
        second.note_over("019a-call")
        await reaches(gateway, "019a-call", "503")
        assert {pod_id for pod_id, pod in pods.items() if pod.asked} == {"pod-2", "pod-4"}


async def test_haproxy_gives_an_unknown_call_to_any_live_pod_when_they_share_a_database(
    haproxy: str, folder: Path
) -> None:
    async with open_small_pods(folder, PODS[1:4]) as pods, open_haproxy(haproxy, folder, TOGETHER) as gateway:
        assert {await pod_of(gateway, "new") for _ in range(9)} == set(pods)
        for body in (b"", b"{", b'{"message":{"call":{"id":7}}}', b'{"message":{"call":{"id":"x y; show info"}}}'):
            assert (await gateway.ask("/tool", body)).status == 200
        for pod in pods.values():
            pod.asked.clear()
            pod.mute = True
        assert await pod_of(gateway, "new") == "502"  # and nobody is asked again
        assert [path for pod in pods.values() for path in pod.asked if path == "/tool"] == ["/tool"]


async def test_call_is_registered_again_when_haproxy_has_lost_its_map(haproxy: str, folder: Path) -> None:
    port = free_port()
    async with open_small_pods(folder), registrar(folder, "pod-3") as third:
        third.note_live("before")  # HAProxy is not there yet
        async with open_haproxy(haproxy, folder, APART, port=port) as gateway:
            await reaches(gateway, "before", "pod-3")
        third.note_live("between")
        async with open_haproxy(haproxy, folder, APART, port=port) as gateway:
            await reaches(gateway, "between", "pod-3")
            await reaches(gateway, "before", "pod-3")
        assert third.counts["commands_lost"] > 0
        assert third.counts["refused"] == 0


async def test_haproxy_slows_one_pod_down_and_no_other_when_requests_come_in_a_burst(
    haproxy: str, folder: Path
) -> None:
    slow = attrs.evolve(APART, rate=10)  # 10 * 10 + 100 in 10 s
    async with open_small_pods(folder) as pods, open_haproxy(haproxy, folder, slow) as gateway:
        statuses = await gateway.ask_often("/p/pod-1/tool", 240)
        assert set(statuses) == {200, 429}
        assert statuses[200] == pytest.approx(200, abs=5)
        assert len(pods["pod-1"].asked) == statuses[200]
        assert (await gateway.ask("/p/pod-2/tool")).status == 200


async def test_haproxy_serves_tls_and_only_vapi_when_told_to(haproxy: str, folder: Path) -> None:
    client = write_certificate(folder)
    options = attrs.evolve(APART, certificate=f"{folder}/tls.crt")
    async with open_small_pods(folder, PODS[:1]):
        async with open_haproxy(haproxy, folder, options, client) as gateway:
            assert (await gateway.ask("/p/pod-1/tool")).status == 200
        async with open_haproxy(haproxy, folder, attrs.evolve(options, vapi_addresses_only=True), client) as gateway:
            assert (await gateway.ask("/p/pod-1/tool")).status == 403


async def test_haproxy_answers_at_once_and_asks_nobody_again_when_a_pod_is_killed_in_mid_tool(
    haproxy: str, folder: Path, url: str, run_sql: RunSql
) -> None:
    async with (
        open_small_pods(folder, PODS[1:]) as others,
        open_haproxy(haproxy, folder, APART) as gateway,
        open_real_pod(folder, url, gateway.url) as pod,
        registrar(folder, "pod-1") as first,
    ):
        first.note_live(pod.call.id)
        with trio.fail_after(5):
            while not first.counts["registered"]:
                await trio.sleep(0.01)
        reply = await gateway.ask("/tool", pod.request("display_user_info", user_id=3), secret=pod.secret)
        assert json.loads(json.loads(reply.body)["results"][0]["result"])["full_name"] == "Dana Whitfield"
        answer, seconds = await kill_in_mid_tool(pod, gateway, "/tool", url)
        assert answer.status == 502
        assert seconds < 1
        with trio.fail_after(1):  # it is down, once the kernel has closed the last of what the process held
            while (status := (await gateway.ask("/tool", pod.request("display_user_info", user_id=3))).status) != 503:
                assert status == 502
        assert not any(other.asked for other in others.values())
        assert not await run_sql("SELECT FROM replacements WHERE old_card_id = 5")
