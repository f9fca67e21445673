"""`voice tunnel check`: what it says, and the exit code for each cause."""

import io
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from rich.console import Console

from runtime.setting_values import Bind
from runtime.settings import Settings
from runtime.tunnels.check import EXIT_CODES, check_tunnel
from tests.tunnels.agents import TOKEN, cloudflared_settings, free_port, ngrok_settings, open_door, program, running
from tests.wire.test_command_line import VOICE, environment

QUICK: dict[str, Any] = {
    "tunnel_probe": "warn", "tunnel_attempts": 1, "tunnel_ready_seconds": 1.0, "webhook_bind": Bind("127.0.0.1", 0),
}  # fmt: skip


async def check(settings: Settings) -> tuple[int, str]:
    """The exit code and what was printed."""
    printed = io.StringIO()
    with trio.fail_after(20):
        code = await check_tunnel(settings, Console(file=printed, width=60))
    return code, printed.getvalue()


@pytest.mark.parametrize("mode", ["off", "warn", "require"])
async def test_check_is_content_when_the_tunnel_leads_here(tmp_path: Path, mode: str) -> None:
    settings = ngrok_settings(tmp_path, {**QUICK, "tunnel_probe": mode, "tunnel_ready_seconds": 10.0})
    code, printed = await check(settings)
    assert code == 0
    assert "address: http://127.0.0.1:" in printed
    assert ("leads to this process" in printed) == (mode != "off")
    assert printed.endswith("the tunnel works\n")
    assert not running(settings.ngrok_bin)


async def test_check_is_content_when_the_door_is_a_socket_that_was_left_behind(tmp_path: Path) -> None:
    path = tmp_path / "door"
    with trio.socket.socket(trio.socket.AF_UNIX) as left:
        await left.bind(str(path))
    changes = {**QUICK, "webhook_bind": Bind(unix_path=str(path)), "tunnel_ready_seconds": 10.0}
    code, _ = await check(cloudflared_settings(tmp_path, changes))
    assert code == 0
    assert not path.exists()


async def test_check_tries_the_fixed_address_when_there_is_one() -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    settings = Settings(**{**QUICK, "pod_id": "pod-1", "public_base_url": url, "webhook_bind": Bind("127.0.0.1", port)})
    assert (await check(settings))[0] == 0
    elsewhere = attrs.evolve(settings, public_base_url=f"http://127.0.0.1:{free_port()}")
    assert (await check(elsewhere))[0] == 14


@pytest.mark.parametrize(
    ("scenario", "changes", "code", "says"),
    [
        ("334", {}, 10, "ERR_NGROK_334"),
        ("107", {}, 11, "ERR_NGROK_107"),
        ("quota", {}, 12, "ERR_NGROK_727"),
        ("hang", {}, 13, "not ready"),
        ("die:0", {"tunnel_url": "http://127.0.0.1:9"}, 3, "ended"),
        ("ok", {"ngrok_bin": "/missing/ngrok"}, 2, "NGROK_BIN"),
    ],
)
async def test_exit_code_tells_the_cause_when_the_check_fails(
    tmp_path: Path, scenario: str, changes: dict[str, Any], code: int, says: str
) -> None:
    found, printed = await check(ngrok_settings(tmp_path, {**QUICK, **changes}, SCENARIO=scenario))
    assert (found, says in printed) == (code, True), printed


@pytest.mark.parametrize("somebody_is_there", [True, False])
async def test_exit_code_is_14_when_the_address_leads_elsewhere_or_nowhere(
    tmp_path: Path, somebody_is_there: bool
) -> None:
    async with open_door() as stranger:
        elsewhere = str(stranger.bind) if somebody_is_there else f"127.0.0.1:{free_port()}"
        code, printed = await check(ngrok_settings(tmp_path, QUICK, ELSEWHERE=elsewhere))
    assert code == 14
    assert ("another process" in printed) == somebody_is_there


async def test_exit_code_is_2_when_the_door_is_open_already(tmp_path: Path) -> None:
    async with open_door() as door:
        code, printed = await check(ngrok_settings(tmp_path, {**QUICK, "webhook_bind": door.bind}))
    assert code == 2
    assert "voice serve" in printed
    path = tmp_path / "file"
    path.write_text("precious")
    bind = Bind(unix_path=str(path))
    assert (await check(cloudflared_settings(tmp_path, {**QUICK, "webhook_bind": bind})))[0] == 2
    assert path.read_text() == "precious"
    assert (await check(ngrok_settings(tmp_path, {**QUICK, "ssl_cert_file": tmp_path / "missing"})))[0] == 2


def test_exit_codes_are_documented() -> None:
    text = (Path(__file__).parents[2] / "docs" / "tunnels.md").read_text()
    for cause, code in EXIT_CODES.items():
        if cause != "ok":
            assert f"| {code} | `{cause}` |" in text


def test_check_says_in_one_line_that_it_was_stopped_when_ctrl_c_comes(tmp_path: Path) -> None:
    hangs = program(tmp_path, "ngrok", SCENARIO="hang")
    environ = {"TUNNEL": "ngrok", "NGROK_BIN": hangs, "NGROK_AUTHTOKEN": TOKEN, "WEBHOOK_PORT": "0"}
    check = subprocess.Popen(
        [*VOICE, "tunnel", "check"],
        env=environment(**environ),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert check.stdout is not None
    while "starting ngrok" not in check.stdout.readline():
        assert check.poll() is None
    time.sleep(0.3)
    check.send_signal(signal.SIGINT)
    _, errors = check.communicate(timeout=20)
    assert (check.returncode, errors.splitlines()[-1]) == (130, "voice: stopped")
    assert "Traceback" not in errors
