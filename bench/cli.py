"""`python -m bench`. Exit codes: 0 measured, 1 a bar was missed or something could not be measured, 2 wrong use."""

import importlib.util
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn

import attrs
import trio
import typer
from rich.console import Console

from bench.failure import BenchFailure

if TYPE_CHECKING:
    from bench.outcome import Outcome
    from bench.plan import Plan

MISSED = 1
WRONG_USE = 2
RESULTS: Final = Path(__file__).parent / "results"
EXTRAS: Final = ("picows", "uvloop", "fastapi", "uvicorn", "websockets", "psutil", "trustme", "matplotlib")

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def bench(
    repetitions: Annotated[int | None, typer.Option(help="Paired alternations; 7 or more decide. (default: 7)")] = None,
    seconds: Annotated[
        float | None, typer.Option(help="Length of each measured window. (default: 3.5; watching: 2)")
    ] = None,
    calls: Annotated[str | None, typer.Option(help="Numbers of calls at once. (default: 1,20,100)")] = None,
    only: Annotated[
        str | None, typer.Option(help="Parts, of: audio,setup,webhook,growth,watching,pods. (default: all)")
    ] = None,
    transport: Annotated[str | None, typer.Option(help="To Vapi, of: tls,plain. (default: both)")] = None,
    grain_ms: Annotated[
        float | None, typer.Option(help="Callers' clocks tick this finely; 0.001 for as fine as can be. (default: 1)")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Show that it works, in two to three minutes; decides nothing.")
    ] = False,
    results: Annotated[
        Path, typer.Option(help="Folder for latest.json and latest.png.", show_default="bench/results")
    ] = RESULTS,
) -> None:
    """This runtime against FastAPI on uvloop and a picows relay: CPU, latency, memory, losses.

    Nothing leaves this machine. The whole run takes about 20 minutes.

    It wants the machine to itself. One that leaves something out keeps partial.json, and not latest.json.
    """
    missing = [name for name in EXTRAS if importlib.util.find_spec(name) is None]
    if missing:
        _wrong(f"the bench needs {', '.join(missing)}: install its extra (pip install '.[bench]')")
    plan = _plan(repetitions, seconds, calls, only, transport, grain_ms, quick)
    try:
        results.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        _wrong(f"--results {results}: {exc.strerror}")
    console = Console(width=None if sys.stdout.isatty() else 180)
    outcome = _measured(plan, console)
    _keep(outcome, results, console)
    if any(verdict.outcome == "missed" for verdict in outcome.verdicts):
        raise typer.Exit(MISSED)


def _plan(
    repetitions: int | None,
    seconds: float | None,
    calls: str | None,
    only: str | None,
    transport: str | None,
    grain_ms: float | None,
    quick: bool,
) -> "Plan":
    from bench.bridges import TRANSPORTS
    from bench.plan import PARTS, QUICK, Plan

    changes: dict[str, Any] = {}
    if repetitions is not None:
        changes["repetitions"] = _within("--repetitions", repetitions, 1, 1_000)
        changes["watching_repetitions"] = changes["pods_repetitions"] = changes["repetitions"]
    if seconds is not None:
        changes["seconds"] = _within("--seconds", seconds, 0.2, 600)
        changes["watching_seconds"] = changes["seconds"]
    if calls is not None:
        changes["calls"] = tuple(sorted({_count(word) for word in calls.split(",")}))
    if only is not None:
        changes["parts"] = _choices("--only", only, PARTS)
    if transport is not None:
        changes["transports"] = _choices("--transport", transport, TRANSPORTS)
    if grain_ms is not None:
        changes["grain_ns"] = int(_within("--grain-ms", grain_ms, 0.001, 20) * 1e6)
    return attrs.evolve(QUICK if quick else Plan(), **changes)


def _within(option: str, value: Any, low: float, high: float) -> Any:
    if not low <= value <= high:
        _wrong(f"{option} {value:g} is not between {low:g} and {high:g}")
    return value


def _count(word: str) -> int:
    if not word.strip().isascii() or not word.strip().isdigit() or not 1 <= int(word) <= 5_000:
        _wrong(f"--calls: {word.strip()!r} is not a number of calls: write for example 1,20,100")
    return int(word)


def _choices(option: str, value: str, known: tuple[str, ...]) -> tuple[str, ...]:
    """In their own order, each once."""
    chosen = {word.strip() for word in value.split(",")}
    if unknown := sorted(chosen - set(known)):
        _wrong(f"{option} {unknown[0]!r} is not one of: {', '.join(known)}")
    return tuple(word for word in known if word in chosen)


def _measured(plan: "Plan", console: Console) -> "Outcome":
    """Everything, or an exit with its reason."""
    from bench.outcome import Outcome
    from bench.run import Stopped, run

    outcome = Outcome(plan)
    try:
        trio.run(run, outcome, lambda line: console.print(line, highlight=False, soft_wrap=True))
    except BenchFailure as exc:
        for line in exc.log:
            sys.stderr.write(f"  | {line}\n")
        sys.stderr.write(f"bench: {exc}\n")
        raise typer.Exit(MISSED) from None
    except (Stopped, KeyboardInterrupt):
        sys.stderr.write("bench: stopped\n")
        raise typer.Exit(130) from None
    return outcome


def _keep(outcome: "Outcome", folder: Path, console: Console) -> None:
    from bench.picture import draw
    from bench.results import document
    from bench.tables import print_tables

    name = "latest" if outcome.plan.is_whole else "partial"
    told = document(outcome, finished_at=datetime.now(UTC).isoformat(timespec="seconds"))
    (folder / f"{name}.json").write_text(json.dumps(told, indent=1) + "\n")
    draw(outcome, folder / f"{name}.png")
    print_tables(outcome, console)
    console.print(f"kept in {folder / name}.json and .png", highlight=False, soft_wrap=True)


def _wrong(line: str) -> NoReturn:
    sys.stderr.write(f"bench: {line}\n")
    raise typer.Exit(WRONG_USE)


def main() -> None:
    app(prog_name="python -m bench")
