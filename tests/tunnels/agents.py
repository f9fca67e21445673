"""The stage of the tunnel tests: fake agents as programs, a webhook door to lead to, and a Tunnel at work.

Real sockets, real processes and real time: a child process knows no virtual clock.
"""

import os
import secrets
import shlex
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import trio

from runtime.http_client import HttpClient, open_http_client
from runtime.setting_values import Bind
from runtime.settings import Settings
from runtime.tunnels.choose import choose_engine
from runtime.tunnels.tunnel import Tunnel

HERE = Path(__file__).parent
PATIENCE_SECONDS = 25.0  # of a test that waits for something; a busy machine is slow
TOKEN = "2fakeTOKEN93481"


def program(folder: Path, name: str, **scenario: str) -> str:
    """A runnable fake: tests/tunnels/fake_{name}.py in this scenario."""
    path = folder / f"{name}-{secrets.token_hex(3)}"
    write_program(path, name, **scenario)
    return str(path)


def write_program(path: Path, name: str, **scenario: str) -> None:
    """What runs there from the next start on."""
    words = [
        f"FAKE_REAL_HOME={os.environ.get('HOME', '/')}",
        *(f"FAKE_{key}={value}" for key, value in scenario.items()),
    ]
    command = shlex.join(["env", *words, sys.executable, "-I", "-S", str(HERE / f"fake_{name}.py")])
    fresh = path.with_suffix(".new")
    fresh.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
    fresh.chmod(0o755)
    fresh.rename(path)


def ngrok_settings(folder: Path, changes: dict[str, Any] | None = None, **scenario: str) -> Settings:
    made: dict[str, Any] = {
        "pod_id": "pod-1", "tunnel": "ngrok", "ngrok_authtoken": TOKEN, "tunnel_probe": "off",
        "ngrok_bin": program(folder, "ngrok", **scenario),
    }  # fmt: skip
    return Settings(**{**made, **(changes or {})})


def cloudflared_settings(folder: Path, changes: dict[str, Any] | None = None, **scenario: str) -> Settings:
    made: dict[str, Any] = {
        "pod_id": "pod-1", "tunnel": "cloudflared", "tunnel_probe": "off",
        "cloudflared_bin": program(folder, "cloudflared", **scenario),
    }  # fmt: skip
    return Settings(**{**made, **(changes or {})})


@attrs.define(eq=False)
class Door:
    """A webhook door of the test's: it shows its nonce, and answers POSTs with what they brought."""

    bind: Bind
    nonce: str = attrs.field(factory=lambda: secrets.token_hex(8))
    status: int = 200
    body: str | None = None
    served: int = 0

    async def serve(self, stream: trio.SocketStream) -> None:
        async with stream:
            head = b""
            while b"\r\n\r\n" not in head:
                more = await stream.receive_some(65_536)
                if not more:
                    return
                head += more
            head, _, brought = head.partition(b"\r\n\r\n")
            want = next((int(h[15:]) for h in head.lower().split(b"\r\n") if h.startswith(b"content-length:")), 0)
            while len(brought) < want:
                brought += await stream.receive_some(65_536)
            self.served += 1
            body = brought if head.startswith(b"POST") else (self.body or f'{{"nonce":"{self.nonce}"}}').encode()
            await stream.send_all(
                b"HTTP/1.1 %d X\r\nlocation: /elsewhere\r\nconnection: close\r\ncontent-length: %d\r\n\r\n"
                % (self.status, len(body)) + body
            )  # fmt: skip


@asynccontextmanager
async def open_door(unix_path: str | None = None) -> AsyncIterator[Door]:
    if unix_path:
        sock = trio.socket.socket(trio.socket.AF_UNIX)
        await sock.bind(unix_path)
        sock.listen(16)
        listeners = [trio.SocketListener(sock)]
        door = Door(Bind(unix_path=unix_path))
    else:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        door = Door(Bind("127.0.0.1", listeners[0].socket.getsockname()[1]))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, door.serve, listeners)
        yield door
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def open_client() -> AsyncIterator[HttpClient]:
    async with open_http_client(ssl.create_default_context()) as http:
        yield http


@attrs.frozen(eq=False)
class Stage:
    tunnel: Tunnel
    door: Door
    http: HttpClient
    actor: trio.CancelScope
    """The tunnel's own, to stop it."""

    async def leads_here(self, url: str) -> bool:
        reply = await self.http.request("POST", f"{url}/tool", seconds=5, json={"hello": 1})
        return reply.status == 200 and reply.json() == {"hello": 1}


@asynccontextmanager
async def open_stage(settings: Settings) -> AsyncIterator[Stage]:
    """A Tunnel at work for the body, as the settings choose it, in front of a door of the test's own."""
    engine = choose_engine(settings)
    assert engine is not None
    with trio.fail_after(PATIENCE_SECONDS):
        async with open_door(settings.webhook_bind.unix_path) as door, open_client() as http:
            tunnel = Tunnel(engine, settings, door.bind, http, door.nonce)
            async with trio.open_nursery() as nursery:
                actor = trio.CancelScope()

                async def run(task_status: Any) -> None:
                    with actor:
                        await tunnel.run(task_status)

                await nursery.start(lambda task_status: run(task_status))
                yield Stage(tunnel, door, http, actor)
                nursery.cancel_scope.cancel()


@attrs.define(eq=False)
class Lost:
    """A call that uses the tunnel. Mutable: `lines`, what it was told of the loss of its address."""

    url: str
    lines: list[str] = attrs.field(factory=list)


@asynccontextmanager
async def lost_lines(stage: Stage) -> AsyncIterator[Lost]:
    """A call for the body."""
    with stage.tunnel.use():
        call = Lost(await stage.tunnel.base_url())
        async with trio.open_nursery() as nursery:

            async def listen() -> None:
                call.lines.append(await stage.tunnel.lost(call.url))

            nursery.start_soon(listen)
            yield call
            nursery.cancel_scope.cancel()


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def processes(wanted: Callable[[Sequence[str], int], bool]) -> list[int]:
    """The living processes of this machine with such words in their command, or such a process group."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
                state, _, group = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
            except OSError:
                continue
            if state != "Z" and wanted(words, int(group)):
                found.append(int(entry.name))
    return found


def of_group(group: int) -> list[int]:
    return processes(lambda _, other: other == group)


def running(program_path: str) -> list[int]:
    """The process groups in which this fake runs, or is being watched."""
    shells = processes(lambda words, _: program_path in words)
    return sorted({os.getpgid(shell) for shell in shells})


def agents(program_path: str) -> list[int]:
    """The fakes themselves: each has taken the place of its wrapper."""
    groups = running(program_path)
    return processes(lambda words, group: group in groups and any(word.endswith(".py") for word in words))


async def until(check: Any, within_seconds: float = 10.0) -> None:
    """Wait for another process to have done something that only looking can tell."""
    with trio.fail_after(within_seconds):
        while not check():
            await trio.sleep(0.02)
