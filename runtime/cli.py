"""The command line. Exit codes: 0 done, 1 a run failed its checks, 2 wrong use or settings, 3 something
outside is not reachable."""

import errno
import json
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, get_args

import trio
import typer
from rich.console import Console

from runtime.cli_doctor import doctor, settings
from runtime.cli_network import gateway, tunnel
from runtime.cli_pods import pods
from runtime.cli_run import run
from runtime.cli_stress import stress
from runtime.errors import OwnError, SettingsError, StartError
from runtime.logs import configure_logging
from runtime.masking import Masker
from runtime.setting_values import Bad, base_url
from runtime.settings import TailMode, read_settings
from runtime.voice_ws import VoiceProtocol

if TYPE_CHECKING:
    from runtime.doors import Doors

FAILED_CHECKS = 1
WRONG_USE = 2
NOT_REACHABLE = 3

app = typer.Typer(
    name="voice", help="A voice agent hosted by Vapi: run it, and test it, on this machine.", no_args_is_help=True,
    add_completion=False, pretty_exceptions_enable=False,
)  # fmt: skip
simulate = typer.Typer(help="One part of the simulated world, by itself.", no_args_is_help=True)
app.add_typer(simulate, name="simulate")
app.add_typer(gateway, name="gateway")
app.add_typer(tunnel, name="tunnel")
app.command("settings")(settings)
app.command("doctor")(doctor)
app.command("run")(run)
app.command("stress")(stress)
app.command("pods")(pods)

PortOption = Annotated[int, typer.Option(help="Port to listen on; 0 picks one.")]
ScenarioOption = Annotated[Path, typer.Option(help="The conversation to hold.")]
DEFAULT_SCENARIO = Path("scenarios/verified-replacement.yaml")


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
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that cannot show a letter is no reason to fail
    app()


@app.command()
def serve() -> None:
    """Serve callers until SIGTERM or Ctrl-C."""

    async def ready(doors: "Doors") -> None:  # noqa: ASYNC124  # `ready` may wait in other entry points
        sys.stdout.write(f"voice listening on {doors.voice_url}\nwebhook listening on {doors.webhook}\n")
        sys.stdout.write(f"console listening on {doors.console_url}\n" if doors.console_url else "")
        sys.stdout.flush()

    async def start() -> bool:
        settings = read_settings()
        settings.require_vapi()
        configure_logging(settings.log_level, settings.pod_id)
        from runtime.serve import serve as serve_calls  # behind the settings: half a second for what may be refused

        return await serve_calls(settings, ready)

    if not _run(start):
        raise typer.Exit(NOT_REACHABLE)


@app.command()
def openapi() -> None:
    """Print the webhook door's OpenAPI description, as docs/openapi.json has it."""
    from runtime.openapi import openapi_document

    sys.stdout.write(json.dumps(openapi_document(), indent=2, sort_keys=True) + "\n")


@app.command()
def demo(
    scenario: ScenarioOption = DEFAULT_SCENARIO,
    protocol: Annotated[str, typer.Option(help="binary or json: how caller and bridge talk.")] = "binary",
    tail_mode: Annotated[str, typer.Option(help="burst or paced: the silence behind each turn.")] = "burst",
    runs: Annotated[Path, typer.Option(help="Where the folder of this run is made.")] = Path("runs"),
    console: Annotated[bool, typer.Option("--console", help="Open the console beside it, and stay.")] = False,
    console_port: Annotated[int, typer.Option(min=0, max=65535, help="Where the console listens; 0 picks one.")] = 8010,
) -> None:
    """Hold one whole simulated call here: no account, no key, no PostgreSQL needed."""
    with _of_the_sandbox_extra("demo"):
        from runtime.demo import DemoOptions
        from runtime.demo import demo as hold

    options = DemoOptions(
        scenario,
        _choice("--protocol", protocol, get_args(VoiceProtocol)),
        _choice("--tail-mode", tail_mode, get_args(TailMode)),
        runs,
        console_port if console else None,
    )
    configure_logging("error")
    if not _run(_outside_errors, partial(hold, options, Console())):
        raise typer.Exit(FAILED_CHECKS)


@app.command()
def torture(
    seeds: Annotated[str, typer.Option(help="The first and the last, as 0..999.")] = "0..999",
    jobs: Annotated[int, typer.Option(help="Processes at once.", min=1)] = 2,
    trace: Annotated[bool, typer.Option(help="Show all that happens; for one seed.")] = False,
) -> None:
    """Random calls with random faults in virtual time; each must leave nothing behind. A seed is a run for ever."""
    first, dots, last = seeds.partition("..")
    if not (first.isascii() and first.isdigit()) or (dots and not (last.isascii() and last.isdigit())):
        _wrong(f"--seeds {seeds!r} is not two numbers: write 0..999, or 7 for one")
    first_seed, last_seed = int(first), int(last or first)
    if last_seed < first_seed or (trace and last_seed != first_seed):
        _wrong(f"--seeds {seeds!r}: the first must not be above the last, and --trace shows one seed only")
    with _of_the_sandbox_extra("torture"):
        from torture.jobs import replay
        from torture.jobs import torture as torture_all
    console = Console()
    try:
        held = replay(first_seed, console) if trace else torture_all(first_seed, last_seed, jobs, console)
    except KeyboardInterrupt:
        sys.stderr.write("voice: stopped\n")
        raise typer.Exit(130) from None
    if not held:
        raise typer.Exit(FAILED_CHECKS)


@simulate.command("vapi")
def simulate_vapi(port: PortOption = 9100, scenario: ScenarioOption = DEFAULT_SCENARIO) -> None:
    """A Vapi cloud whose assistant follows the scenario."""
    with _of_the_sandbox_extra("simulate"):
        from simulation.standalone import serve_vapi

    _run(_with_scenario, scenario, partial(serve_vapi, port, mask=Masker().masked))


@simulate.command("engine")
def simulate_engine(
    port: PortOption = 6100,
    store: Annotated[Path | None, typer.Option(help="A file that keeps what is told; a later engine goes on.")] = None,
) -> None:
    """An engine that collects the tool calls it is told of."""
    with _of_the_sandbox_extra("simulate"):
        from simulation.standalone import serve_engine

    _run(_outside_errors, partial(serve_engine, port, store, mask=Masker().masked))


@simulate.command("caller")
def simulate_caller(
    url: Annotated[str, typer.Argument(help="The agent to call: ws://host:port/voice")],
    scenario: ScenarioOption = DEFAULT_SCENARIO,
    protocol: Annotated[str, typer.Option(help="binary or json.")] = "binary",
    runs: Annotated[Path | None, typer.Option(help="A folder for the artifacts; none are left without it.")] = None,
    engine: Annotated[str | None, typer.Option(help="An engine to tell who spoke when: http://host:port")] = None,
    simulation: Annotated[str | None, typer.Option(help="The simulation's id at the engine.")] = None,
) -> None:
    """A caller who follows the scenario, at any voice_ws agent."""
    with _of_the_sandbox_extra("simulate"):
        from simulation.standalone import post_turns, run_caller

    chosen = _choice("--protocol", protocol, get_args(VoiceProtocol))
    if bool(engine) != bool(simulation):
        _wrong("--engine and --simulation belong together: write both, or none")
    engine_url = _base_url("--engine", engine) if engine else ""

    async def call(loaded: Any) -> tuple[Any, str]:
        report = await run_caller(url, loaded, chosen, runs, mask=Masker().masked)
        tell = bool(engine_url) and report.ending != "unreachable"
        return report, await post_turns(engine_url, simulation or "", report) if tell else ""

    report, complaint = _run(_with_scenario, scenario, call)
    if complaint:
        sys.stderr.write(f"voice: {complaint}\n")
    if complaint or report.ending == "unreachable":
        raise typer.Exit(NOT_REACHABLE)
    if report.violations or report.ending not in ("caller_hung_up", "agent_hung_up"):
        raise typer.Exit(FAILED_CHECKS)


@contextmanager
def _of_the_sandbox_extra(command: str) -> Iterator[None]:
    """Round the imports of what an installation without the extra, the production image above all, does not have."""
    try:
        yield
    except ModuleNotFoundError as exc:
        _wrong(f"{command} needs {exc.name}: install the sandbox extra (pip install '.[sandbox]')")


async def _with_scenario(path: Path, then: Callable[[Any], Awaitable[Any]]) -> Any:
    from simulation.scenario import ScenarioError, load_scenario

    try:
        scenario = load_scenario(path)
    except ScenarioError as exc:
        raise SettingsError(str(exc)) from exc
    return await _outside_errors(partial(then, scenario))


async def _outside_errors(main: Callable[[], Awaitable[Any]]) -> Any:
    """What the simulation's parts raise, as one line."""
    from db.door import DatabaseUnavailable
    from db.embedded import EmbeddedServerError
    from simulation.engine_store import StoreError
    from simulation.speech import SpeechError

    try:
        return await main()
    except (SpeechError, StoreError, EmbeddedServerError, DatabaseUnavailable) as exc:
        raise SettingsError(str(exc)) from exc
    except OSError as exc:
        if exc.errno == errno.EADDRINUSE:
            raise StartError("the port is taken by another program: choose another with --port, or 0") from exc
        raise StartError(f"{exc.strerror or exc}{f': {exc.filename}' if exc.filename else ''}") from exc


def _choice(option: str, value: str, choices: tuple[str, ...]) -> Any:
    if value not in choices:
        _wrong(f"{option} {value!r} is not one of: {', '.join(choices)}")
    return value


def _base_url(option: str, value: str) -> str:
    try:
        return base_url(value)
    except Bad as exc:
        _wrong(f"{option} {value!r} {exc}")


def _wrong(line: str) -> NoReturn:
    sys.stderr.write(f"voice: {line}\n")
    raise typer.Exit(WRONG_USE)


if __name__ == "__main__":
    main()
