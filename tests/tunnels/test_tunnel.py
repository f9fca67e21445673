"""The tunnel at work: started once, by the first call that needs it, and kept up."""

import os
import signal
from pathlib import Path

import pytest
import structlog.testing
import trio
import trio.testing

from runtime.errors import NoAnswer
from runtime.setting_values import Bind
from runtime.tunnels.tunnel import STOPPING
from runtime.tunnels.way_in import FixedAddress, WayIn
from tests.tunnels.agents import (
    TOKEN,
    agents,
    cloudflared_settings,
    free_port,
    lost_lines,
    ngrok_settings,
    open_stage,
    running,
    until,
    write_program,
)


async def test_nothing_is_started_before_a_call_asks_for_the_address(tmp_path: Path) -> None:
    settings = ngrok_settings(tmp_path)
    async with open_stage(settings) as stage:
        await trio.sleep(0.1)
        assert not running(settings.ngrok_bin)
        assert repr(stage.tunnel) == "<tunnel ngrok: idle, users: 0, {}>"


async def test_calls_share_one_agent_when_they_ask_at_once(tmp_path: Path) -> None:
    settings, urls = ngrok_settings(tmp_path), []
    async with open_stage(settings) as stage:

        async def ask() -> None:
            urls.append(await stage.tunnel.base_url())

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(ask)
        urls.append(await stage.tunnel.base_url())
        assert len(set(urls)) == 1
        assert stage.tunnel.counts["starts"] == 1
        assert await stage.leads_here(urls[0])
        assert "ready" in repr(stage.tunnel)
        assert urls[0] in repr(stage.tunnel)
    await until(lambda: not running(settings.ngrok_bin))


async def test_address_works_when_cloudflared_gives_it(tmp_path: Path) -> None:
    async with open_stage(cloudflared_settings(tmp_path)) as stage:
        assert await stage.leads_here(await stage.tunnel.base_url())


async def test_address_works_when_the_door_is_a_unix_socket(tmp_path: Path) -> None:
    bind = Bind(unix_path=str(tmp_path / "door"))
    async with open_stage(cloudflared_settings(tmp_path, {"webhook_bind": bind})) as stage:
        assert await stage.leads_here(await stage.tunnel.base_url())


async def test_address_is_not_given_when_only_the_banner_was_printed(tmp_path: Path) -> None:
    settings = cloudflared_settings(tmp_path, CONNECT_SECONDS="0.6")
    async with open_stage(settings) as stage, trio.open_nursery() as nursery:
        given: list[str] = []

        async def ask() -> None:
            given.append(await stage.tunnel.base_url())

        nursery.start_soon(ask)
        await until(lambda: stage.tunnel.state == "url")
        assert not given
        await until(lambda: bool(given))
        assert stage.tunnel.state == "ready"


async def test_address_is_given_when_cloudflared_says_it_only_on_its_ready_page(tmp_path: Path) -> None:
    async with open_stage(cloudflared_settings(tmp_path, SCENARIO="silent", CONNECT_SECONDS="0.3")) as stage:
        assert await stage.leads_here(await stage.tunnel.base_url())


async def test_named_tunnel_is_at_its_own_address_when_it_has_a_token(tmp_path: Path) -> None:
    changes = {"tunnel_token": TOKEN, "tunnel_url": "https://hooks.example"}
    async with open_stage(cloudflared_settings(tmp_path, changes, UPSTREAM="127.0.0.1:1")) as stage:
        assert await stage.tunnel.base_url() == "https://hooks.example"
        assert stage.tunnel.state == "ready"


async def test_ngrok_is_asked_for_the_address_when_one_is_set(tmp_path: Path) -> None:
    async with open_stage(ngrok_settings(tmp_path, {"tunnel_url": "https://mine.example"})) as stage:
        assert await stage.tunnel.base_url() == "https://mine.example"


@pytest.mark.parametrize("same_address", [True, False])
async def test_agent_is_started_again_when_it_dies_in_use(tmp_path: Path, same_address: bool) -> None:
    settings = ngrok_settings(tmp_path, **({"PORT": str(free_port())} if same_address else {}))
    async with open_stage(settings) as stage, lost_lines(stage) as lost:
        os.kill(agents(settings.ngrok_bin)[0], signal.SIGKILL)
        await until(lambda: stage.tunnel.counts["deaths"] == 1, 1.0)
        again = await stage.tunnel.base_url()
        assert await stage.leads_here(again)
        assert stage.tunnel.counts["restarts"] == 1
        await trio.testing.wait_all_tasks_blocked()
        assert (again == lost.url, bool(lost.lines)) == (same_address, not same_address)
        if lost.lines:
            assert "another" in lost.lines[0]
            assert again not in lost.url


async def test_calls_are_told_when_the_agent_cannot_be_started_again(tmp_path: Path) -> None:
    settings = ngrok_settings(tmp_path)
    async with open_stage(settings) as stage, lost_lines(stage) as lost:
        write_program(Path(settings.ngrok_bin), "ngrok", SCENARIO="107")
        os.kill(agents(settings.ngrok_bin)[0], signal.SIGKILL)
        await until(lambda: lost.lines)
        assert "ERR_NGROK_107" in lost.lines[0]
        with pytest.raises(NoAnswer) as raised:
            await stage.tunnel.base_url()
        assert raised.value.cause == "tunnel_auth"
        why = f"the tunnel is not at {lost.url} any more; the next call gets a new one"
        assert await stage.tunnel.lost(lost.url) == why


async def test_tunnel_gives_up_when_each_agent_dies_soon_after_it_was_ready(tmp_path: Path) -> None:
    settings = ngrok_settings(tmp_path, {"tunnel_attempts": 2}, SCENARIO="die:0.2", PORT=str(free_port()))
    async with open_stage(settings) as stage, lost_lines(stage) as lost:
        await until(lambda: lost.lines)
        assert stage.tunnel.counts == {"starts": 2, "deaths": 2, "restarts": 2, "lost": 2}
        assert "ended with code 1" in lost.lines[0]


async def test_agent_is_not_started_again_when_nobody_uses_it(tmp_path: Path) -> None:
    settings = ngrok_settings(tmp_path)
    async with open_stage(settings) as stage:
        first = await stage.tunnel.base_url()
        os.kill(agents(settings.ngrok_bin)[0], signal.SIGKILL)
        await until(lambda: stage.tunnel.state == "idle" and stage.tunnel.counts["deaths"])
        assert not running(settings.ngrok_bin)
        second = await stage.tunnel.base_url()
        assert await stage.leads_here(second)
        assert second != first


async def test_agent_stays_up_when_its_users_have_left(tmp_path: Path) -> None:
    async with open_stage(ngrok_settings(tmp_path)) as stage:
        with stage.tunnel.use():
            url = await stage.tunnel.base_url()
        await trio.sleep(0.1)
        assert await stage.leads_here(url)
        assert stage.tunnel.state == "ready"


@pytest.mark.parametrize("engine", ["ngrok", "cloudflared"])
async def test_calls_go_on_when_the_agent_loses_its_edge_and_finds_it_again(tmp_path: Path, engine: str) -> None:
    settings = (
        ngrok_settings(tmp_path, SCENARIO="degraded")
        if engine == "ngrok"
        else cloudflared_settings(tmp_path, SCENARIO="lost")
    )
    with structlog.testing.capture_logs() as entries:
        async with open_stage(settings) as stage, lost_lines(stage) as lost:
            await until(lambda: stage.tunnel.counts["degraded"])
            assert await stage.tunnel.base_url() == lost.url
            await until(lambda: stage.tunnel.state == "ready")
            assert not lost.lines
    told = [entry["state"] for entry in entries if entry["event"] == "tunnel_state"]
    assert told == ["url", "ready", "degraded", "ready"]


async def test_agent_is_read_all_the_time_when_it_floods(tmp_path: Path) -> None:
    settings = ngrok_settings(tmp_path, SCENARIO="flood")
    gaps, last = [], trio.current_time()
    async with open_stage(settings) as stage, lost_lines(stage) as lost:
        for _ in range(60):
            await trio.sleep(0.01)
            gaps.append(trio.current_time() - last)
            last = trio.current_time()
        assert await stage.leads_here(lost.url)
    assert sorted(gaps)[len(gaps) * 9 // 10] < 0.1  # nine of ten; the machine is shared


async def test_agent_is_gone_when_the_actor_is_cancelled(tmp_path: Path) -> None:
    settings = ngrok_settings(tmp_path)
    async with open_stage(settings) as stage, lost_lines(stage) as lost:
        stage.actor.cancel()
        await until(lambda: lost.lines)
        assert lost.lines == [STOPPING.line]
        await until(lambda: not running(settings.ngrok_bin))


async def test_calls_that_wait_are_answered_when_the_actor_is_cancelled(tmp_path: Path) -> None:
    async with open_stage(ngrok_settings(tmp_path, SCENARIO="hang")) as stage, trio.open_nursery() as nursery:

        async def ask() -> None:
            with pytest.raises(NoAnswer) as raised:
                await stage.tunnel.base_url()
            assert raised.value.cause == "tunnel_lost"

        nursery.start_soon(ask)
        await until(lambda: stage.tunnel.state == "starting")
        stage.actor.cancel()


async def test_other_calls_get_their_tunnel_when_the_one_that_asked_first_has_left(tmp_path: Path) -> None:
    async with open_stage(cloudflared_settings(tmp_path, CONNECT_SECONDS="0.3")) as stage:
        with trio.move_on_after(0.1):
            await stage.tunnel.base_url()
        assert await stage.leads_here(await stage.tunnel.base_url())
        assert stage.tunnel.counts["starts"] == 1


async def test_no_token_is_logged_when_the_agent_repeats_it(tmp_path: Path) -> None:
    with structlog.testing.capture_logs() as entries:
        async with open_stage(ngrok_settings(tmp_path, SCENARIO="107")) as stage:
            with pytest.raises(NoAnswer) as raised:
                await stage.tunnel.base_url()
            assert TOKEN not in repr(entries) + repr(raised.value) + repr(stage.tunnel)
    assert entries


async def test_fixed_address_is_given_and_never_lost() -> None:
    way_in: WayIn = FixedAddress("https://bank.example")
    with way_in.use():
        assert await way_in.base_url() == "https://bank.example"
        with trio.move_on_after(0.05) as waited:
            await way_in.lost("https://bank.example")
        assert waited.cancelled_caught
