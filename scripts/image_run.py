"""What comes out of an image's steps, run: its commands, and its CMD with a call in it."""

import asyncio
import os
import signal
import socket
import subprocess
import urllib.request
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final
from urllib.error import URLError
from urllib.parse import unquote

import asyncpg
import attrs
import trio

from db.embedded import open_embedded_server
from scripts.image_root import PROJECT, Root, StepFailed, run
from simulation.background import open_background
from simulation.caller import Caller
from simulation.scenario import load_scenario
from simulation.speech import Tones
from simulation.vapi_cloud import VapiCloud, open_vapi_cloud

READY: Final = "voice listening on"
READY_SECONDS: Final = 30.0
CALL_SECONDS: Final = 60.0
STOP_SECONDS: Final = 20.0  # nobody calls any more, so there is nothing to drain
SCENARIO: Final = PROJECT / "scenarios/freeze-card.yaml"
VOICE: Final = Tones(ms_per_word=40)
FROZEN: Final = "SELECT status FROM cards WHERE card_id = 5"
DEFAULT_PORTS: Final = ("8008", "8009", "8010", "8011")
SOCKETS: Final = "/run/postgresql"
# Command, exit code, a word that it prints.
COMMANDS: Final = (
    (("voice", "settings"), 0, "WEBHOOK_BIND = 0.0.0.0:8009"),
    (("voice", "gateway", "print-config", "nginx"), 0, "proxy_pass"),
    (("voice", "gateway", "print-config", "haproxy", "--pod", "pod-1"), 0, "backend"),
    (("voice", "gateway", "print-config", "k8s"), 0, "StatefulSet"),
    (("voice", "openapi"), 0, "openapi"),
    (("voice", "tunnel", "check"), 2, "PUBLIC_BASE_URL is not set"),
    (("voice", "serve"), 2, "VAPI_API_KEY is not set"),
    (("voice", "demo"), 2, "install the sandbox extra"),
    (("voice", "run", "scenarios"), 2, "install the sandbox extra"),
    (("voice", "simulate", "vapi"), 2, "install the sandbox extra"),
)


@attrs.frozen
class Image:
    """A built image. `user`: uid:gid. `health`: empty where it has no HEALTHCHECK."""

    root: Root
    environment: Mapping[str, str]
    folder: str
    user: str
    command: list[str]
    health: list[str]

    def inside(self, command: list[str], environ: Mapping[str, str]) -> list[str]:
        return [*self.root.enter({**self.environment, **environ}, self.folder, self.user), *command]


def look_at_commands(image: Image) -> None:
    """Raises StepFailed for the first that does not do what it should."""
    for command, code, word in COMMANDS:
        inside = image.inside(list(command), {})
        done = subprocess.run(inside, capture_output=True, text=True, check=False, timeout=READY_SECONDS)
        said = done.stdout + done.stderr
        if done.returncode != code or word not in said or "Traceback" in said:
            raise StepFailed(f"{' '.join(command)}: exit code {done.returncode}: {said.strip()[-300:]}")


async def hold_a_call(image: Image, given: Mapping[str, str]) -> list[str]:
    """Start the CMD with these settings, have all there is looked at and called, stop it. What it printed."""
    ports = _free_ports()
    scenario = load_scenario(SCENARIO)
    async with (
        open_embedded_server() as url,
        _database_inside(image, url) as inside_url,
        open_vapi_cloud(agent=scenario.agent, caller_lines=scenario.caller_lines, speech=VOICE) as cloud,
    ):
        needed = {"VAPI_API_KEY": cloud.api_key, "VAPI_BASE_URL": cloud.base_url, "PORT": ports["8008"]}
        set_before = {**image.environment, **given}
        binds = {name: _moved(value, ports) for name, value in set_before.items() if name.endswith("_BIND")}
        binds = {"WEBHOOK_BIND": f"127.0.0.1:{ports['8009']}", "CONSOLE_BIND": f"127.0.0.1:{ports['8010']}"} | binds
        environ = {**given, **needed, **binds, "DATABASE_URL": inside_url}
        moved = attrs.evolve(image, command=[_moved(part, ports) for part in image.command])
        async with _started(moved, environ) as (process, said):
            await _look_at_doors(image, environ, ports)
            url_of_calls = f"ws://127.0.0.1:{ports['8008']}/voice"
            report = await Caller(url_of_calls, scenario, speech=VOICE, max_call_seconds=CALL_SECONDS).run()
            if report.ending != "caller_hung_up" or report.violations:
                raise StepFailed(f"the call ended as {report.ending}: {report.violations}: {said[-1:]}")
            if (status := await trio.to_thread.run_sync(asyncio.run, _asked(url))) != "frozen":
                raise StepFailed(f"the call changed nothing in the database: the card is {status}")
            await _stopped(process, said)
            await _nothing_is_left(image, environ, cloud)
    return said


def _free_ports() -> dict[str, str]:
    """One for each that is fixed in the images: this machine may use those."""
    opened = {port: socket.create_server(("127.0.0.1", 0)) for port in DEFAULT_PORTS}
    found = {port: str(server.getsockname()[1]) for port, server in opened.items()}
    for server in opened.values():
        server.close()
    return found


def _moved(text: str, ports: Mapping[str, str]) -> str:
    host, colon, port = text.rpartition(":")
    return f"{host}:{ports[port]}" if colon and port in ports else text


async def _asked(url: str) -> str:
    connection = await asyncpg.connect(url)
    try:
        return str(await connection.fetchval(FROZEN))
    finally:
        connection.terminate()


@asynccontextmanager
async def _database_inside(image: Image, url: str) -> AsyncIterator[str]:
    """The server's socket lies in a folder that is its user's alone: shown inside, for the image's user to connect."""
    folder = trio.Path(unquote(url.partition("host=")[2]))
    await folder.chmod(0o711)
    await (folder / ".s.PGSQL.5432").chmod(0o777)
    with image.root.with_folder(Path(folder), SOCKETS):
        yield url.partition("host=")[0] + f"host={SOCKETS}"


@asynccontextmanager
async def _started(image: Image, environ: Mapping[str, str]) -> AsyncIterator[tuple[trio.Process, list[str]]]:
    """The CMD as process 1 of a container would be: in a process namespace of its own. Ready when it says so."""
    namespace = ["unshare", "--pid", "--fork", "--kill-child", f"--mount-proc={image.root.path / 'proc'}"]
    command = [*namespace, *image.inside(image.command, environ)]
    process = await trio.lowlevel.open_process(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    said: list[str] = []
    ready = trio.Event()

    async def listen() -> None:
        assert process.stdout is not None
        rest = b""
        async for chunk in process.stdout:
            *lines, rest = (rest + chunk).split(b"\n")
            said.extend(line.decode() for line in lines)
            if any(READY in line for line in said):
                ready.set()
        ready.set()

    async with open_background() as nursery:
        nursery.start_soon(listen)
        try:
            with trio.move_on_after(READY_SECONDS):
                await ready.wait()
            if not any(READY in line for line in said):
                raise StepFailed(f"{image.command} does not get ready: {said[-2:]}")
            yield process, said
        finally:
            process.kill()  # and so the process in the namespace
            with trio.move_on_after(STOP_SECONDS, shield=True):
                await process.wait()


async def _look_at_doors(image: Image, environ: Mapping[str, str], ports: Mapping[str, str]) -> None:
    for port, path in (("8009", "healthz"), ("8010", "readyz"), ("8010", "metrics"), ("8010", "")):
        page = await trio.to_thread.run_sync(_fetched, f"http://127.0.0.1:{ports[port]}/{path}")
        if path == "metrics" and image.health and 'version="not installed"' in page:
            raise StepFailed("/metrics does not know which version runs")
    if image.health:
        await trio.to_thread.run_sync(run, image.inside(image.health, environ))


def _fetched(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=READY_SECONDS) as answer:
            return str(answer.read().decode())
    except URLError as exc:  # what is not 200 is one, too
        raise StepFailed(f"GET {url}: {exc}") from None


async def _stopped(process: trio.Process, said: list[str]) -> None:
    """By SIGTERM to the process itself; `unshare`, whose child it is, ends with its exit code."""
    (child,) = (await trio.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()).split()
    os.kill(int(child), signal.SIGTERM)
    with trio.move_on_after(STOP_SECONDS):
        await process.wait()
    if process.returncode != 0 or any("Traceback" in line for line in said):
        raise StepFailed(f"SIGTERM: exit code {process.returncode} after {STOP_SECONDS:.0f} s at most: {said[-3:]}")


async def _nothing_is_left(image: Image, environ: Mapping[str, str], cloud: VapiCloud) -> None:
    if not all(call.ending.is_set() for call in cloud.calls):
        raise StepFailed("a call at Vapi was not ended")
    if image.health:
        try:
            await trio.to_thread.run_sync(run, image.inside(image.health, environ))
        except StepFailed:
            return
        raise StepFailed("the health check finds a process that has ended healthy")
