"""A fleet behind the real nginx, with the configuration that is printed for it."""

import json
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
import trio

from runtime.gateway import GatewayOptions
from tests.gateway.fleet import (
    PODS,
    check_doors,
    check_shared_tool,
    open_nginx,
    open_small_pods,
    short_folder,
    write_certificate,
)
from tests.gateway.real_pod import kill_in_mid_tool, open_real_pod
from tests.postgres import RunSql
from tests.programs import need


@pytest.fixture
def nginx() -> str:
    return need("nginx", "nginx-light")


@pytest.fixture
def folder() -> Iterator[Path]:
    with short_folder() as made:
        yield made


SHARED = GatewayOptions(certificate="", pods=PODS, shared_database=True)


async def test_nginx_gives_each_tool_to_its_pod_and_strangers_nothing(nginx: str, folder: Path) -> None:
    async with open_small_pods(folder) as pods, open_nginx(nginx, folder) as gateway:
        await check_doors(gateway, pods)
        # It has no list of pods: there is no such socket, as there is none when a pod has not started yet.
        assert (await gateway.ask("/p/pod-9/tool")).status == 502
        # Each pod has its own database here, so a URL without a pod leads nowhere.
        assert (await gateway.ask("/tool")).status == 404


async def test_nginx_slows_one_pod_down_and_no_other_when_requests_come_in_a_burst(nginx: str, folder: Path) -> None:
    slow = GatewayOptions(certificate="", rate=5)
    async with open_small_pods(folder) as pods, open_nginx(nginx, folder, slow) as gateway:
        began = trio.current_time()
        statuses = await gateway.ask_often("/p/pod-1/tool", 160)
        earned = 5 * (trio.current_time() - began)
        assert set(statuses) == {200, 429}
        assert 100 <= statuses[200] <= 102 + earned
        assert len(pods["pod-1"].asked) == statuses[200]
        assert (await gateway.ask("/p/pod-2/tool")).status == 200
        assert (await gateway.ask("/p/pod-1/healthz", b"", method="GET")).status == 200


async def test_nginx_tries_another_pod_on_tool_only_while_nothing_was_sent(nginx: str, folder: Path) -> None:
    async with open_small_pods(folder, PODS[2:]) as pods, open_nginx(nginx, folder, SHARED) as gateway:
        await check_shared_tool(gateway, 200)  # two of the five pods do not run
        assert len([path for pod in pods.values() for path in pod.asked]) == 4
        for pod in pods.values():
            pod.asked.clear()
            pod.mute = True
        assert (await gateway.ask("/tool")).status == 502
        assert [path for pod in pods.values() for path in pod.asked] == ["/tool"]


async def test_nginx_serves_tls_and_only_vapi_when_told_to(nginx: str, folder: Path) -> None:
    client = write_certificate(folder)
    options = GatewayOptions(certificate=f"{folder}/tls.crt", certificate_key=f"{folder}/tls.key")
    async with open_small_pods(folder, PODS[:1]):
        async with open_nginx(nginx, folder, options, client) as gateway:
            assert (await gateway.ask("/p/pod-1/tool")).status == 200
        options = attrs.evolve(options, vapi_addresses_only=True)
        async with open_nginx(nginx, folder, options, client) as gateway:
            assert (await gateway.ask("/p/pod-1/tool")).status == 403


async def test_nginx_answers_at_once_and_asks_nobody_again_when_a_pod_is_killed_in_mid_tool(
    nginx: str, folder: Path, url: str, run_sql: RunSql
) -> None:
    async with (
        open_small_pods(folder, PODS[1:]) as others,
        open_nginx(nginx, folder, SHARED) as gateway,
        open_real_pod(folder, url, gateway.url) as pod,
    ):
        reply = await gateway.ask("/p/pod-1/tool", pod.request("display_user_info", user_id=3), secret=pod.secret)
        assert json.loads(json.loads(reply.body)["results"][0]["result"])["full_name"] == "Dana Whitfield"
        assert (await gateway.ask("/p/pod-1/tool", pod.request("display_user_info", user_id=3))).status == 401
        health = await gateway.ask("/p/pod-1/healthz", b"", method="GET")
        assert len(json.loads(health.body)["nonce"]) == 16

        answer, seconds = await kill_in_mid_tool(pod, gateway, "/p/pod-1/tool", url)
        assert answer.status == 502
        assert seconds < 1
        began = trio.current_time()
        assert (await gateway.ask("/p/pod-1/tool")).status == 502  # it is down
        assert trio.current_time() - began < 1
        assert not any(other.asked for other in others.values())
        assert not await run_sql("SELECT FROM replacements WHERE old_card_id = 5")
