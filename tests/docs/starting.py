"""What a process says that does not start: settings, programs, files, ports."""

import socket
from collections.abc import Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
import trio

from db.door import BadDatabaseUrl, check_database_url
from db.embedded import EmbeddedServerError
from runtime import limits, serve
from runtime.doors import open_doors
from runtime.errors import OwnError, SettingsError, StartError
from runtime.listeners import listen
from runtime.setting_values import Bind
from runtime.settings import Settings, read_settings
from runtime.supervisor import open_supervisor
from runtime.tls import trusting
from runtime.tunnels.choose import choose_engine
from tests.docs.pods import pods_lines
from tests.docs.symptom import Symptom, in_virtual_time, said, said_later, seen
from tests.fakes import captured_log

BAD_VALUES: Final = (
    ("PORT", "99999"), ("VAPI_SLOTS", "none"), ("TUNNEL_READY_TIMEOUT", "soon"), ("VAPI_BASE_URL", "vapi"),
    ("PUBLIC_BASE_URL", "http://me.example"), ("WEBHOOK_BIND", "8009"), ("WEBHOOK_BIND", "unix:pods/a"),
    ("CONSOLE_HOSTS", "https://me.example"), ("VOICE_ORIGINS", "me.example"), ("POD_ID", "Pod 1"),
    ("TOOLS", "tools/visits.py"),
    ("SSH_TUNNEL", "bastion.example"),
)  # fmt: skip
BAD_DATABASES: Final = (
    "postgresql://db:port/bank", "mysql://db/bank", "postgresql://db:0/bank", "postgresql://a:b#c@db/bank",
    "postgresql:///bank", "postgresql://db/bank/cards",
)  # fmt: skip
TUNNEL_SETTINGS: Final[tuple[dict[str, Any], ...]] = (
    {"tunnel": "none"},
    {"tunnel": "ngrok", "webhook_bind": Bind(unix_path="/run/pods/a.sock")},
    {"tunnel": "cloudflared", "tunnel_token": "t"},
    {"tunnel": "cloudflared", "tunnel_url": "https://me.example"},
    {"tunnel": "ssh"},
    {"tunnel": "ssh", "ssh_tunnel": "me@bastion"},
)


def starting(folder: Path) -> Iterator[Symptom]:
    yield from _values(folder)
    yield seen(said(SettingsError, Settings().require_vapi))
    for url in BAD_DATABASES:
        yield seen(said(BadDatabaseUrl, partial(check_database_url, url)))
    yield from _tunnels(folder)
    no_file = folder / "no-such-file"
    line = said(StartError, partial(trusting, no_file))
    yield seen(line, file=no_file, why=line.partition("certificates: ")[2])
    yield from in_virtual_time(partial(_doors, folder))
    yield from pods_lines()


def _values(folder: Path) -> Iterator[Symptom]:
    def refused(env: str, value: str) -> str:
        return said(SettingsError, partial(read_settings, {"POD_ID": "pod", env: value}, state_folder=folder))

    for env, value in BAD_VALUES:
        yield seen(refused(env, value), setting=env, value=value)
    for env, value, choices in (("TAIL_MODE", "loud", "burst, paced"), ("VAPI_STATIC_IPS", "yes", "on, off")):
        yield seen(refused(env, value), setting=env, value=value, choices=choices)
    yield seen(refused("VOICE_TOKEN", "secret"), setting="VOICE_TOKEN")


def _tunnels(folder: Path) -> Iterator[Symptom]:
    def refused(which: Any = lambda program: program, **settings: Any) -> str:
        return said(SettingsError, partial(choose_engine, Settings(**settings), which))

    yield seen(refused(lambda _: None))
    for settings in TUNNEL_SETTINGS:
        yield seen(refused(**settings))
    for tunnel, variable in (("ngrok", "NGROK_BIN"), ("cloudflared", "CLOUDFLARED_BIN")):
        yield seen(refused(lambda _: None, tunnel=tunnel), setting=variable, program=tunnel)
    ssh: dict[str, Any] = {"tunnel": "ssh", "ssh_tunnel": "me@bastion", "tunnel_url": "https://me.example"}
    yield seen(refused(lambda _: None, **ssh))
    no_file = folder / "no-such-file"
    line = refused(ssh_tunnel_key=no_file, **ssh)
    yield seen(line, setting="SSH_TUNNEL_KEY", file=no_file, why="No such file or directory")


async def _doors(folder: Path, found: list[Symptom]) -> None:
    async def refused(**settings: Any) -> str:
        known = Settings(vapi_api_key="k", public_base_url="https://me.example", **settings)
        return await said_later(OwnError, lambda: open_doors(known, None, print).__aenter__())  # type: ignore[arg-type]

    no_file, empty = folder / "no-such-file", folder / "empty"
    empty.write_text("\n")
    found.append(seen(await refused(agent_desc=no_file), file=no_file, why="No such file or directory"))
    found.append(seen(await refused(agent_desc=empty), file=empty))
    empty.write_bytes(b"\xff\xfe")
    found.append(seen(await refused(agent_desc=empty), file=empty))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = await said_later(StartError, lambda: listen("PORT", Bind("127.0.0.1", port)))
        found.append(seen(line, door="PORT", address=f"127.0.0.1:{port}"))
    nowhere = Bind(unix_path=str(folder / "nowhere" / "door.sock"))
    line = await said_later(StartError, lambda: listen("WEBHOOK_BIND", nowhere))
    found.append(seen(line, door="WEBHOOK_BIND", address=nowhere, why="No such file or directory"))
    found.append(await _no_server())
    found.append(await _door_that_fails())


async def _no_server() -> Symptom:
    why = "it says why"

    @asynccontextmanager
    async def none(_folder: Path) -> Any:
        raise EmbeddedServerError(why)
        yield

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(serve, "open_embedded_server", none)
        patch.setattr(serve, "embedded_folder", Path)
        line = await said_later(StartError, lambda: serve.open_configured_database(Settings()).__aenter__())
    return seen(line, why=why)


async def _door_that_fails() -> Symptom:
    """A door's own end while the others are opened: told by `open_doors` in one line."""
    from runtime.doors import _not_opened

    class Falls:
        async def run(self, _task_status: Any) -> None:
            raise OSError("it fell")

    log, _ = captured_log()
    async with open_supervisor("process", log) as process:
        await process.start("WebhookDoor", Falls, significant=True)
        await trio.sleep(limits.CHILD_START_SECONDS)
    return seen(str(_not_opened(process)))
