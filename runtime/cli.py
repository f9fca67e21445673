"""The command line. Exit codes: 0 done, 1 a run failed its checks, 2 wrong use or settings, 3 something
outside is not reachable."""

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any

import trio
import typer
from rich.console import Console
from rich.table import Table

from runtime.doors import Doors
from runtime.errors import OwnError
from runtime.logs import configure_logging
from runtime.settings import describe, read_settings

FAILED_CHECKS = 1
WRONG_USE = 2
NOT_REACHABLE = 3

app = typer.Typer(
    name="voice", help="A voice agent hosted by Vapi: run it, and test it, on this machine.", no_args_is_help=True,
    add_completion=False, pretty_exceptions_enable=False,
)  # fmt: skip
simulate = typer.Typer(help="One part of the simulated world, by itself.", no_args_is_help=True)
app.add_typer(simulate, name="simulate")

PortOption = Annotated[int, typer.Option(help="Port to listen on; 0 picks one.")]
ScenarioOption = Annotated[Path, typer.Option(help="The conversation to hold.")]
DEFAULT_SCENARIO = Path("scenarios/replace-card.yaml")


def _run(main: Callable[..., Awaitable[Any]], *arguments: Any) -> Any:
    """Run `main` under Trio; what a user got wrong becomes one line and exit code 2."""
    try:
        return trio.run(main, *arguments)
    except OwnError as exc:
        sys.stderr.write(f"voice: {exc}\n")
        raise typer.Exit(WRONG_USE) from None
    except KeyboardInterrupt:
        sys.stderr.write("voice: stopped\n")
        raise typer.Exit(130) from None


def main() -> None:
    app()


@app.command()
def serve() -> None:
    """Serve callers until SIGTERM or Ctrl-C."""
    from runtime.serve import serve as serve_calls

    async def ready(doors: Doors) -> None:  # noqa: ASYNC124  # `ready` may wait in other entry points
        sys.stdout.write(f"voice listening on {doors.voice_url}\nwebhook listening on {doors.webhook}\n")
        sys.stdout.flush()

    async def start() -> bool:
        settings = read_settings()
        configure_logging(settings.log_level)
        return await serve_calls(settings, ready)

    if not _run(start):
        raise typer.Exit(NOT_REACHABLE)


@app.command()
def settings() -> None:
    """List every setting: its value, where that came from, and what it means."""
    try:
        rows = describe(read_settings())
    except OwnError as exc:
        sys.stderr.write(f"voice: {exc}\n")
        raise typer.Exit(WRONG_USE) from None
    table = Table("variable", "value", "from", "meaning", box=None, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    Console(soft_wrap=True).print(table)
