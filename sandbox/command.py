"""From what a user asked of `voice run` to a verdict: checked first, then held, then reported."""

import itertools
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import attrs
import trio
from rich.console import Console
from rich.prompt import Confirm

from db.door import BadDatabaseUrl, check_database_url
from db.embedded import EmbeddedServerError, open_embedded_server
from db.table import KEPT_BY_US, table_named
from runtime.errors import SettingsError, StartError
from runtime.settings import TailMode, read_settings
from runtime.voice_ws import VoiceProtocol
from sandbox.html_report import write_html
from sandbox.json_report import write_json
from sandbox.junit import write_junit
from sandbox.live import MAX_CALL_SECONDS as LIVE_CALL_SECONDS
from sandbox.live import Budget
from sandbox.options import Kind, Options
from sandbox.run import Free, Gate, Plan, run_plan, tasks_of
from sandbox.screen import open_screen, print_verdict
from sandbox.verdict import Verdict
from simulation.caller import MAX_CALL_SECONDS
from simulation.scenario import Scenario, ScenarioError, load_scenario
from simulation.scenario_faults import NOT_OF_KIND, coerced, described, vapi_knobs
from simulation.speech import NoRecording, Speech, caller_lines, spoken_lines
from simulation.variants import VARIANTS
from simulation.websockets import public_url


@attrs.frozen(kw_only=True)
class Wishes:
    """The command line's options, as they were given."""

    scenarios: tuple[Path, ...]
    jobs: int
    repeat: int
    seed: int | None
    virtual: bool
    scripted: bool
    protocol: VoiceProtocol
    tail_mode: TailMode
    vapi: tuple[str, ...]
    agent: str
    agent_command: tuple[str, ...]
    database_url: str | None = attrs.field(repr=False)
    engine_port: int
    live: bool
    yes: bool
    max_calls: int
    max_minutes: float
    max_cost: float
    runs: Path | None
    junit: Path | None
    json: Path | None
    html: Path | None


def run_conversations(wishes: Wishes, environ: Mapping[str, str], console: Console) -> bool:
    """Whether every conversation passed. ``environ`` is handed to an agent that is not ours alone to set up.

    Raises SettingsError and StartError in one line.
    """
    scenarios = scenarios_in(wishes.scenarios)
    options = options_of(wishes, environ)
    _require_speech(scenarios, options)
    if options.agent in ("simulated", "live"):
        _require_tables(scenarios)
    gate = _gate(wishes, options, len(scenarios) * wishes.repeat, console)
    runs = _folder(wishes.runs)
    tasks = tasks_of(scenarios, wishes.repeat, wishes.seed, runs)
    # Somebody's running agent has one engine; the real Vapi is called one call at a time: one tunnel, one trace.
    jobs = 1 if options.agent in ("url", "live") else wishes.jobs
    told = f"{len(tasks)} conversation(s): {options.how}; artifacts in {runs}"
    console.print(told, style="dim", markup=False, soft_wrap=True)
    screen = open_screen(console)

    async def with_server() -> Verdict:
        async with open_embedded_server() as url:
            plan = Plan(tasks, options, jobs, url, runs, gate)
            return await trio.to_thread.run_sync(run_plan, plan, screen, trio.from_thread.check_cancelled)

    if options.virtual or options.agent == "url":
        verdict = run_plan(Plan(tasks, options, jobs, None, runs, gate), screen)
    else:
        try:
            verdict = trio.run(with_server)
        except EmbeddedServerError as exc:
            raise StartError(str(exc)) from exc
    print_verdict(console, verdict)
    _write_reports(wishes, verdict, console)
    if options.agent == "url" and all(one.outcome.startswith("unreachable") for one in verdict.conversations):
        raise StartError(f"{public_url(options.agent_url)} cannot be reached: start the agent, or mend the address")
    return verdict.passed


def _require_speech(scenarios: Sequence[Scenario], options: Options) -> None:
    """Raises SettingsError: a line that will be said has no recording, and there is nobody to speak it."""
    if options.scripted:
        return
    lines = spoken_lines if options.agent == "simulated" else caller_lines
    for scenario in scenarios:
        try:
            Speech(scenario.path.parent / "audio").require(lines(scenario))
        except NoRecording as exc:
            raise SettingsError(f"{scenario.path}: {exc}; --scripted needs none") from exc


def _require_tables(scenarios: Sequence[Scenario]) -> None:
    """Raises SettingsError: what is expected of our own database is of a table or column that it has not."""
    for scenario in scenarios:
        looked_at = [(row.table, {**row.where, **row.values}) for row in scenario.expect.rows]
        try:
            for name, columns in (*looked_at, *((table, {}) for table in scenario.expect.unchanged)):
                if name not in KEPT_BY_US:
                    table_named(name, columns)
        except ValueError as exc:
            raise SettingsError(f"{scenario.path}: {exc}") from exc


def _gate(wishes: Wishes, options: Options, conversations: int, console: Console) -> Gate:
    """Asked before anything is spent. Raises SettingsError: no key, nobody to ask, or a no."""
    if options.agent != "live":
        return Free()
    read_settings(options.environ).require_vapi()
    budget = Budget(wishes.max_calls, wishes.max_minutes, wishes.max_cost)
    refusal = budget.refuses()
    if refusal:
        raise SettingsError(f"--live: {refusal}")
    console.print(budget.question(conversations), soft_wrap=True)
    if wishes.yes:
        return budget
    if not console.is_terminal:
        raise SettingsError("--live asks before it spends money, and there is no terminal: give --yes")
    try:
        agreed = Confirm.ask("Go on?", console=console, default=False)
    except EOFError:
        agreed = False
    if not agreed:
        raise SettingsError("--live: nothing was called")
    return budget


def _write_reports(wishes: Wishes, verdict: Verdict, console: Console) -> None:
    for path, write in ((wishes.junit, write_junit), (wishes.json, write_json), (wishes.html, write_html)):
        if path is None:
            continue
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write(path, verdict)
        except OSError as exc:
            raise StartError(f"{path} cannot be written: {exc.strerror or exc}") from exc
        console.print(str(path), style="dim", markup=False, soft_wrap=True)


def scenarios_in(paths: Sequence[Path]) -> list[Scenario]:
    """Every file, and every ``*.yaml`` of every folder. Raises SettingsError: none, unreadable, or two of one name."""
    files: list[Path] = []
    for path in paths:
        files += sorted(path.glob("*.yaml")) if path.is_dir() else [path]
    if not files:
        raise SettingsError(f"there is no scenario in {', '.join(map(str, paths))}: name a .yaml file")
    try:
        scenarios = [load_scenario(file) for file in files]
    except ScenarioError as exc:
        raise SettingsError(str(exc)) from exc
    seen: dict[str, Path] = {}
    for scenario in scenarios:
        if scenario.name in seen:
            both = f"{seen[scenario.name]} and {scenario.path}"
            raise SettingsError(f"two scenarios are named {scenario.name!r}, {both}: rename one")
        seen[scenario.name] = scenario.path
    return scenarios


def options_of(wishes: Wishes, environ: Mapping[str, str]) -> Options:
    """Raises SettingsError for wishes that exclude each other."""
    kinds: dict[str, Kind] = {"--agent": "url", "--agent-command": "command", "--live": "live"}
    given = {"--agent": bool(wishes.agent), "--agent-command": bool(wishes.agent_command), "--live": wishes.live}
    chosen = [name for name, is_given in given.items() if is_given]
    if len(chosen) > 1:
        raise SettingsError(f"{' and '.join(chosen)} exclude each other: choose one agent")
    kind: Kind = kinds[chosen[0]] if chosen else "simulated"
    if wishes.virtual and kind != "simulated":
        raise SettingsError(f"--virtual and {chosen[0]} exclude each other: only our own agent runs in memory")
    if wishes.vapi and kind in ("url", "live"):
        raise SettingsError(f"--vapi and {chosen[0]} exclude each other: there is no simulated Vapi then")
    if wishes.live and wishes.scripted:
        raise SettingsError("--live and --scripted exclude each other: the real Vapi hears no words in tones")
    _check_addresses(wishes, kind)
    return Options(
        agent=kind,
        agent_url=wishes.agent,
        agent_command=wishes.agent_command,
        virtual=wishes.virtual,
        scripted=wishes.scripted,
        protocol=wishes.protocol,
        tail_mode=wishes.tail_mode,
        vapi=vapi_of(wishes.vapi),
        database_url=wishes.database_url,
        engine_port=wishes.engine_port,
        vapi_url=read_settings(environ).vapi_base_url if kind == "live" else "",
        environ=dict(environ) if kind in ("live", "command") else {},
        max_call_seconds=LIVE_CALL_SECONDS if kind == "live" else MAX_CALL_SECONDS,
    )


def _check_addresses(wishes: Wishes, kind: Kind) -> None:
    """Before anything is started. Raises SettingsError."""
    if wishes.agent and not _is_voice_url(wishes.agent):
        raise SettingsError("--agent is no WebSocket address: write ws://host:port/path")
    if wishes.engine_port and kind != "url":
        raise SettingsError("--engine-port is for --agent: an agent that is started is told where the engine is")
    if wishes.database_url is None:
        return
    if kind not in ("url", "command"):
        raise SettingsError("--database-url is for --agent and --agent-command: our own agent has a scratch database")
    try:
        check_database_url(wishes.database_url)
    except BadDatabaseUrl as exc:
        raise SettingsError(f"--database-url: {exc}") from exc


def _is_voice_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("ws", "wss") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def vapi_of(wanted: Sequence[str]) -> Mapping[str, Any]:
    """Knobs out of names of variants and ``KNOB=VALUE``. Raises SettingsError."""
    knobs: dict[str, Any] = {}
    kinds = vapi_knobs()
    for item in wanted:
        name, equals, text = item.partition("=")
        if not equals:
            if item not in VARIANTS:
                raise SettingsError(f"--vapi {item!r} is no variant: use one of {', '.join(VARIANTS)}, or KNOB=VALUE")
            knobs |= VARIANTS[item]
            continue
        if name not in kinds:
            raise SettingsError(f"--vapi {item!r}: there is no knob {name!r}; use one of {', '.join(kinds)}")
        value = coerced(_plain(text), kinds[name])
        if value is NOT_OF_KIND:
            raise SettingsError(f"--vapi {item!r}: {name} must be {described(kinds[name])}")
        knobs[name] = value
    return knobs


def _plain(text: str) -> Any:
    import yaml  # as scenarios are read

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def _folder(wanted: Path | None) -> Path:
    """A folder for this run; a new one named for the moment unless told. Raises StartError."""
    try:
        if wanted is not None:
            wanted.mkdir(parents=True, exist_ok=True)
            return wanted
        name = time.strftime("%Y%m%d-%H%M%S")
        for number in itertools.count(1):
            folder = Path("runs") / (name if number == 1 else f"{name}-{number}")
            with suppress(FileExistsError):
                folder.mkdir(parents=True)
                return folder
    except OSError as exc:
        raise StartError(f"no folder for the artifacts can be made: {exc.strerror or exc}: {exc.filename}") from exc
    raise AssertionError("unreachable")
