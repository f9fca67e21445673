"""The command line of the fuzzing."""

import re
import sys
from typing import Annotated, NoReturn

import typer

FLAGGED = 1
WRONG_USE = 2

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.callback(invoke_without_command=True)
def fuzz(
    context: typer.Context,
    cases: Annotated[int, typer.Option(help="How many, over all three targets.", min=10)] = 100_000,
    seed: Annotated[int, typer.Option(help="The same seed is the same cases.", min=0)] = 0,
    jobs: Annotated[int, typer.Option(help="Processes at once.", min=1)] = 2,
    replay: Annotated[str, typer.Option(help="Only these cases, shown: webhook:17 or vapi:0..49.")] = "",
) -> None:
    """Hostile bytes at the webhook door, at a caller's leg and from Vapi's side, in virtual time, in process."""
    if context.invoked_subcommand is not None:
        return
    if not (_replay(seed, replay) if replay else _fuzz(cases, seed, jobs)):
        raise typer.Exit(FLAGGED)


def _fuzz(cases: int, seed: int, jobs: int) -> bool:
    from fuzz.jobs import fuzz as fuzz_all

    return fuzz_all(cases, seed, jobs, _say)


def _replay(seed: int, which: str) -> bool:
    found = re.fullmatch(r"(webhook|caller|vapi):(\d+)(?:\.\.(\d+))?", which)
    if found is None:
        _wrong(f"--replay {which!r}: write webhook:17, caller:3 or vapi:0..49")
    from fuzz.jobs import line_of, run_guarded
    from fuzz.shown import shown

    target, first, last = found[1], int(found[2]), int(found[3] or found[2])
    if first == last:
        _say(shown(seed, target, first))
    outcome = run_guarded(seed, target, range(first, last + 1))  # type: ignore[arg-type]
    _say(", ".join(f"{what} {count}" for what, count in sorted(outcome.happened.items())))
    for flag in outcome.flags:
        _say(line_of(seed, outcome, flag))
    return not outcome.flags


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _wrong(line: str) -> NoReturn:
    sys.stderr.write(f"fuzz: {line}\n")
    raise typer.Exit(WRONG_USE)


@app.command()
def http(
    cases: Annotated[int, typer.Option(help="Requests.", min=20)] = 2_000,
    seed: Annotated[int, typer.Option(help="The same seed is the same requests.", min=0)] = 0,
) -> None:
    """Requests made from docs/openapi.json, over real sockets, to a `voice serve`: schema-true answers, no 5xx."""
    from fuzz.over_http import fuzz_http

    if not fuzz_http(cases, seed, _say):
        raise typer.Exit(FLAGGED)


@app.command()
def siege(
    only: Annotated[str, typer.Option(help="Attacks with these words in their names. (default: all)")] = "",
    look: Annotated[bool, typer.Option("--look", help="Tell where long steps are; costs the loop some time.")] = False,
) -> None:
    """Calls on a real `voice serve` while its doors are attacked: latency, steps of the event loop, memory."""
    import trio

    from fuzz.siege_run import besiege

    if not trio.run(besiege, only, look, _say):
        raise typer.Exit(FLAGGED)
