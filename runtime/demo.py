"""`voice demo`: one whole simulated call on this machine, shown as it happens and graded at its end.

Everything is real but the far ends: real sockets, a real PostgreSQL, the doors as `voice serve` opens them;
a simulated Vapi cloud, a simulated caller with speech, and a simulated engine stand in for the world.
"""

import itertools
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import attrs
import trio
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from db.door import Database
from db.embedded import open_embedded_server
from db.pool import open_database
from db.scratch import ScratchBank, open_scratch_bank
from runtime.demo_screen import Screen
from runtime.doors import Doors, open_doors
from runtime.errors import SettingsError, StartError
from runtime.record import Event
from runtime.settings import Settings, TailMode, read_settings
from runtime.voice_ws import VoiceProtocol
from simulation import events as simulated
from simulation.artifacts import write_artifacts
from simulation.behaviour import Behaviour
from simulation.caller import Caller
from simulation.caller_report import CallerReport
from simulation.checks import Check, check_expectations, tables_of
from simulation.engine import Engine, open_engine
from simulation.evidence import Evidence, Rows
from simulation.scenario import Scenario, ScenarioError, load_scenario
from simulation.speech import NoRecording, Speech, Tones, Voice, spoken_lines
from simulation.vapi_call import SimulatedCall
from simulation.vapi_cloud import VapiCloud, open_vapi_cloud

SIMULATION_ID = "demo"


@attrs.frozen
class DemoOptions:
    scenario: Path
    protocol: VoiceProtocol
    tail_mode: TailMode
    runs: Path
    console_port: int | None = None
    """Where the console is; None: there is none."""


@attrs.define(eq=False)
class Requests:
    """What the console's page asks for: another call. Mutable: `running`, and whether one is asked for."""

    running: bool = True
    _asked: trio.Event = attrs.field(factory=trio.Event)

    async def ask(self) -> bool:
        await trio.lowlevel.checkpoint()
        if self.running:
            return False
        self.running = True
        self._asked.set()
        return True

    async def next(self) -> None:
        """Wait until somebody asks."""
        self.running, self._asked = False, trio.Event()
        await self._asked.wait()


@attrs.frozen
class Stage:
    """All that a demo call needs, open."""

    options: DemoOptions
    scenario: Scenario
    screen: Screen
    speech: Voice
    bank: ScratchBank
    database: Database
    engine: Engine
    cloud: VapiCloud

    async def hold(self, doors: Doors) -> bool:
        """One call, shown as it happens and graded. Returns whether every check passed."""
        folder = _run_folder(self.options.runs)
        self.screen.events.clear()
        await self.bank.restore()
        before, told = await _rows(self.database, self.scenario), len(self.engine.events(SIMULATION_ID))
        url = f"{doors.voice_url}?protocol={self.options.protocol}"
        report = await Caller(url, self.scenario, protocol=self.options.protocol, speech=self.speech).run()
        call = await _ended_call(self.cloud)
        with trio.move_on_after(5):
            while doors.house.history.live or not doors.house.reporter.idle:  # noqa: ASYNC110  # nobody tells
                await trio.sleep(0.02)
        heard, rows = self.engine.events(SIMULATION_ID)[told:], await _rows(self.database, self.scenario)
        return _judge(self.scenario, Evidence(report, call, heard, rows, before), self.screen, folder)


async def demo(options: DemoOptions, console: Console) -> bool:
    """Hold the call and print the verdict. Returns whether every check passed. Raises OwnError in one line.

    With a console, its page may begin further calls, and this goes on until it is cancelled.
    """
    screen, scenario = Screen(console), _scenario(options.scenario)
    options.runs.mkdir(parents=True, exist_ok=True)
    async with AsyncExitStack() as world:
        stage = await _open_stage(options, scenario, screen, world)
        requests = Requests() if options.console_port is not None else None
        settings, passed = _settings(stage), None
        opening = open_doors(settings, stage.database, screen.on_event, demo=None if requests is None else requests.ask)
        async with opening as doors:
            screen.step(f"voice listening on {doors.voice_url}")
            if requests is not None:
                console.print(f"console: [bold]{doors.console_url}[/bold]  (Ctrl-C ends it)")
            passed = await stage.hold(doors)
            while requests is not None:
                await requests.next()
                passed = await stage.hold(doors)
        if passed is None:
            raise StartError("a door fell during the call")
        return passed


async def _open_stage(options: DemoOptions, scenario: Scenario, screen: Screen, world: AsyncExitStack) -> Stage:
    screen.step("starting PostgreSQL …")
    bank = await world.enter_async_context(
        open_scratch_bank(await world.enter_async_context(open_embedded_server()), "demo")
    )
    database = await world.enter_async_context(open_database(bank.url))
    screen.step("opening the simulated Vapi cloud and engine …")
    engine = await world.enter_async_context(open_engine(on_event=screen.on_engine_event))
    engine.delay_seconds = scenario.faults.engine.get("delay_seconds", 0.0)
    engine.fail_status = scenario.faults.engine.get("fail_status")
    speech, behaviour = _voice_of(scenario, screen), Behaviour(**scenario.faults.vapi)
    opening = open_vapi_cloud(
        agent=scenario.agent, speech=speech, caller_lines=scenario.caller_lines, behaviour=behaviour
    )
    cloud = await world.enter_async_context(opening)
    return Stage(options, scenario, screen, speech, bank, database, engine, cloud)


def _voice_of(scenario: Scenario, screen: Screen) -> Voice:
    """Its recordings; tones where somebody's new lines have none. Nothing here depends on what is understood."""
    speech = Speech(scenario.path.parent / "audio")
    try:
        speech.require(spoken_lines(scenario))
    except NoRecording as exc:
        screen.step(f"tones stand for speech: {exc}")
        return Tones()
    return speech


def _run_folder(runs: Path) -> Path:
    """A new folder named for this moment. Raises OSError, before the call rather than behind it."""
    name = time.strftime("%Y%m%d-%H%M%S")
    for number in itertools.count(1):
        folder = runs / (name if number == 1 else f"{name}-{number}")
        with suppress(FileExistsError):
            folder.mkdir(parents=True)
            return folder
    raise AssertionError("unreachable")


def _scenario(path: Path) -> Scenario:
    try:
        scenario = load_scenario(path)
    except ScenarioError as exc:
        raise SettingsError(str(exc)) from exc
    return scenario


def _settings(stage: Stage) -> Settings:
    """The user's own settings have no say here: the demo is the same everywhere."""
    options, watched = stage.options, stage.options.console_port is not None
    return read_settings(
        {
            "PORT": "0",
            "VOICE_HOST": "127.0.0.1",
            "WEBHOOK_PORT": "0",
            "CONSOLE_BIND": f"127.0.0.1:{options.console_port}" if watched else "none",
            "RECORD_CALLS": "on" if watched else "off",  # simulated voices: nobody has to agree
            "RECORDINGS": str(options.runs / "recordings"),
            "POD_ID": "demo",
            "VAPI_API_KEY": stage.cloud.api_key,
            "VAPI_BASE_URL": stage.cloud.base_url,
            "ENGINE_URL": stage.engine.base_url,
            "SIMULATION_ID": SIMULATION_ID,
            "TOOL_POLICY": stage.scenario.policy,
            "TAIL_MODE": options.tail_mode,
        }
    )


async def _rows(database: Database, scenario: Scenario) -> Rows:
    try:
        return {table: await database.rows(table, {}) for table in sorted(tables_of(scenario))}
    except ValueError as exc:  # there is no such table
        raise SettingsError(f"{scenario.path}: {exc}") from exc


async def _ended_call(cloud: VapiCloud) -> SimulatedCall | None:
    call = cloud.calls[-1] if cloud.calls else None
    if call is not None:
        with trio.move_on_after(5):
            await call.over.wait()
    return call


def _judge(scenario: Scenario, evidence: Evidence, screen: Screen, folder: Path) -> bool:
    checks = check_expectations(scenario, evidence)
    made = write_artifacts(
        folder, scenario, evidence.report, evidence.cloud_call, checks,
        events=_as_simulated(screen.events), drops=_drops(screen), mask=screen.masker.masked,
    )  # fmt: skip
    _print_verdict(screen, evidence.report, checks)
    for path in (made.call_wav, made.timeline_png, made.trace_jsonl, made.summary_json):
        screen.console.print(str(path), style="dim", soft_wrap=True)
    return not any(check.failed for check in checks)


def _drops(screen: Screen) -> dict[str, int]:
    """What the bridge did not pass on, by name, as it counted itself."""
    counts: Mapping[str, int] = next((e.data["counts"] for e in screen.events if e.event == "call-over"), {})
    return {name: count for name, count in counts.items() if "discarded" in name or name.startswith("tails_")}


def _as_simulated(events: Sequence[Event]) -> list[simulated.Event]:
    return [simulated.Event(e.t, e.mono, e.call, e.who, e.event, e.data) for e in events]


def _print_verdict(screen: Screen, report: CallerReport, checks: Sequence[Check]) -> None:
    console, text = screen.console, screen.masker.text
    console.print()
    for turn in report.turns:
        response = "no answer wanted" if turn.response_ms is None else f"answered after {turn.response_ms:.0f} ms"
        gap = "" if turn.turn_gap_ms is None else f", {turn.turn_gap_ms:.0f} ms behind the agent's last word"
        console.print(f"[cyan]caller[/cyan]  “{escape(text(turn.text))}”[dim]{gap}; {response}[/dim]")
    table = Table(box=None, show_header=False, pad_edge=False)
    for check in checks:
        mark = "[red]FAILED[/red]" if check.failed else "[green]passed[/green]"
        mark = mark if check.checked else "[yellow]not checked[/yellow]"
        table.add_row(mark, escape(text(check.name)), f"[dim]{escape(text(check.detail))}[/dim]")
    console.print()
    console.print(table)
    failed, unchecked = sum(check.failed for check in checks), sum(not check.checked for check in checks)
    left = f", {unchecked} not checked" if unchecked else ""
    console.print(f"\n{len(checks) - failed - unchecked} checks passed, {failed} failed{left}")
