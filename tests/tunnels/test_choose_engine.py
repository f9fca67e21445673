"""Which engine the settings choose, and the line that says what is missing."""

from pathlib import Path
from typing import Any

import pytest

from runtime.errors import SettingsError
from runtime.setting_values import Bind
from runtime.settings import Settings
from runtime.tunnels.choose import choose_engine

SSH: dict[str, Any] = {"ssh_tunnel": "tunnel@bastion", "tunnel_url": "https://hooks.example"}
UNIX = Bind(unix_path="/run/voice.sock")


def chosen(*installed: str, **changes: Any) -> Any:
    settings = Settings(pod_id="pod-1", **changes)
    return choose_engine(settings, lambda program: f"/usr/bin/{program}" if program in installed else None)


@pytest.mark.parametrize(
    ("installed", "changes", "engine"),
    [
        (("ngrok", "cloudflared", "ssh"), {"ngrok_authtoken": "t"}, "ngrok"),
        (("ngrok", "cloudflared", "ssh"), {}, "cloudflared"),
        (("ngrok", "cloudflared"), {"ngrok_authtoken": "t", "webhook_bind": UNIX}, "cloudflared"),
        (("cloudflared",), {"ngrok_authtoken": "t"}, "cloudflared"),
        (("ngrok", "cloudflared", "ssh"), {"ngrok_authtoken": "t", **SSH}, "ssh"),
        (("ngrok", "cloudflared", "ssh"), {"tunnel": "ngrok"}, "ngrok"),
        (("ngrok", "cloudflared", "ssh"), {"tunnel": "ngrok", "vapi_base_url": "http://127.0.0.1:1"}, "ngrok"),
    ],
)
def test_auto_takes_the_engine_when_it_is_set_up(installed: tuple[str, ...], changes: Any, engine: str) -> None:
    assert chosen(*installed, **changes).name == engine


@pytest.mark.parametrize(
    "changes",
    [
        {"public_base_url": "https://x.example"},
        {"public_base_url": "https://x.example", "tunnel": "ngrok"},
        {"vapi_base_url": "http://127.0.0.1:9100"},
        {"vapi_base_url": "http://127.0.0.1:9100", "tunnel": "none"},
    ],
)
def test_no_engine_is_chosen_when_none_is_needed(changes: Any) -> None:
    assert chosen("ngrok", "cloudflared", "ssh", **changes) is None


@pytest.mark.parametrize(
    ("installed", "changes", "names"),
    [
        ((), {}, "PUBLIC_BASE_URL"),
        (("ngrok",), {}, "NGROK_AUTHTOKEN"),
        ((), {"tunnel": "none"}, "PUBLIC_BASE_URL"),
        ((), {"tunnel": "ngrok", "ngrok_authtoken": "t"}, "NGROK_BIN"),
        (("ngrok",), {"tunnel": "ngrok", "ngrok_authtoken": "t", "webhook_bind": UNIX}, "WEBHOOK_BIND"),
        ((), {"tunnel": "cloudflared"}, "CLOUDFLARED_BIN"),
        (("cloudflared",), {"tunnel_token": "t"}, "TUNNEL_URL"),
        ((), {"tunnel_token": "t", "tunnel_url": "https://x.example"}, "CLOUDFLARED_BIN"),
        (("cloudflared",), {"tunnel": "cloudflared", "tunnel_url": "https://x.example"}, "TUNNEL_TOKEN"),
        (("ssh",), {"tunnel": "ssh"}, "SSH_TUNNEL"),
        (("ssh",), {"tunnel": "ssh", "ssh_tunnel": "a@b"}, "TUNNEL_URL"),
        ((), SSH, "ssh"),
        (("ssh",), {**SSH, "ssh_tunnel_key": Path("/missing/key")}, "SSH_TUNNEL_KEY"),
        (("ssh",), {**SSH, "ssh_tunnel_known_hosts": Path("/missing/hosts")}, "SSH_TUNNEL_KNOWN_HOSTS"),
    ],
)
def test_what_is_missing_is_one_line_when_an_engine_cannot_run(installed: Any, changes: Any, names: str) -> None:
    with pytest.raises(SettingsError) as raised:
        chosen(*installed, **changes)
    assert names in str(raised.value)
    assert "\n" not in str(raised.value)


def test_ssh_listens_where_the_pod_is_named_when_the_setting_says_pod() -> None:
    assert chosen("ssh", **SSH).listen == "/run/pods/pod-1.sock"
