"""`voice run` as its user runs it: real processes, sockets and database, the report files, and the real Vapi's mode."""

import json
import os
import re
import socket
import subprocess
from pathlib import Path

import trio

from simulation.scenario import load_scenario
from simulation.speech import Speech
from simulation.vapi_cloud import open_vapi_cloud
from tests.house_rules import ROOT
from tests.wire.test_command_line import VOICE

SECONDS = 90.0
SCENARIO = ROOT / "scenarios" / "leaves-in-mid-sentence.yaml"


async def voice_run(*arguments: str | Path, **environ: str) -> "subprocess.CompletedProcess[bytes]":
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    with trio.fail_after(SECONDS):
        return await trio.run_process(
            [*VOICE, "run", *map(str, arguments)],
            env={**kept, **environ}, cwd=ROOT, check=False, capture_stdout=True, capture_stderr=True,
        )  # fmt: skip


async def test_conversation_is_held_graded_and_reported_when_all_is_real(tmp_path: Path) -> None:
    files = ("--junit", tmp_path / "j.xml", "--json", tmp_path / "r.json", "--html", tmp_path / "r.html")
    ran = await voice_run(SCENARIO, "--scripted", "--jobs", "1", "--runs", tmp_path, *files)
    told = json.loads((tmp_path / "r.json").read_text())
    assert ran.returncode == 0, ran.stdout.decode()
    assert [one["passed"] for one in told["conversations"]] == [True]
    assert 'errors="0"' in (tmp_path / "j.xml").read_text()
    assert "<audio" in (tmp_path / "r.html").read_text()
    left = {path.name for path in (tmp_path / SCENARIO.stem).iterdir()}
    assert left >= {"call.wav", "timeline.png", "trace.jsonl", "summary.json"}


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


async def test_live_run_is_paid_for_counted_and_over_when_it_ends(tmp_path: Path) -> None:
    # The same code as with the real Vapi: only VAPI_BASE_URL and the way in to the webhook are of this machine.
    scenario = load_scenario(SCENARIO)
    voice = Speech(SCENARIO.parent / "audio")
    async with open_vapi_cloud(agent=scenario.agent, caller_lines=scenario.caller_lines, speech=voice) as cloud:
        port = free_port()
        environ = {
            "VAPI_API_KEY": cloud.api_key,
            "VAPI_BASE_URL": cloud.base_url,
            "WEBHOOK_PORT": port,
            "PUBLIC_BASE_URL": f"http://127.0.0.1:{port}",
        }
        limits = ("--max-calls", "1", "--repeat", "2")
        ran = await voice_run(SCENARIO, "--live", "--yes", *limits, "--runs", tmp_path, **environ)
        told = ran.stdout.decode()
        assert len(cloud.calls) == 1, told
        assert cloud.calls[0].status == "ended"
        assert "1 call(s) at Vapi that cost money, 3 minutes at most" in told
        assert "not held: 1 calls were made, and --max-calls is 1" in told
        assert ran.returncode == 1
        summary = json.loads((tmp_path / f"{SCENARIO.stem}-1" / "summary.json").read_text())
        assert [check["name"] for check in summary["checks"] if check["checked"] and not check["passed"]] == []
        asked = await voice_run(SCENARIO, "--live", "--runs", tmp_path, **environ)
        assert asked.returncode == 2
        assert re.search(r"give --yes", asked.stderr.decode())
        assert len(cloud.calls) == 1
