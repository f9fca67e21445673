"""Whole calls whose tools come in through a tunnel: a fake agent that really leads to the webhook door."""

import os
import signal
from pathlib import Path

import pytest
import trio

from tests.tunnels.agents import TOKEN, agents, free_port, program, running, until
from tests.wire.sockets import hold_call
from tests.world import open_world


def ngrok(folder: Path, **scenario: str) -> dict[str, str]:
    """Settings of a process that reaches the world by ngrok."""
    return {
        "TUNNEL": "ngrok", "NGROK_AUTHTOKEN": TOKEN, "NGROK_BIN": program(folder, "ngrok", **scenario),
        "TUNNEL_PROBE": "require",
    }  # fmt: skip


async def test_call_is_held_and_its_tools_come_through_the_tunnel(tmp_path: Path) -> None:
    settings = ngrok(tmp_path)
    async with open_world(**settings) as world:
        assert not running(settings["NGROK_BIN"]), "nothing is started before the first call"
        report = await world.call()
        assert [check for check in await world.judge(report) if not check.passed] == []
        (url,) = {tool["server"]["url"] for tool in world.cloud.calls[0].request["assistant"]["model"]["tools"]}
        assert url.endswith("/p/pod-1/tool")
        assert world.doors.webhook not in url
    await until(lambda: not running(settings["NGROK_BIN"]))


@pytest.mark.parametrize(
    ("scenario", "cause"), [("107", "tunnel_auth"), ("334", "tunnel_busy"), ("hang", "tunnel_timeout")]
)
async def test_caller_is_told_the_cause_when_there_is_no_tunnel(tmp_path: Path, scenario: str, cause: str) -> None:
    settings = ngrok(tmp_path, SCENARIO=scenario)
    async with open_world(TUNNEL_ATTEMPTS="1", TUNNEL_READY_TIMEOUT="2", **settings) as world:
        report = await world.call()
        assert (report.close_code, report.close_reason) == (1011, f"callee_no_answer: {cause}")
        assert world.cloud.calls == [], "no call is made whose tools nobody can reach"
        detail = world.event("call-over")[0].data["detail"]
        assert TOKEN not in detail
        assert "\n" not in detail


@pytest.mark.parametrize("stable", [True, False])
async def test_call_outlives_its_tunnels_death_only_when_the_address_stays(tmp_path: Path, stable: bool) -> None:
    settings = ngrok(tmp_path, **({"PORT": str(free_port())} if stable else {}))
    async with open_world(**settings) as world, hold_call(world.doors.voice_url) as call:
        await world.until(lambda: world.event("socket-opened"), 20)
        (agent,) = agents(settings["NGROK_BIN"])
        os.kill(agent, signal.SIGKILL)
        if stable:
            await until(lambda: agents(settings["NGROK_BIN"]) not in ([], [agent]))
            await trio.sleep(1.0)
            assert call.closed is None
        else:
            with trio.fail_after(20):
                await call.over.wait()
            assert call.closed == (1011, "tool_webhook_lost")
            await world.ended(world.cloud.calls[0])
            assert world.cloud.calls[0].received_texts == ['{"type":"end-call"}']
