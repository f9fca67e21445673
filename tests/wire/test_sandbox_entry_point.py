"""The sandbox's entry point, started exactly as .veris/veris.yaml has it, under a real hypercorn."""

import fcntl
import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
import yaml

from simulation.caller import Caller
from simulation.engine import Engine, open_engine
from simulation.scenario import load_scenario
from simulation.vapi_cloud import VapiCloud, open_vapi_cloud
from tests.wire.test_webhook_door import UPGRADE_WITH_BYTES
from tests.world import SCENARIO, VOICE

PORTS = (8008, 8009, 8011)


@pytest.fixture(autouse=True)
def sandbox_ports() -> Iterator[None]:
    """The sandbox's ports are fixed: one test at a time may have them, on the whole machine."""
    with (Path(tempfile.gettempdir()) / f"voice-sandbox-ports-{os.getuid()}").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for port in PORTS:
            try:
                socket.create_server(("127.0.0.1", port)).close()
            except OSError:
                pytest.skip(f"port {port} is taken by another program, and the sandbox's ports are fixed")
        yield


def agent_of_the_sandbox() -> dict[str, Any]:
    return dict(yaml.safe_load(Path(".veris/veris.yaml").read_text())["agent"])


@asynccontextmanager
async def sandbox(url: str, log: Path, **changes: str) -> AsyncIterator[tuple[trio.Process, VapiCloud, Engine]]:
    """The agent's process with the sandbox's environment; what the sandbox itself sets is ours."""
    agent = agent_of_the_sandbox()
    scenario = load_scenario(SCENARIO)
    async with (
        open_engine() as engine,
        open_vapi_cloud(agent=scenario.agent, caller_lines=scenario.caller_lines, speech=VOICE) as cloud,
    ):
        environ = {
            **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
            **{name: value.replace("/agent/", f"{Path.cwd()}/") for name, value in agent["environment"].items()},
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "DATABASE_URL": url,
            "ENGINE_URL": engine.base_url,
            "SIMULATION_ID": "sandbox",
            "VAPI_API_KEY": cloud.api_key,
            "VAPI_BASE_URL": cloud.base_url,
            **changes,
        }
        with log.open("wb") as output:
            process = await trio.lowlevel.open_process(
                shlex.split(agent["entry_point"]), env=environ, stdout=output, stderr=subprocess.STDOUT
            )
        try:
            yield process, cloud, engine
        finally:
            process.kill()
            with trio.move_on_after(5, shield=True):
                await process.wait()


async def healthy(port: int) -> bool:
    async with httpx.AsyncClient(trust_env=False) as client:
        try:
            return (await client.get(f"http://127.0.0.1:{port}/healthz")).status_code == 200
        except httpx.HTTPError:
            return False


async def until_ready(process: trio.Process, log: Path) -> None:
    with trio.fail_after(20):
        while not await healthy(8011):
            assert process.poll() is None, log.read_text()  # noqa: ASYNC240  # the test is over then
            await trio.sleep(0.1)


async def stopped(process: trio.Process, log: Path) -> None:
    with trio.move_on_after(30):
        await process.wait()
    assert process.returncode == 0, log.read_text()  # noqa: ASYNC240  # the test is over then


async def test_sandbox_carries_a_call_survives_the_packet_and_stops_cleanly(url: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with sandbox(url, log) as (process, cloud, engine):
        await until_ready(process, log)
        assert await healthy(8009)
        with trio.fail_after(60):
            report = await Caller("ws://127.0.0.1:8008/voice", load_scenario(SCENARIO), speech=VOICE).run()
        assert report.ending == "caller_hung_up"
        with trio.fail_after(5):
            await cloud.calls[0].ending.wait()
        assert [event.name for event in engine.events("sandbox")] == [
            "display_card_info_by_last4",
            "request_card_replacement",
        ]

        for port in PORTS * 2:
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                await stream.send_all(UPGRADE_WITH_BYTES.replace(b"/tool", b"/voice"))
                with trio.move_on_after(0.3):
                    await stream.receive_some()
        assert await healthy(8009)
        assert await healthy(8011)

        process.send_signal(signal.SIGTERM)
        await stopped(process, log)
    assert "Traceback" not in log.read_text()


# H10: with a lifespan of the framework's, listeners stop before the drain, and a POST in it hangs.
async def test_running_call_is_told_when_the_sandbox_is_stopped_twice(url: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with sandbox(url, log) as (process, cloud, _):
        await until_ready(process, log)
        ended: list[tuple[int | None, str | None]] = []

        async def call() -> None:
            report = await Caller("ws://127.0.0.1:8008/voice", load_scenario(SCENARIO), speech=VOICE).run()
            ended.append((report.close_code, report.close_reason))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(call)
            with trio.fail_after(10):
                while not (cloud.calls and cloud.calls[0].opened_mono):
                    await trio.sleep(0.02)
            process.send_signal(signal.SIGTERM)
            await trio.sleep(0.5)
            assert process.poll() is None  # it drains: the call goes on
            async with httpx.AsyncClient(trust_env=False) as client:  # and tools are answered, who may ask and who not
                assert (await client.post("http://127.0.0.1:8009/tool")).status_code == 401
            assert not ended
            process.send_signal(signal.SIGTERM)
            await stopped(process, log)
        assert ended == [(1001, "shutting_down")]
        assert cloud.calls[0].received_texts == ['{"type":"end-call"}']
    assert "Traceback" not in log.read_text()


# H10: with a lifespan of the framework's, a failed start is a traceback of some sixty lines and exit code 0.
@pytest.mark.parametrize(
    ("changes", "names_it"), [({"VAPI_API_KEY": ""}, "VAPI_API_KEY"), ({"AGENT_DESC": "missing.txt"}, "missing.txt")]
)
async def test_sandbox_says_in_one_line_what_is_wrong_when_it_cannot_start(
    url: str, tmp_path: Path, changes: dict[str, str], names_it: str
) -> None:
    log = tmp_path / "log"
    async with sandbox(url, log, **changes) as (process, _, _):
        with trio.fail_after(20):
            assert await process.wait() == 2, log.read_text()
    said = [line for line in log.read_text().splitlines() if not line.startswith("{")]
    assert len(said) == 1
    assert names_it in said[0]
