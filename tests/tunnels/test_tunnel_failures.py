"""A tunnel that cannot be had: the cause, how often it was tried, and how soon the calls know."""

import os
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from runtime import limits
from runtime.errors import NoAnswer
from runtime.settings import Settings
from runtime.tunnels.choose import choose_engine
from runtime.tunnels.tunnel import Tunnel
from tests.tunnels.agents import (
    Stage,
    cloudflared_settings,
    free_port,
    ngrok_settings,
    open_door,
    open_stage,
    running,
    until,
)


async def refused(stage: Stage) -> NoAnswer:
    with pytest.raises(NoAnswer) as raised:
        await stage.tunnel.base_url()
    assert "\n" not in raised.value.line
    return raised.value


@pytest.mark.parametrize(
    ("changes", "scenario", "cause", "says"),
    [
        ({}, {"SCENARIO": "107"}, "tunnel_auth", "ERR_NGROK_107"),
        ({"ngrok_authtoken": ""}, {}, "tunnel_auth", "ERR_NGROK_4018"),
        ({}, {"SCENARIO": "quota"}, "tunnel_quota", "ERR_NGROK_727"),
    ],
)
async def test_calls_fail_at_once_when_another_start_would_change_nothing(
    tmp_path: Path, changes: dict[str, Any], scenario: dict[str, str], cause: str, says: str
) -> None:
    settings = ngrok_settings(tmp_path, changes, **scenario)
    async with open_stage(settings) as stage:
        answer = await refused(stage)
        assert answer.cause == cause
        assert says in answer.line
        assert stage.tunnel.counts["starts"] == 1
        assert not running(settings.ngrok_bin)


async def test_start_is_repeated_when_the_address_is_still_online_elsewhere(tmp_path: Path) -> None:
    # The session is started first: whoever takes that for ready gives out an address that leads to somebody else.
    settings = ngrok_settings(tmp_path, {"tunnel_attempts": 2, "tunnel_url": "https://mine.example"}, SCENARIO="334")
    async with open_stage(settings) as stage:
        answer = await refused(stage)
        assert (answer.cause, stage.tunnel.counts["starts"]) == ("tunnel_busy", 2)
        assert "ERR_NGROK_334" in answer.line


async def test_call_gets_its_tunnel_when_the_session_is_free_again(tmp_path: Path) -> None:
    first, second = (ngrok_settings(tmp_path, SESSIONS=str(tmp_path)) for _ in range(2))
    async with open_stage(first) as holder, open_stage(second) as waiter, trio.open_nursery() as nursery:
        await holder.tunnel.base_url()

        async def give_up_the_session() -> None:
            await until(lambda: waiter.tunnel.counts["busy"])
            holder.actor.cancel()

        nursery.start_soon(give_up_the_session)
        assert await waiter.leads_here(await waiter.tunnel.base_url())
        assert waiter.tunnel.counts["starts"] > 1


async def test_agent_is_stopped_when_it_is_never_ready(tmp_path: Path) -> None:
    changes = {"tunnel_ready_seconds": 0.4, "tunnel_attempts": 2}
    settings = ngrok_settings(tmp_path, changes, SCENARIO="hang")
    async with open_stage(settings) as stage:
        answer = await refused(stage)
        assert (answer.cause, stage.tunnel.counts["starts"]) == ("tunnel_timeout", 2)
        assert not running(settings.ngrok_bin)


async def test_call_is_told_what_the_agent_waits_for_when_it_is_never_ready(tmp_path: Path) -> None:
    changes = {"tunnel_ready_seconds": 1.5, "tunnel_attempts": 1}
    for settings, says in (
        (ngrok_settings(tmp_path, changes, SCENARIO="offline"), "no such host"),
        (cloudflared_settings(tmp_path, changes, SCENARIO="unconnected"), "no recent network activity"),
    ):
        async with open_stage(settings) as stage:
            answer = await refused(stage)
            assert answer.cause == "tunnel_timeout"
            assert says in answer.line


async def test_calls_wait_no_longer_than_the_deadline_when_no_start_succeeds(tmp_path: Path) -> None:
    changes = {"tunnel_ready_seconds": 5.0, "tunnel_deadline_seconds": 0.6}
    async with open_stage(ngrok_settings(tmp_path, changes, SCENARIO="hang")) as stage:
        begun = trio.current_time()
        assert (await refused(stage)).cause == "tunnel_timeout"
        assert trio.current_time() - begun < 3


async def test_all_that_wait_are_answered_when_the_start_fails_and_the_next_call_tries_again(tmp_path: Path) -> None:
    async with open_stage(ngrok_settings(tmp_path, {"tunnel_attempts": 1}, SCENARIO="334")) as stage:
        answers: list[NoAnswer] = []

        async def ask() -> None:
            answers.append(await refused(stage))

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(ask)
        assert len(answers) == 3
        assert len({id(answer) for answer in answers}) == 3  # an exception is raised once
        assert stage.tunnel.counts["starts"] == 1
        await refused(stage)
        assert stage.tunnel.counts["starts"] == 2


async def test_calls_fail_when_quick_tunnels_are_rate_limited_and_cloudflare_is_left_alone(tmp_path: Path) -> None:
    settings = cloudflared_settings(tmp_path, {"tunnel_deadline_seconds": 30.0}, SCENARIO="429")
    async with open_stage(settings) as stage:
        for _ in range(2):
            answer = await refused(stage)
            assert answer.cause == "tunnel_busy"
            assert "429" in answer.line
        assert stage.tunnel.counts["starts"] == 1  # the second call does not ask before the minute is over


async def test_named_tunnel_fails_when_its_token_is_refused(tmp_path: Path) -> None:
    changes = {"tunnel_token": "hunter2-hunter2", "tunnel_url": "https://hooks.example"}
    async with open_stage(cloudflared_settings(tmp_path, changes, SCENARIO="badtoken")) as stage:
        answer = await refused(stage)
        assert answer.cause == "tunnel_auth"
        assert "TUNNEL_TOKEN" in answer.line


async def test_agent_that_ignores_sigterm_is_killed_when_the_tunnel_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "TUNNEL_STOP_SECONDS", 0.5)
    settings = ngrok_settings(tmp_path, SCENARIO="deaf")
    async with open_stage(settings) as stage:
        await stage.tunnel.base_url()
        assert running(settings.ngrok_bin)
    await until(lambda: not running(settings.ngrok_bin), 0.5)


async def test_calls_fail_when_the_program_is_gone(tmp_path: Path) -> None:
    settings = ngrok_settings(tmp_path)
    async with open_stage(settings) as stage:
        os.unlink(settings.ngrok_bin)
        answer = await refused(stage)
        assert (answer.cause, stage.tunnel.counts["starts"]) == ("tunnel_lost", 1)
        assert "cannot be run" in answer.line


@pytest.mark.parametrize("mode", ["warn", "require"])
async def test_address_is_refused_when_it_leads_to_another_process(tmp_path: Path, mode: str) -> None:
    async with open_door() as stranger:
        settings = ngrok_settings(tmp_path, {"tunnel_probe": mode}, ELSEWHERE=str(stranger.bind))
        async with open_stage(settings) as stage:
            answer = await refused(stage)
            assert answer.cause == "tunnel_lost"
            assert "another process" in answer.line
            assert stage.tunnel.counts["probe_elsewhere"] == 1


@pytest.mark.parametrize(("mode", "given"), [("off", True), ("warn", True), ("require", False)])
async def test_address_that_nobody_answers_is_given_when_the_probe_is_not_required(
    tmp_path: Path, mode: str, given: bool
) -> None:
    changes = {"tunnel_probe": mode, "tunnel_attempts": 1, "tunnel_ready_seconds": 1.0}
    async with open_stage(ngrok_settings(tmp_path, changes, ELSEWHERE=f"127.0.0.1:{free_port()}")) as stage:
        if given:
            assert await stage.tunnel.base_url()
        else:
            assert (await refused(stage)).cause == "tunnel_timeout"
        assert stage.tunnel.counts["probe_failures"] == (mode != "off")


@pytest.mark.parametrize("mode", ["off", "warn", "require"])
async def test_address_is_given_when_it_leads_here(tmp_path: Path, mode: str) -> None:
    async with open_stage(ngrok_settings(tmp_path, {"tunnel_probe": mode})) as stage:
        assert await stage.leads_here(await stage.tunnel.base_url())
        assert not stage.tunnel.counts["probe_failures"]


async def test_death_is_noticed_when_it_comes_while_the_address_is_probed(tmp_path: Path) -> None:
    (silent,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with silent:
        elsewhere = f"127.0.0.1:{silent.socket.getsockname()[1]}"
        changes = {"tunnel_probe": "require", "tunnel_attempts": 1}
        async with open_stage(ngrok_settings(tmp_path, changes, ELSEWHERE=elsewhere, SCENARIO="die:0.3")) as stage:
            begun = trio.current_time()
            assert "ended with code 1" in (await refused(stage)).line
            assert trio.current_time() - begun < 4


async def test_call_is_answered_when_the_actor_does_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "TUNNEL_END_SECONDS", 0.1)
    monkeypatch.setattr(limits, "TUNNEL_PROBE_SECONDS", 0.1)
    settings: Settings = attrs.evolve(ngrok_settings(tmp_path), tunnel_deadline_seconds=0.1)
    engine = choose_engine(settings)
    assert engine is not None
    tunnel = Tunnel(engine, settings, settings.webhook_bind, None, "n")  # type: ignore[arg-type]
    with trio.fail_after(5):
        with pytest.raises(NoAnswer):
            await tunnel.base_url()


async def test_call_is_told_and_the_tunnel_lives_when_this_machine_starts_no_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*_: object, **__: object) -> None:
        await trio.lowlevel.checkpoint()
        raise OSError(24, "Too many open files")

    settings = attrs.evolve(ngrok_settings(tmp_path), tunnel_attempts=1)
    async with open_stage(settings) as stage:
        with monkeypatch.context() as broken:
            broken.setattr(trio.lowlevel, "open_process", full)
            for _ in range(5):
                assert "Too many open files" in (await refused(stage)).line
        assert await stage.leads_here(await stage.tunnel.base_url())


async def test_call_is_told_when_its_time_is_over_before_the_agent_is_there(tmp_path: Path) -> None:
    settings = attrs.evolve(ngrok_settings(tmp_path), tunnel_deadline_seconds=0.001)
    async with open_stage(settings) as stage:
        for _ in range(2):
            assert (await refused(stage)).cause == "tunnel_timeout"
