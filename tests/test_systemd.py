"""deploy/systemd: what systemd says of the units, and that they fit the program. No unit is started here."""

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from runtime import limits
from runtime.doctor.machine import files_finding
from runtime.gateway import GatewayOptions, print_config
from runtime.settings import read_environment, setting_fields
from tests.programs import need
from tests.wire.confined import settings_of

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "deploy/systemd"
UNITS = ("voice.service", "voice@.service")
POD = "pod-1"
EXPOSURE_TENTHS = 20  # 15 by systemd 252; a newer one may look at more
HARDENING = "# What it needs: the network"


@pytest.fixture
def systemd_analyze() -> str:
    return need("systemd-analyze", "systemd")


def lay_out(root: Path, changes: Sequence[tuple[str, str]] = ()) -> None:
    """The units where they belong, and a program that does nothing where the release has `voice`."""
    (root / "etc/systemd/system").mkdir(parents=True)
    for name in UNITS:
        text = (FOLDER / name).read_text()
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        (root / "etc/systemd/system" / name).write_text(text)
    program = root / "opt/voice/current/bin/voice"
    program.parent.mkdir(parents=True)
    shutil.copy("/bin/true", program)


def verified(systemd_analyze: str, root: Path) -> tuple[int, str]:
    names = ("voice.service", f"voice@{POD}.service")
    command = [systemd_analyze, "verify", f"--root={root}", "--man=no", "--recursive-errors=no", *names]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    return done.returncode, done.stdout + done.stderr


def test_systemd_finds_nothing_wrong_with_the_units(systemd_analyze: str, tmp_path: Path) -> None:
    lay_out(tmp_path)
    assert verified(systemd_analyze, tmp_path) == (0, "")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("RestartSec=1", "RestartSecs=1", "RestartSecs"),
        ("@system-service", "@system-servant", "system-servant"),
        ("/bin/voice serve", "/bin/vioce serve", "is not executable"),
    ],
)
def test_systemd_says_so_when_a_unit_is_wrong(
    old: str, new: str, says: str, systemd_analyze: str, tmp_path: Path
) -> None:
    lay_out(tmp_path, [(old, new)])
    assert says in verified(systemd_analyze, tmp_path)[1]


@pytest.mark.parametrize("name", UNITS)
def test_units_expose_little_when_systemd_adds_it_up(name: str, systemd_analyze: str) -> None:
    command = [systemd_analyze, "security", "--offline=true", "--no-pager", f"--threshold={EXPOSURE_TENTHS}"]
    done = subprocess.run([*command, str(FOLDER / name)], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_both_units_are_hardened_alike() -> None:
    one, many = ((FOLDER / name).read_text().partition(HARDENING)[2] for name in UNITS)
    assert one == many
    assert len(one.splitlines()) > 30


@pytest.mark.parametrize("name", UNITS)
def test_every_variable_of_a_unit_is_a_setting_with_a_good_value(name: str) -> None:
    environ = dict(value.replace("%i", POD).split("=", 1) for value in settings_of(FOLDER / name)["Environment"])
    known = {field.metadata["env"] for field in setting_fields()}
    assert set(environ) <= known
    reading = read_environment({"POD_ID": POD, **environ})
    assert not reading.wrong
    assert reading.settings.pod_id == POD
    assert reading.settings.agent_desc.name == "agent_desc.txt"


def test_every_variable_of_the_sample_file_is_a_setting() -> None:
    named = set(settings_of(FOLDER / "voice.env"))
    assert named <= {field.metadata["env"] for field in setting_fields()}
    assert {"VAPI_API_KEY", "DATABASE_URL", "PUBLIC_BASE_URL"} <= named


@pytest.mark.parametrize("name", UNITS)
def test_unit_waits_for_the_longest_call_and_all_that_follows_when_it_is_stopped(name: str) -> None:
    told = settings_of(FOLDER / name)
    drain = float(re.findall(r"DRAIN_SECONDS=(\d+)", " ".join(told["Environment"]))[0])
    assert drain >= limits.LONGEST_CALL_SECONDS
    assert float(told["TimeoutStopSec"][0]) >= drain + limits.PROCESS_END_SECONDS
    assert told["KillMode"] == ["mixed"]


@pytest.mark.parametrize("name", UNITS)
def test_doctor_is_content_with_the_files_that_a_unit_may_open(name: str) -> None:
    files = int(settings_of(FOLDER / name)["LimitNOFILE"][0])
    assert files_finding(10 * limits.MAX_CALLS, True, (files, files)).mark == "ok"


def test_webhook_socket_is_where_nginx_looks_and_the_pod_may_write() -> None:
    told = settings_of(FOLDER / "voice@.service")
    kind, folder, mode, user, group, _ = (FOLDER / "voice.tmpfiles").read_text().splitlines()[-1].split()
    assert (kind, folder, told["ReadWritePaths"]) == ("d", GatewayOptions().sockets, [folder])
    assert f"WEBHOOK_BIND=unix:{folder}/%i.sock" in told["Environment"]
    assert mode == "2750"  # sockets get the folder's group, and that group reaches them
    assert (user, group) == (told["User"][0], "www-data")


def test_user_of_the_units_is_the_one_that_is_made() -> None:
    _, user, *_ = (FOLDER / "voice.sysusers").read_text().splitlines()[-1].split()
    for name in UNITS:
        assert settings_of(FOLDER / name)["User"] == settings_of(FOLDER / name)["Group"] == [user]


def test_readme_puts_the_certificate_where_the_printed_configuration_looks() -> None:
    text, printed = (FOLDER / "README.md").read_text(), print_config("nginx")
    placed = re.findall(r"^install -m 6\d\d \S+ (/etc/voice-gateway/\S+)$", text, re.MULTILINE)
    assert placed == re.findall(r"^ *ssl_certificate(?:_key)? (\S+);$", printed, re.MULTILINE)


def test_readme_names_every_file_and_only_what_exists() -> None:
    text = (FOLDER / "README.md").read_text()
    named = set(re.findall(r"deploy/systemd/([a-z@.]+)", text))
    assert named == {path.name for path in FOLDER.iterdir()} - {"README.md"}
    drain = re.findall(r"DRAIN_SECONDS=(\d)(\d+)", (FOLDER / "voice.service").read_text())[0]
    assert f"{drain[0]},{drain[1]} s" in text
