"""What the printed configurations say, and that the programs take them."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runtime import limits
from runtime.errors import SettingsError
from runtime.gateway import CALLS_MAP, GatewayOptions, print_config
from runtime.webhook_secret import sign
from tests.gateway.fleet import PODS, free_port, short_folder, write_nginx
from tests.gateway.kubernetes import printed_objects
from tests.programs import need

SHARED = GatewayOptions(pods=PODS, shared_database=True)


@pytest.fixture
def nginx() -> str:
    return need("nginx", "nginx-light")


@pytest.fixture
def haproxy() -> str:
    return need("haproxy", "haproxy")


@pytest.fixture
def folder() -> Iterator[Path]:
    with short_folder() as made:
        yield made


def check_nginx(program: str, folder: Path, voice_conf: str) -> None:
    for line in ("ssl_certificate ", "ssl_certificate_key "):  # there is none on this machine
        voice_conf = re.sub(f" *{line}.*\n", "", voice_conf)
    whole = write_nginx(folder, re.sub(r"listen \d+ ssl;", f"listen 127.0.0.1:{free_port()};", voice_conf))
    tried = subprocess.run([program, "-t", "-q", "-c", whole], capture_output=True, text=True, timeout=10)
    assert (tried.returncode, tried.stderr) == (0, "")


@pytest.mark.parametrize("options", [GatewayOptions(), SHARED, GatewayOptions(vapi_addresses_only=True)])
def test_nginx_takes_what_is_printed(nginx: str, folder: Path, options: GatewayOptions) -> None:
    check_nginx(nginx, folder, print_config("nginx", options))


def test_nginx_takes_the_configuration_inside_the_kubernetes_one(nginx: str, folder: Path) -> None:
    options = GatewayOptions(resolver="127.0.0.1", namespace="calls", cluster_domain="kube.test")
    inside = printed_objects(options)["ConfigMap", "voice-gateway"]["data"]["voice.conf"]
    assert "resolver 127.0.0.1 valid=5s;" in inside
    assert "proxy_pass http://$voice_pod.voice.calls.svc.kube.test:8009/p/$voice_pod/tool;" in inside
    check_nginx(nginx, folder, inside)


@pytest.mark.parametrize("shared_database", [False, True])
def test_haproxy_takes_what_is_printed(haproxy: str, folder: Path, shared_database: bool) -> None:
    (folder / CALLS_MAP).touch()
    user = "" if os.geteuid() else "root"
    options = GatewayOptions(
        pods=PODS, shared_database=shared_database, vapi_addresses_only=True, certificate="", haproxy_user=user
    )
    (folder / "haproxy.cfg").write_text(print_config("haproxy", options))
    tried = subprocess.run([haproxy, "-c", "-q", "-f", folder / "haproxy.cfg"], capture_output=True, text=True)
    assert (tried.returncode, tried.stderr) == (0, "")


@pytest.mark.parametrize("kind", ["nginx", "haproxy", "k8s"])
def test_every_gateway_keeps_the_same_rules(kind: Any) -> None:
    text = print_config(kind, SHARED)
    (pattern,) = set(re.findall(r"\^\[0-9a-f\]\S+?\$", text))
    assert re.fullmatch(pattern, sign(b"key", b"sixteen bytes ok"))
    assert not re.search(r"@\{", text)
    assert str(limits.BODY_BYTES) in text
    assert re.search(r"(proxy_read_timeout|timeout server) 25s", text)
    assert limits.TOOL_SECONDS < limits.POST_SECONDS < limits.VAPI_TOOL_TIMEOUT_SECONDS < limits.GATEWAY_READ_SECONDS
    assert "167.150.224.0/23" not in text
    assert max(len(line) for line in text.splitlines()) <= 160


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("server_name", "a; include /etc/passwd"), ("server_name", ""), ("listen", "443 default"), ("listen", "x"),
        ("certificate", "relative.crt"), ("certificate_key", "/a b"), ("sockets", "/run/$x"), ("sockets", "/" * 52),
        ("pods", ("a\n}",)), ("pods", ("POD",)), ("pods", ("a", "a")), ("rate", 0), ("burst", -1), ("replicas", 0),
        ("service", "Voice"), ("namespace", "a-"), ("image", "x y"), ("resolver", "8.8.8.8;"),
        ("cluster_domain", "a b"), ("monitoring", "a: b"), ("vapi_slots", 0), ("drain_seconds", 1_000_000),
        ("runtime_socket", "/run/a\nuser root"), ("haproxy_user", "root\n"),
    ],
)  # fmt: skip
def test_option_that_could_change_the_meaning_is_refused_in_one_line(option: str, value: Any) -> None:
    with pytest.raises(SettingsError, match="--") as refused:
        GatewayOptions(**{option: value})
    assert "\n" not in str(refused.value)


def test_rate_is_fifty_a_second_and_a_hundred_at_once_when_nothing_else_is_said() -> None:
    assert re.search(r"zone=voice_pods:10m rate=50r/s;[^§]+burst=100 nodelay;", print_config("nginx"))
    assert re.search(r"http_req_rate\(2s\)[^§]+gt 200 ", print_config("haproxy", SHARED))


def test_haproxy_wants_to_know_its_pods() -> None:
    with pytest.raises(SettingsError, match="--pod"):
        print_config("haproxy")


def test_nginx_needs_its_pods_when_they_share_a_database() -> None:
    with pytest.raises(SettingsError, match="--pod"):
        print_config("nginx", GatewayOptions(shared_database=True))
