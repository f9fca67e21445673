"""`voice run`: hold conversations, grade them, and say what came of it."""

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn, get_args

import typer
from rich.console import Console

from runtime.errors import OwnError, SettingsError, StartError
from runtime.settings import TailMode
from runtime.voice_ws import VoiceProtocol

FAILED_CHECKS, WRONG_USE, NOT_REACHABLE = 1, 2, 3
JOBS = max(2, min(8, 2 * (os.cpu_count() or 1)))

ScenariosArgument = Annotated[list[Path], typer.Argument(help="Scenario files, or folders of them.")]
JobsOption = Annotated[int, typer.Option(min=1, max=64, help="Conversations at once, each in processes of its own.")]
VirtualOption = Annotated[
    bool, typer.Option("--virtual", help="Our agent in memory under a clock that jumps: same seed, same bytes.")
]
ScriptedOption = Annotated[
    bool, typer.Option("--scripted", help="Tones for speech, and a simulated Vapi that knows the words: no ear.")
]
FileOption = Annotated[Path | None, typer.Option(help="Write this report.")]
VapiOption = Annotated[
    list[str] | None, typer.Option(help="How the simulated Vapi behaves: a variant's name, or KNOB=VALUE. Repeatable.")
]
LiveOption = Annotated[bool, typer.Option("--live", help="The real Vapi, with VAPI_API_KEY: costs money.")]


def run(
    scenarios: ScenariosArgument,
    jobs: JobsOption = JOBS,
    repeat: Annotated[int, typer.Option(min=1, max=1000, help="Hold each so often, and tell pass^k.")] = 1,
    seed: Annotated[int | None, typer.Option(min=0, help="In place of the scenarios' own.")] = None,
    virtual: VirtualOption = False,
    scripted: ScriptedOption = False,
    protocol: Annotated[str, typer.Option(help="binary or json: how caller and agent talk.")] = "binary",
    tail_mode: Annotated[str, typer.Option(help="burst or paced, of our own agent.")] = "burst",
    vapi: VapiOption = None,
    agent: Annotated[str | None, typer.Option(help="Somebody's running agent: ws://host:port/path. One job.")] = None,
    agent_command: Annotated[
        str | None, typer.Option(help="Start somebody's agent: PORT, ENGINE_URL, SIMULATION_ID and more are set.")
    ] = None,
    database_url: Annotated[str | None, typer.Option(help="Where rows are read, of somebody's agent.")] = None,
    engine_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Where the engine listens for --agent; 0: none.")
    ] = 0,
    live: LiveOption = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before calls that cost money.")] = False,
    max_calls: Annotated[int, typer.Option(min=1, help="--live: calls at most.")] = 10,
    max_minutes: Annotated[float, typer.Option(min=0.1, help="--live: minutes of calls at most.")] = 20.0,
    max_cost: Annotated[float, typer.Option(min=0.01, help="--live: US dollars at most.")] = 3.0,
    runs: Annotated[Path | None, typer.Option(help="The folder for the artifacts; runs/<time> without it.")] = None,
    junit: FileOption = None,
    json: FileOption = None,
    html: FileOption = None,
) -> None:
    """Hold conversations with an agent and grade them: ours with a simulated Vapi, unless told otherwise."""
    try:
        from sandbox.command import Wishes, run_conversations
    except ModuleNotFoundError as exc:
        _wrong(f"run needs {exc.name}: install the sandbox extra (pip install '.[sandbox]')")
    wishes = Wishes(
        scenarios=tuple(scenarios), jobs=jobs, repeat=repeat, seed=seed, virtual=virtual, scripted=scripted,
        protocol=_choice("--protocol", protocol, get_args(VoiceProtocol)),
        tail_mode=_choice("--tail-mode", tail_mode, get_args(TailMode)),
        vapi=tuple(vapi or ()), agent=_given("--agent", agent), agent_command=_argv(agent_command),
        database_url=database_url, engine_port=engine_port, live=live, yes=yes, max_calls=max_calls,
        max_minutes=max_minutes, max_cost=max_cost, runs=runs, junit=junit, json=json, html=html,
    )  # fmt: skip
    try:
        passed = run_conversations(wishes, os.environ, Console())
    except SettingsError as exc:
        _wrong(str(exc))
    except OwnError as exc:
        sys.stderr.write(f"voice: {exc}\n")
        raise typer.Exit(NOT_REACHABLE if isinstance(exc, StartError) else WRONG_USE) from None
    except KeyboardInterrupt:
        sys.stderr.write("voice: stopped\n")
        raise typer.Exit(130) from None
    if not passed:
        raise typer.Exit(FAILED_CHECKS)


def _choice(option: str, value: str, choices: Sequence[str]) -> Any:
    if value not in choices:
        _wrong(f"{option} {value!r} is not one of: {', '.join(choices)}")
    return value


def _given(option: str, value: str | None) -> str:
    """An empty one (of a variable that was not set) must not mean that our own agent is called instead."""
    if value is not None and not value.strip():
        _wrong(f"{option} is empty: say which agent, or leave it out for our own")
    return value or ""


def _argv(command: str | None) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(_given("--agent-command", command)))
    except ValueError as exc:
        _wrong(f"--agent-command cannot be read: {exc}; close what is quoted")


def _wrong(line: str) -> NoReturn:
    sys.stderr.write(f"voice: {line}\n")
    raise typer.Exit(WRONG_USE)
