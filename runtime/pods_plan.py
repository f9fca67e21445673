"""What `voice pods` is going to run: decided before anything is started, so that what is missing is one line."""

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import attrs

from runtime import limits
from runtime.errors import SettingsError, StartError
from runtime.gateway import GatewayOptions, print_config
from runtime.gateway.options import PORT_MOST
from runtime.setting_values import LOOPBACK, Bind
from runtime.settings import Settings

SYSTEM_FOLDERS: Final = "/usr/sbin:/usr/local/sbin:/sbin:/opt/homebrew/bin"  # often not on a user's PATH
POD_ID_CHARACTERS: Final = 40
AROUND_IT: Final = """# Kept by `voice pods`, and gone with it. The configuration proper is voice.conf.
worker_processes 1;
pid {folder}/nginx.pid;
{user}
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {folder}/client_body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/voice.conf;
}}
"""


@attrs.frozen
class PodsPlan:
    """`count` pods run. They have numbers from 1 to twice as many: who replaces a pod runs beside it for a while."""

    settings: Settings
    count: int
    listen: str
    """Where nginx listens: port, or host:port."""
    nginx: str
    """The program's path."""

    @property
    def gateway_bind(self) -> Bind:
        """Where nginx listens."""
        host, _, port = self.listen.rpartition(":")
        return Bind("0.0.0.0" if host in ("", "*") else host.strip("[]"), int(port))

    @property
    def gateway_address(self) -> Bind:
        """Where this machine reaches it."""
        return self.gateway_bind.seen_from_here

    @property
    def public_base_url(self) -> str:
        return self.settings.public_base_url or f"http://{self.gateway_address}"

    def pod_id(self, number: int) -> str:
        end = f"-{number}"
        return self.settings.pod_id[-(POD_ID_CHARACTERS - len(end)) :].lstrip("-") + end

    def successor(self, number: int) -> int:
        """Who runs beside a pod while it drains; and after that one comes the first again."""
        return number + self.count if number <= self.count else number - self.count

    def environment(self, number: int, folder: Path, port: int, database_url: str) -> Mapping[str, str]:
        """Of one pod, beside what the user has set."""
        return {
            "POD_ID": self.pod_id(number),
            "PORT": str(port),
            "VOICE_PORT_SHARED": "on",
            "WEBHOOK_BIND": f"unix:{folder}/{self.pod_id(number)}.sock",
            "CONSOLE_BIND": self._console(number),
            "DATABASE_URL": database_url,
            "PUBLIC_BASE_URL": self.public_base_url,
            "VAPI_SLOTS": str(self._slots(number)),
        }

    def _slots(self, number: int) -> int:
        """Its share of the account's. Who replaces a pod has the same."""
        each, left = divmod(self.settings.vapi_slots, self.count)
        return each + ((number - 1) % self.count < left)

    def _console(self, number: int) -> str:
        bind = self.settings.console_bind
        if bind is None:
            return "none"
        return str(attrs.evolve(bind, port=bind.port + number - 1) if bind.port else bind)

    def write_nginx(self, folder: Path) -> list[str]:
        """What is printed for a gateway, and what an nginx of our own needs round it; the command that runs it.

        Raises StartError.
        """
        pods: Any = tuple(self.pod_id(number) for number in range(1, 2 * self.count + 1))  # mypy: tuple is generic
        options = GatewayOptions(
            listen=self.listen, certificate="", sockets=str(folder), pods=pods, shared_database=True
        )
        user = "user root;" if os.geteuid() == 0 else ""  # the pods' folder and sockets are ours alone
        main = folder / "nginx.conf"
        try:
            (folder / "voice.conf").write_text(print_config("nginx", options), encoding="utf-8")
            main.write_text(AROUND_IT.format(folder=folder, user=user), encoding="utf-8")
        except OSError as exc:  # the disk is full
            raise StartError(f"nginx's configuration cannot be written: {exc.strerror or exc}: set TMPDIR") from exc
        return [self.nginx, "-p", str(folder), "-c", str(main), "-e", "stderr", "-g", "daemon off;"]


def plan_pods(settings: Settings, count: int, listen: str, which: Callable[..., str | None] = shutil.which) -> PodsPlan:
    """Raises SettingsError and StartError."""
    settings.require_vapi()
    GatewayOptions(listen=listen)  # says what is wrong with it
    _require_room_for(settings, count)
    if settings.database_url is None and count > limits.PODS_EMBEDDED_MOST:
        raise SettingsError(
            f"DATABASE_URL is not set: the embedded server has connections for {limits.PODS_EMBEDDED_MOST} pods; "
            "start fewer, or set DATABASE_URL"
        )
    nginx = which("nginx") or which("nginx", path=SYSTEM_FOLDERS)
    if nginx is None:
        raise StartError("nginx was not found: install it (Debian's nginx-light has all that is needed)")
    plan = PodsPlan(settings, count, listen, nginx)
    if os.geteuid() == 0 and plan.gateway_bind.host not in LOOPBACK:
        raise SettingsError(
            f"--listen {listen}: nginx would work as root for the whole network: listen on 127.0.0.1, or start "
            "`voice pods` as another user"
        )
    if settings.public_base_url is None and urlsplit(settings.vapi_base_url).hostname not in LOOPBACK:
        raise SettingsError(
            "PUBLIC_BASE_URL is not set, and `voice pods` opens no tunnel: set it to the https address that leads to "
            f"nginx here, http://{plan.gateway_address}"
        )
    return plan


def _require_room_for(settings: Settings, count: int) -> None:
    """A console and a slot for each pod, and a console for each that replaces one. Raises SettingsError."""
    if settings.vapi_slots < count:
        raise SettingsError(
            f"VAPI_SLOTS={settings.vapi_slots} is not one for each of {count} pods: set it to what the Vapi account "
            "allows, or start fewer"
        )
    console = settings.console_bind
    if console is None:
        return
    if console.unix_path:
        raise SettingsError("CONSOLE_BIND is one socket, and each pod has a console of its own: use host:port, or none")
    if console.port and console.port + 2 * count - 1 > PORT_MOST:
        raise SettingsError(
            f"CONSOLE_BIND={console}: {2 * count} ports are needed from there on, for each pod and for each that "
            "replaces one: use a lower one, or none"
        )
