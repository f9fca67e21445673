"""What `voice pods` gives each pod, and to nginx."""

import os
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from runtime.cli import app
from runtime.errors import SettingsError, StartError
from runtime.gateway import GatewayOptions, print_config
from runtime.pods_plan import PodsPlan, plan_pods
from runtime.setting_values import Bind
from runtime.settings import Settings
from tests.gateway.fleet import short_folder

FOLDER = Path("/tmp/pods-x")


def test_command_says_in_one_line_what_is_missing() -> None:
    done = CliRunner().invoke(app, ["pods", "2"], env={"VAPI_API_KEY": "", "POD_ID": "pod"})
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == "voice: VAPI_API_KEY is not set: put the private key of your Vapi account there\n"
    for listen, why in (
        ("here", "port or host:port"),
        ("127.0.0.1:0", "a port from 1 to 65535, or host:port with one"),
        ("127.0.0.1:99999", "a port from 1 to 65535, or host:port with one"),
    ):
        done = CliRunner().invoke(app, ["pods", "2", "--listen", listen], env={"VAPI_API_KEY": "k", "POD_ID": "pod"})
        assert (done.exit_code, done.stderr) == (2, f"voice: --listen '{listen}' is not {why}\n")


def plan(count: int = 2, listen: str = "127.0.0.1:9000", **settings: Any) -> PodsPlan:
    known = {"vapi_api_key": "k", "pod_id": "pod", "vapi_base_url": "http://127.0.0.1:9100", **settings}
    return plan_pods(Settings(**known), count, listen, lambda *_, **__: "/usr/sbin/nginx")


def test_pods_share_the_port_and_the_database_and_nothing_else() -> None:
    given = [plan().environment(number, FOLDER, 8008, "postgresql://h/d") for number in (1, 2, 3, 4)]
    assert given[0] == {
        "POD_ID": "pod-1",
        "PORT": "8008",
        "VOICE_PORT_SHARED": "on",
        "WEBHOOK_BIND": f"unix:{FOLDER}/pod-1.sock",
        "CONSOLE_BIND": "127.0.0.1:8010",
        "DATABASE_URL": "postgresql://h/d",
        "PUBLIC_BASE_URL": "http://127.0.0.1:9000",
        "VAPI_SLOTS": "5",
    }
    assert [one["CONSOLE_BIND"] for one in given] == [f"127.0.0.1:{port}" for port in (8010, 8011, 8012, 8013)]
    assert len({one["WEBHOOK_BIND"] for one in given}) == len({one["POD_ID"] for one in given}) == 4
    for bind, console in ((None, "none"), (Bind("127.0.0.1", 0), "127.0.0.1:0"), (Bind("::1", 7000), "[::1]:7001")):
        assert plan(console_bind=bind).environment(2, FOLDER, 1, "")["CONSOLE_BIND"] == console


def test_pods_have_the_slots_of_the_account_together() -> None:
    of_four = plan(4, vapi_slots=11)
    shares = [int(of_four.environment(number, FOLDER, 1, "")["VAPI_SLOTS"]) for number in range(1, 9)]
    assert shares == [3, 3, 3, 2] * 2
    assert plan(4, vapi_slots=4).environment(4, FOLDER, 1, "")["VAPI_SLOTS"] == "1"
    with pytest.raises(SettingsError, match="VAPI_SLOTS=3 is not one for each of 4 pods"):
        plan(4, vapi_slots=3)


def test_pods_are_refused_when_a_console_would_have_no_port() -> None:
    last = Bind("127.0.0.1", 65_532)
    assert plan(console_bind=last).environment(4, FOLDER, 1, "")["CONSOLE_BIND"] == "127.0.0.1:65535"
    with pytest.raises(SettingsError, match="65532: 6 ports are needed"):
        plan(3, console_bind=last)


@pytest.mark.parametrize("listen", ["9000", "*:9000", "0.0.0.0:9000", "[::]:9000", "192.0.2.1:9000"])
def test_root_listens_on_this_machine_only(monkeypatch: pytest.MonkeyPatch, listen: str) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    for at_home in ("127.0.0.1:9000", "localhost:9000", "[::1]:9000"):
        assert plan(listen=at_home).listen == at_home
    with pytest.raises(SettingsError, match="would work as root for the whole network"):
        plan(listen=listen)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert plan(listen=listen).listen == listen


def test_full_disk_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(StartError) as refused:
        plan().write_nginx(FOLDER)
    assert str(refused.value) == "nginx's configuration cannot be written: No space left on device: set TMPDIR"


def test_pod_that_replaces_another_has_a_name_of_its_own() -> None:
    of_three = plan(3)
    assert [of_three.successor(number) for number in range(1, 7)] == [4, 5, 6, 1, 2, 3]


@pytest.mark.parametrize("pod_id", ["a" * 40, "host-" + "b" * 34, "x"])
def test_pods_ids_are_ones_that_the_gateway_takes(pod_id: str) -> None:
    of_many = plan(64, database_url="postgresql://h/d", pod_id=pod_id, vapi_slots=64)
    ids = [of_many.pod_id(number) for number in range(1, 129)]
    assert len(set(ids)) == 128
    GatewayOptions(pods=ids)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("listen", "seen"),
    [
        ("127.0.0.1:9000", "127.0.0.1:9000"), ("9000", "127.0.0.1:9000"), ("*:9000", "127.0.0.1:9000"),
        ("0.0.0.0:9000", "127.0.0.1:9000"), ("[::1]:9000", "[::1]:9000"),
    ],
)  # fmt: skip
def test_vapi_of_this_machine_is_sent_to_nginx_when_there_is_no_public_address(
    monkeypatch: pytest.MonkeyPatch, listen: str, seen: str
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert plan(listen=listen).public_base_url == f"http://{seen}"
    public = plan(listen=listen, public_base_url="https://hooks.example", vapi_base_url="https://api.vapi.ai")
    assert public.public_base_url == "https://hooks.example"


def test_nginx_is_given_exactly_what_is_printed() -> None:
    with short_folder() as folder:
        _check_what_nginx_is_given(folder)


def _check_what_nginx_is_given(folder: Path) -> None:
    command = plan().write_nginx(folder)
    pods: Any = ("pod-1", "pod-2", "pod-3", "pod-4")
    printed = print_config(
        "nginx",
        GatewayOptions(listen="127.0.0.1:9000", certificate="", sockets=str(folder), pods=pods, shared_database=True),
    )
    assert (folder / "voice.conf").read_text() == printed
    assert command[:5] == ["/usr/sbin/nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")]
    assert f"include {folder}/voice.conf;" in (folder / "nginx.conf").read_text()
