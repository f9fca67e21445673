"""What `voice pods` gives each pod, and to nginx."""

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from runtime.cli import app
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
    done = CliRunner().invoke(app, ["pods", "2", "--listen", "here"], env={"VAPI_API_KEY": "k", "POD_ID": "pod"})
    assert (done.exit_code, done.stderr) == (2, "voice: --listen 'here' is not port or host:port\n")


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
    }
    assert [one["CONSOLE_BIND"] for one in given] == [f"127.0.0.1:{port}" for port in (8010, 8011, 8012, 8013)]
    assert len({one["WEBHOOK_BIND"] for one in given}) == len({one["POD_ID"] for one in given}) == 4
    for bind, console in ((None, "none"), (Bind("127.0.0.1", 0), "127.0.0.1:0"), (Bind("::1", 7000), "[::1]:7001")):
        assert plan(console_bind=bind).environment(2, FOLDER, 1, "")["CONSOLE_BIND"] == console


def test_pod_that_replaces_another_has_a_name_of_its_own() -> None:
    of_three = plan(3)
    assert [of_three.successor(number) for number in range(1, 7)] == [4, 5, 6, 1, 2, 3]


@pytest.mark.parametrize("pod_id", ["a" * 40, "host-" + "b" * 34, "x"])
def test_pods_ids_are_ones_that_the_gateway_takes(pod_id: str) -> None:
    ids = [plan(64, database_url="postgresql://h/d", pod_id=pod_id).pod_id(number) for number in range(1, 129)]
    assert len(set(ids)) == 128
    GatewayOptions(pods=ids)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("listen", "seen"),
    [
        ("127.0.0.1:9000", "127.0.0.1:9000"), ("9000", "127.0.0.1:9000"), ("*:9000", "127.0.0.1:9000"),
        ("0.0.0.0:9000", "127.0.0.1:9000"), ("[::1]:9000", "[::1]:9000"),
    ],
)  # fmt: skip
def test_vapi_of_this_machine_is_sent_to_nginx_when_there_is_no_public_address(listen: str, seen: str) -> None:
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
