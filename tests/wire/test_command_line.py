"""`voice` as a user runs it: a wrong setting is one clear line and an exit code, never a traceback."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.wire.forks import Forks, open_forks

VOICE = [sys.executable, "-m", "runtime.cli"]
SETTINGS = {
    "VAPI_API_KEY": "k-hunter2",
    "VAPI_BASE_URL": "http://127.0.0.1:9",
    "PORT": "0",
    "WEBHOOK_PORT": "0",
    "CONSOLE_BIND": "none",
    "POD_ID": "pod-1",
    "DATABASE_URL": "postgresql://nobody@127.0.0.1:9/none",
}


def environment(**changes: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG", "TMPDIR")}
    return {**kept, **SETTINGS, **changes}


def run(*arguments: str, **changes: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*VOICE, *arguments], env=environment(**changes), capture_output=True, text=True, timeout=30, check=False
    )


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    with open_forks() as opened:
        yield opened


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"VAPI_API_KEY": ""}, "VAPI_API_KEY"),
        ({"VAPI_BASE_URL": "https://api.vapi.ai"}, "PUBLIC_BASE_URL"),
        ({"VAPI_BASE_URL": "api.vapi.ai"}, "VAPI_BASE_URL"),
        ({"PUBLIC_BASE_URL": "http://example.com"}, "PUBLIC_BASE_URL"),
        ({"PORT": "eighty"}, "PORT"),
        ({"PORT": "99999"}, "PORT"),
        ({"WEBHOOK_BIND": "nowhere"}, "WEBHOOK_BIND"),
        ({"WEBHOOK_BIND": "192.0.2.1:80"}, "WEBHOOK_BIND"),
        ({"VOICE_PROTOCOL": "mp3"}, "VOICE_PROTOCOL"),
        ({"TAIL_MODE": "long"}, "TAIL_MODE"),
        ({"MAX_CALLS": "0"}, "MAX_CALLS"),
        ({"POD_ID": "Pod 1"}, "POD_ID"),
        ({"LOG_LEVEL": "loud"}, "LOG_LEVEL"),
        ({"AGENT_DESC": "missing.txt"}, "missing.txt"),
        ({"AGENT_DESC": os.devnull}, "AGENT_DESC"),
        ({"SSL_CERT_FILE": "missing.pem"}, "SSL_CERT_FILE"),
        ({"DATABASE_URL": "mysql://x"}, "DATABASE_URL"),
        ({"DATABASE_URL": "postgresql://u:p-hunter2@host:port/x"}, "DATABASE_URL"),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else "",
)
def test_serve_says_in_one_line_what_is_wrong_when_a_setting_is(
    changes: dict[str, str], names: str, forks: Forks
) -> None:
    done = forks.voice("serve", environ=environment(**changes))
    assert done.returncode == 2
    said = [line for line in done.stderr.splitlines() if not line.startswith("{")]
    assert len(said) == 1, done.stderr
    assert said[0].startswith("voice: ")
    assert names in said[0]
    assert "hunter2" not in done.stderr


def test_serve_says_so_when_its_port_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run("serve", VOICE_HOST="127.0.0.1", PORT=str(port))
    assert done.returncode == 2
    assert f"cannot listen on 127.0.0.1:{port}: it is taken" in done.stderr


@contextmanager
def serving(**changes: str) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(
        [*VOICE, "serve"], env=environment(**changes), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("voice listening on ws://127.0.0.1:")
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_serve_starts_without_its_database_and_stops_cleanly_when_told(signum: signal.Signals) -> None:
    with serving() as process:
        started = time.monotonic()
        process.send_signal(signum)
        _, errors = process.communicate(timeout=15)
        assert process.returncode == 0, errors
        assert time.monotonic() - started < 10
        assert "Traceback" not in errors


def test_serve_stops_cleanly_when_told_before_its_doors_are_open() -> None:
    """A database that accepts and never answers holds the start up for some seconds."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://x@127.0.0.1:{silent.getsockname()[1]}/x"
        process = subprocess.Popen(
            [*VOICE, "serve"], env=environment(DATABASE_URL=url), stderr=subprocess.PIPE, text=True
        )
        try:
            silent.settimeout(30)
            connected, _ = silent.accept()
            time.sleep(0.5)
            process.send_signal(signal.SIGTERM)
            _, errors = process.communicate(timeout=30)
            connected.close()
        finally:
            process.kill()
            process.wait()
    assert process.returncode == 0, errors
    assert "Traceback" not in errors


def test_settings_shows_each_setting_and_no_secret() -> None:
    done = run("settings", DATABASE_URL="postgresql://u:p-hunter2@h/d")
    assert done.returncode == 0
    for name in ("PORT", "VAPI_API_KEY", "PUBLIC_BASE_URL", "TAIL_MODE", "DATABASE_URL"):
        assert name in done.stdout
    assert "hunter2" not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["demo", "--runs", "/dev/null/runs"], 2, "/dev/null/runs"),
        (["demo", "--scenario", "missing.yaml"], 2, "missing.yaml"),
        (["demo", "--protocol", "mp3"], 2, "--protocol"),
        (["simulate", "caller", "ws://127.0.0.1:9/voice"], 3, ""),
        (["simulate", "caller", "nonsense"], 3, ""),
    ],
)
def test_wrong_use_is_one_line_and_its_exit_code(arguments: list[str], code: int, says: str, forks: Forks) -> None:
    done = forks.voice(*arguments, environ=environment())
    assert done.returncode == code, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_simulated_server_says_so_when_its_port_is_taken(forks: Forks) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for part in ("vapi", "engine"):
            done = forks.voice("simulate", part, "--port", port, environ=environment())
            assert done.returncode == 2
            assert "voice: " in done.stderr
            assert "Traceback" not in done.stderr


BROKEN = """schema: 1
name: greeting-only
policy: open
fixture: bank
caller:
  - say: "Great, thanks, bye."
  - hang_up: true
agent:
  - say: "Thanks for calling Acme Bank, this is Riley — how can I help?"
expect:
  tools: []
  rows:
    - table: cards
      where: {card_id: 5}
      set: {status: STATUS}
  ending: caller_hung_up
"""


@pytest.mark.parametrize(("status", "code"), [("active", 0), ("cancelled", 1)])
def test_demo_ends_with_what_its_checks_say(tmp_path: Path, status: str, code: int) -> None:
    scenario = tmp_path / "scenario.yaml"
    scenario.write_text(BROKEN.replace("STATUS", status), encoding="utf-8")
    (tmp_path / "audio").symlink_to(Path("scenarios/audio").resolve())
    done = run("demo", "--scenario", str(scenario), "--runs", str(tmp_path / "runs"))
    assert done.returncode == code, done.stdout + done.stderr
    (folder,) = (tmp_path / "runs").iterdir()
    assert {path.name for path in folder.iterdir()} == {"call.wav", "timeline.png", "trace.jsonl", "summary.json"}
    assert ("FAILED" in done.stdout) == (code == 1)
