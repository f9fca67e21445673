"""Which tunnel this process uses, as the settings say and the machine allows. Whatever is missing is one line, now."""

import shutil
from collections.abc import Callable
from pathlib import Path

from runtime.errors import SettingsError
from runtime.settings import Settings
from runtime.tunnels.cloudflared import Cloudflared
from runtime.tunnels.engine import Engine
from runtime.tunnels.ngrok import Ngrok
from runtime.tunnels.ssh import Ssh

Which = Callable[[str], str | None]
NOTHING = (
    "PUBLIC_BASE_URL is not set, and no tunnel can be started: set PUBLIC_BASE_URL (how Vapi reaches the webhook "
    "door), or NGROK_AUTHTOKEN with ngrok installed, or install cloudflared, or set SSH_TUNNEL"
)


def choose_engine(settings: Settings, which: Which = shutil.which) -> Engine | None:
    """The engine for TUNNEL; None when none is needed, because PUBLIC_BASE_URL or a simulated Vapi needs no tunnel.

    `auto` is ssh when SSH_TUNNEL is set, else ngrok with NGROK_AUTHTOKEN, else cloudflared. Raises SettingsError.
    """
    if settings.public_base_url is not None:
        return None
    match settings.tunnel:
        case "none":
            if not settings.vapi_is_simulated:
                raise SettingsError("TUNNEL=none needs PUBLIC_BASE_URL: how Vapi reaches the webhook door")
            return None
        case "ngrok":
            return _ngrok(settings, which)
        case "cloudflared":
            return _cloudflared(settings, which)
        case "ssh":
            return _ssh(settings, which)
    return None if settings.vapi_is_simulated else _auto(settings, which)


def _auto(settings: Settings, which: Which) -> Engine:
    if settings.ssh_tunnel:
        return _ssh(settings, which)
    if settings.ngrok_authtoken and which(settings.ngrok_bin) and not settings.webhook_bind.unix_path:
        return _ngrok(settings, which)
    if settings.tunnel_token or which(settings.cloudflared_bin):
        return _cloudflared(settings, which)
    raise SettingsError(NOTHING)


def _ngrok(settings: Settings, which: Which) -> Ngrok:
    if settings.webhook_bind.unix_path:
        raise SettingsError("WEBHOOK_BIND is a unix socket, which ngrok cannot reach: use host:port, or another TUNNEL")
    program = _program(which, "NGROK_BIN", settings.ngrok_bin, "ngrok, or set its path")
    return Ngrok(program, settings.ngrok_authtoken, settings.tunnel_url)


def _cloudflared(settings: Settings, which: Which) -> Cloudflared:
    program = _program(which, "CLOUDFLARED_BIN", settings.cloudflared_bin, "cloudflared, or set its path")
    if settings.tunnel_token and settings.tunnel_url is None:
        raise SettingsError("TUNNEL_TOKEN needs TUNNEL_URL: the https address that Cloudflare has for this tunnel")
    if settings.tunnel_url and not settings.tunnel_token:
        raise SettingsError("TUNNEL_URL needs TUNNEL_TOKEN: the address of a quick tunnel is random")
    return Cloudflared(program, settings.tunnel_token, settings.tunnel_url)


def _ssh(settings: Settings, which: Which) -> Ssh:
    if settings.ssh_tunnel is None:
        raise SettingsError("TUNNEL=ssh needs SSH_TUNNEL: user@host[:port] of the bastion")
    if settings.tunnel_url is None:
        raise SettingsError("SSH_TUNNEL needs TUNNEL_URL: the https address of the bastion's web server")
    program = _program(which, "SSH_TUNNEL", "ssh", "Debian's openssh-client")
    return Ssh(
        settings.ssh_tunnel,
        settings.tunnel_url,
        settings.ssh_tunnel_socket.replace("{pod}", settings.pod_id),
        _file("SSH_TUNNEL_KEY", settings.ssh_tunnel_key),
        _file("SSH_TUNNEL_KNOWN_HOSTS", settings.ssh_tunnel_known_hosts),
        program,
    )


def _program(which: Which, variable: str, program: str, what: str) -> str:
    path = which(program)
    if path is None:
        raise SettingsError(f"{variable}: the program {program!r} was not found: install {what}")
    return path


def _file(variable: str, path: Path | None) -> Path | None:
    """Absolute, since ssh may look from somewhere else."""
    if path is None:
        return None
    try:
        with path.open("rb"):
            return path.absolute()
    except OSError as exc:
        raise SettingsError(f"{variable}={str(path)!r} cannot be read: {exc.strerror}") from exc
