"""What `voice run`, `demo`, `stress`, `torture`, `simulate` and `gateway` say when they cannot do what was asked."""

import errno
import os
import socket
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import pytest
import trio
from rich.console import Console
from typer.testing import CliRunner

from db.embedded import EmbeddedServerError
from runtime import app as entry_point
from runtime import demo
from runtime.cli import _outside_errors, app
from runtime.errors import OwnError
from runtime.gateway import GatewayOptions, print_config
from runtime.health_check import problem
from runtime.http_client import Reply, Unreachable
from runtime.setting_values import Bind
from sandbox import command
from sandbox.command import _folder, _gate, _write_reports, options_of, run_conversations, scenarios_in
from sandbox.live import Budget, LiveVapi, ended_check
from simulation.variants import VARIANTS
from stress import command as stress_command
from tests.docs.symptom import Symptom, in_virtual_time, said, said_later, seen
from tests.sandbox.test_command import SIMPLE, wishes

TORTURE: Final = ("torture", "--seeds", "1")
SCENARIO: Final = Path("scenarios/replace-card.yaml")
RUN: Final = ("run", str(SCENARIO))
# Words of a command line, and what varies in what is said of them.
LINES: Final[tuple[tuple[tuple[str, ...], dict[str, object]], ...]] = (
    ((*RUN, "--protocol", "opus"), {"option": "--protocol", "value": "opus", "choices": "binary, json"}),
    ((*RUN, "--agent", ""), {"option": "--agent"}),
    ((*RUN, "--agent-command", "run 'it"), {"what_is_wrong": "No closing quotation"}),
    (("torture", "--seeds", "few"), {"value": "few"}),
    (("torture", "--seeds", "9..1"), {"value": "9..1"}),
    (("stress", "--virtual", "--find"), {}),
    (("simulate", "caller", "ws://x/voice", "--engine", "http://e"), {}),
    (
        ("simulate", "caller", "ws://x/voice", "--engine", "ftp-x", "--simulation", "s"),
        {"option": "--engine", "value": "ftp-x"},
    ),
    (("gateway", "print-config", "apache"), {"value": "apache", "choices": "nginx, haproxy, k8s"}),
)  # fmt: skip
# What an installation without the extra does not have, and a command that would import it.
NEEDING: Final[tuple[tuple[str, tuple[str, ...]], ...]] = (
    ("sandbox.command", RUN), ("stress.command", ("stress",)), ("torture.jobs", TORTURE), ("runtime.demo", ("demo",)),
    ("simulation.standalone", ("simulate", "vapi")), ("simulation.standalone", ("simulate", "engine")),
    ("simulation.standalone", ("simulate", "caller", "ws://x/voice")),
)  # fmt: skip
WISHES: Final[tuple[tuple[dict[str, Any], dict[str, object]], ...]] = (
    ({"agent": "ws://x", "live": True}, {"options": "--agent and --live"}),
    ({"agent": "http://x"}, {}),
    ({"agent": "ws://x", "virtual": True}, {"option": "--agent"}),
    ({"live": True, "scripted": True}, {}),
    ({"agent": "ws://x", "vapi": ("filler",)}, {"option": "--agent"}),
    ({"engine_port": 6100}, {}),
    ({"database_url": "postgresql://h/d"}, {}),
    ({"agent": "ws://x", "database_url": "mysql://h/d"}, {"what_is_wrong": ""}),
    ({"vapi": ("sideways",)}, {"value": "sideways", "variants": ", ".join(VARIANTS)}),
    ({"vapi": ("color=red",)}, {"value": "color=red", "knobs": "", "knob": "color"}),
    ({"vapi": ("model_ms=soon",)}, {"value": "model_ms=soon", "knob": "model_ms", "kind": "a number"}),
)  # fmt: skip
GATEWAY: Final[tuple[tuple[dict[str, Any], dict[str, object]], ...]] = (
    ({"server_name": "a b"}, {"option": "--server-name", "value": "a b", "kind": "a host name"}),
    (
        {"listen": "127.0.0.1:0"},
        {"option": "--listen", "value": "127.0.0.1:0", "kind": "a port from 1 to 65535, or host:port with one"},
    ),
    ({"rate": -5}, {"option": "--rate", "value": -5}),
    ({"pods": ("A",)}, {"pod": "A"}),
    ({"pods": ("a", "a")}, {}),
)


def command_errors(folder: Path) -> Iterator[Symptom]:
    yield from _command_lines()
    for given, varies in WISHES:
        line = said(OwnError, partial(options_of, wishes(**given), {}))
        behind = {"what_is_wrong": "--database-url: ", "knobs": "use one of "}
        yield seen(line, **{name: value or line.rpartition(behind[name])[2] for name, value in varies.items()})
    yield from _gateway()
    yield from _files(folder)
    yield from _live()
    yield from _stress(folder)
    yield from _health()
    yield from in_virtual_time(partial(_entry_points, folder))


def _command_lines() -> Iterator[Symptom]:
    for words, varies in LINES:
        yield seen(_told(*words), **varies)
    with pytest.MonkeyPatch.context() as patch:
        for module, words in NEEDING:
            patch.setitem(sys.modules, module, None)
            yield seen(_told(*words), module=module, command=words[0])


def _told(*words: str) -> str:
    """What a command says on standard error, behind its name."""
    ran = CliRunner().invoke(app, words, env={"POD_ID": "pod"})
    assert ran.exit_code in (1, 2, 3), ran.output
    return ran.stderr.removeprefix("voice: ").rstrip("\n")


def _gateway() -> Iterator[Symptom]:
    for options, varies in GATEWAY:
        yield seen(said(OwnError, partial(GatewayOptions, **options)), **varies)
    yield seen(said(OwnError, partial(print_config, "nginx", GatewayOptions(shared_database=True))))
    yield seen(said(OwnError, partial(print_config, "haproxy", GatewayOptions())))


def _files(folder: Path) -> Iterator[Symptom]:
    empty = folder / "no-scenarios"
    empty.mkdir()
    yield seen(said(OwnError, partial(scenarios_in, [empty])), paths=empty)
    for name in ("a", "b"):
        (empty / f"{name}.yaml").write_text(SIMPLE.format("twice"))
    yield seen(said(OwnError, partial(scenarios_in, [empty])), name="twice", files=f"{empty}/a.yaml and {empty}/b.yaml")
    file = folder / "file"
    file.touch()
    verdict: Any = None
    report = file / "report.html"
    console = Console(file=StringIO())
    line = said(OwnError, partial(_write_reports, wishes(html=report), verdict, console))
    yield seen(line, file=report, why=line.partition("written: ")[2])
    line = said(OwnError, partial(_folder, file))
    yield seen(line, folder=file, why="File exists")
    yield from _nobody_there(empty / "a.yaml")


def _nobody_there(scenario: Path) -> Iterator[Symptom]:
    held: Any = SimpleNamespace(outcome="unreachable: refused")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "run_plan", lambda *_: SimpleNamespace(conversations=(held,), passed=False))
        patch.setattr(command, "print_verdict", lambda *_: None)
        told = wishes(scenarios=(scenario,), agent="ws://me.example/voice", runs=scenario.parent)
        line = said(OwnError, partial(run_conversations, told, {}, Console(file=StringIO())))
    yield seen(line, address="ws://me.example/voice")


def _live() -> Iterator[Symptom]:
    """Before a call that costs money, and of a call that was made."""
    live = partial(wishes, live=True, max_minutes=20.0, max_cost=5.0)
    environ = {"VAPI_API_KEY": "k", "POD_ID": "pod"}

    def refused(console: Console, **given: Any) -> str:
        told = live(**given)
        return said(OwnError, partial(_gate, told, options_of(told, environ), 1, console))

    quiet = Console(file=StringIO())
    line = refused(quiet, max_minutes=0.5)
    yield seen(line, why=line.partition("--live: ")[2])
    yield seen(refused(quiet))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sandbox.command.Confirm.ask", lambda *_, **__: False)
        yield seen(refused(Console(file=StringIO(), force_terminal=True)))
    yield from _budgets()
    yield from in_virtual_time(_lives)


def _budgets() -> Iterator[Symptom]:
    yield seen(Budget(9, 9, 9, running="the-scenario").refuses(), scenario="the-scenario")
    yield seen(Budget(7, 99, 99, calls=7).refuses(), calls=7)
    yield seen(Budget(9, 7, 99, minutes=6).refuses(), used="6.0 minutes", next=3, most=7)
    yield seen(Budget(9, 99, 1, dollars=0.9).refuses(), used="$0.90", next="$0.75", most="1")


async def _lives(found: list[Symptom]) -> None:
    async def reply(*_: object, **__: object) -> Reply:
        return Reply(404, b"{}")

    async def no_reply(*_: object, **__: object) -> Reply:
        raise Unreachable("connection refused", sent=False)

    for answer in (reply, no_reply):
        http: Any = SimpleNamespace(request=answer)
        call = await LiveVapi(http, "https://api.vapi.example", "k").outcome("x")
        found.append(seen(call.status, **({"status": 404} if answer is reply else {"why": "connection refused"})))
    found.append(seen(ended_check(None).detail))


def _stress(folder: Path) -> Iterator[Symptom]:
    def asked(**given: Any) -> stress_command.Wishes:
        plain = dict.fromkeys(("per_second", "account_slots", "scenario", "json", "chart"))
        return stress_command.Wishes(**{**plain, "calls": 1, "seconds": 1.0, "virtual": True, "find": False, **given})

    console = Console(file=StringIO())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("stress.meter.available", lambda: False)
        yield seen(said(OwnError, partial(stress_command.stress, asked(virtual=False), console)))
    report = folder / "none" / "report.json"
    yield seen(
        said(OwnError, partial(stress_command.stress, asked(json=report), console)), file=report, folder=report.parent
    )
    scenario = folder / "plain.yaml"
    scenario.write_text(SIMPLE.format("plain"))
    yield seen(said(OwnError, partial(stress_command.stress, asked(scenario=scenario), console)), scenario="plain")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trio, "run", _no_server)
        line = said(OwnError, partial(stress_command.stress, asked(virtual=False), console))
    yield seen(line, why="it says why")


def _health() -> Iterator[Symptom]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        at = Bind(port=server.getsockname()[1])
        with ThreadPoolExecutor(1) as other:
            asked = other.submit(problem, at)
            door, _ = server.accept()
            with door:
                door.sendall(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
                yield seen(asked.result(), address=at, status=404)
    yield seen(problem(at), address=at, why=ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED)))


def _no_server(*_: object) -> None:
    raise EmbeddedServerError("it says why")


async def _entry_points(folder: Path, found: list[Symptom]) -> None:
    """`voice demo`, the parts of `voice simulate`, and the sandbox's own way to start the doors."""

    @asynccontextmanager
    async def fall(*_: object, **__: object) -> Any:
        with trio.CancelScope() as scope:
            scope.cancel()
            yield SimpleNamespace(voice_url="ws://x/voice")

    async def hold(_doors: object) -> None:
        await trio.sleep(60)

    async def stage(*_: object) -> Any:
        return SimpleNamespace(hold=hold, database=None)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "open_doors", fall)
        patch.setattr(demo, "_open_stage", stage)
        patch.setattr(demo, "_settings", lambda _: None)
        options = demo.DemoOptions(SCENARIO, "binary", "burst", folder)
        found.append(seen(await said_later(OwnError, lambda: demo.demo(options, Console(file=StringIO())))))

    async def taken() -> None:
        raise OSError(errno.EADDRINUSE, "Address already in use")

    async def no_file() -> None:
        raise FileNotFoundError(2, "No such file or directory", "engine.jsonl")

    found.append(seen(await said_later(OwnError, lambda: _outside_errors(taken))))
    line = await said_later(OwnError, lambda: _outside_errors(no_file))
    found.append(seen(line, file="engine.jsonl"))
    found += [seen(line) for line in await _given_up()]


class _GivenUp(BaseException):
    """In place of the end of this process."""


async def _given_up() -> list[str]:
    """The last lines of the sandbox's entry point: hypercorn has the process, so it ends itself."""
    lines: list[str] = []

    def give_up(line: str, _code: int) -> None:
        lines.append(line)
        raise _GivenUp

    for doors_held in (False, True):
        received: list[None] = []

        async def receive(before: list[None] = received) -> dict[str, Any]:
            if before:
                await trio.sleep_forever()
            before.append(None)
            return {}

        async def serve(*_: object, held: bool = doors_held) -> bool:
            await trio.lowlevel.checkpoint()
            return held

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(entry_point, "serve", serve)
            patch.setattr(entry_point, "_give_up", give_up)
            for name in ("configure_logging", "_stop_hypercorn", "contain_hypercorn"):
                patch.setattr(entry_point, name, lambda *_: None)
            patch.setenv("POD_ID", "pod")
            with pytest.raises(_GivenUp):
                await entry_point._lifespan(receive, None)  # type: ignore[arg-type]
    return lines
