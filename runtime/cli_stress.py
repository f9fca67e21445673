"""`voice stress`: as many calls as you like against one bridge, and what became of every frame."""

import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from runtime.errors import OwnError, StartError
from runtime.logs import configure_logging

FAILED_CHECKS, WRONG_USE, NOT_REACHABLE, STOPPED = 1, 2, 3, 130
FileOption = Annotated[Path | None, typer.Option(help="Write this report.")]


def stress(
    calls: Annotated[int, typer.Option(min=1, max=10_000, help="Calls at once; with --find, the first to try.")] = 50,
    seconds: Annotated[int, typer.Option(min=2, help="Of steady state, once all calls are up.")] = 10,
    ramp: Annotated[
        float | None, typer.Option(min=0.1, help="New calls a second; 10, and with --virtual all at once.")
    ] = None,
    slots: Annotated[int | None, typer.Option(min=1, help="Of the Vapi account; as many as calls without it.")] = None,
    scenario: Annotated[
        Path | None, typer.Option(help="Its agent's tool calls, over and over, in place of our own.")
    ] = None,
    json: FileOption = None,
    chart: FileOption = None,
    virtual: Annotated[bool, typer.Option("--virtual", help="In memory, under a clock that jumps.")] = False,
    find: Annotated[bool, typer.Option("--find", help="Look for the most calls that this machine holds.")] = False,
) -> None:
    """Callers and a simulated Vapi against `voice serve`: nothing may be lost, reordered, damaged or late."""
    if virtual and find:
        _wrong("--find looks for the limit of this machine, and in virtual time there is none: leave one out")
    try:
        from stress.command import Wishes
        from stress.command import stress as hold
    except ModuleNotFoundError as exc:
        _wrong(f"stress needs {exc.name}: install the sandbox extra (pip install '.[sandbox]')")
    configure_logging("error")
    wishes = Wishes(
        calls=calls, seconds=float(seconds), per_second=ramp, account_slots=slots, scenario=scenario,
        json=json, chart=chart, virtual=virtual, find=find,
    )  # fmt: skip
    try:
        passed = hold(wishes, Console())
    except OwnError as exc:
        sys.stderr.write(f"voice: {exc}\n")
        raise typer.Exit(NOT_REACHABLE if isinstance(exc, StartError) else WRONG_USE) from None
    except KeyboardInterrupt:
        sys.stderr.write("voice: stopped\n")
        raise typer.Exit(STOPPED) from None
    if not passed:
        raise typer.Exit(FAILED_CHECKS)


def _wrong(line: str) -> NoReturn:
    sys.stderr.write(f"voice: {line}\n")
    raise typer.Exit(WRONG_USE)
