"""`voice serve` under the seccomp filters of deploy/systemd/voice.service: they take nothing away that it needs."""

import ctypes
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest

from simulation.caller import Caller
from simulation.scenario import load_scenario
from simulation.vapi_cloud import VapiCloud, open_vapi_cloud
from tests.house_rules import ROOT
from tests.programs import need
from tests.wire import processes
from tests.wire.confined import LIBRARY
from tests.wire.processes import Bridge, open_bridge
from tests.world import SCENARIO, VOICE

CONFINED = [sys.executable, "-m", "tests.wire.confined", str(ROOT / "deploy/systemd/voice.service")]
REFUSED = {
    "another owner": "import os; os.chown('.', 0, 0)",
    "another priority": "import os; os.setpriority(os.PRIO_PROCESS, 0, 5)",
    "a raw packet": "import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW)",
    "memory to write and to run": "import mmap; mmap.mmap(-1, 4096, prot=7)",
    "a program made in memory": "import ctypes, os; e = ctypes.CDLL(None, use_errno=True).mprotect(0, 4096, 4); "
    "raise OSError(ctypes.get_errno(), 'mprotect') if e else SystemExit",
    "another root": "import os; os.chroot('/')",
}


@pytest.fixture(scope="module")
def systemd() -> str:
    path = need("systemd-analyze", "systemd")
    try:
        ctypes.CDLL(LIBRARY)
    except OSError:
        pytest.skip(f"{LIBRARY} is not installed; without it systemd filters no system calls either")
    return path


@asynccontextmanager
async def open_confined(systemd: str, url: str, folder: Path) -> AsyncIterator[tuple[Bridge, VapiCloud]]:
    scenario = load_scenario(SCENARIO)
    agent = {"agent": scenario.agent, "caller_lines": scenario.caller_lines, "speech": VOICE}
    async with (
        open_vapi_cloud(**agent) as cloud,
        open_bridge(
            VAPI_BASE_URL=cloud.base_url,
            VAPI_API_KEY=cloud.api_key,
            DATABASE_URL=url,
            TOOL_POLICY="open",
            CONSOLE_BIND=f"unix:{folder}/console.sock",
            RECORD_CALLS="on",
            RECORDINGS=str(folder),
        ) as bridge,
    ):
        yield bridge, cloud


def is_filtered(bridge: Bridge) -> bool:
    """Seccomp filters are in force, and no program that it starts can gain rights."""
    status = Path(f"/proc/{bridge.program.process.pid}/status").read_text()
    return "Seccomp:\t2" in status and "NoNewPrivs:\t1" in status


def recordings(folder: Path) -> list[Path]:
    return list(folder.glob("*.wav"))


@pytest.mark.parametrize("what", REFUSED)
def test_confinement_refuses_when_a_program_asks_for(what: str, systemd: str) -> None:
    asked = subprocess.run(
        [*CONFINED, sys.executable, "-c", REFUSED[what]], capture_output=True, text=True, timeout=20, check=False
    )
    assert asked.returncode == 1
    assert "PermissionError" in asked.stderr or "Address family not supported" in asked.stderr, asked.stderr


def test_confinement_lets_a_child_be_started_in_a_session_of_its_own(systemd: str) -> None:
    program = (
        "import subprocess, sys; sys.exit(subprocess.run(['sh', '-c', 'exit 7'], start_new_session=True).returncode)"
    )
    assert subprocess.run([*CONFINED, sys.executable, "-c", program], timeout=20, check=False).returncode == 7


async def test_bridge_holds_a_recorded_call_with_a_tool_and_drains_when_confined(
    systemd: str, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "VOICE", [*CONFINED, *processes.VOICE])
    scenario = load_scenario(SCENARIO)
    one_question = attrs.evolve(scenario, caller=scenario.caller[:1])
    async with open_confined(systemd, url, tmp_path) as (bridge, cloud):
        assert is_filtered(bridge)
        report = await Caller(bridge.voice_url, one_question, speech=VOICE).run()
        assert report.ending == "caller_hung_up"
        (exchange,) = cloud.calls[0].exchanges
        assert [verdict.is_error for verdict in exchange.verdicts] == [False]
        bridge.program.process.send_signal(signal.SIGTERM)
        assert await bridge.program.ends(40) == 0, bridge.program.everything
    assert len(recordings(tmp_path)) == 1
    assert "Traceback" not in bridge.program.everything
    assert '"level": "error"' not in bridge.program.everything
