"""`voice stress`, behind its command line."""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

import attrs
import trio
from rich.console import Console

from db.embedded import EmbeddedServerError
from runtime.errors import SettingsError, StartError
from simulation.scenario import Scenario, ScenarioError, load_scenario
from stress import meter
from stress.asks import Asks, as_json
from stress.failure import StressFailure
from stress.find import find_most
from stress.plan import Plan
from stress.real import run_for_real
from stress.report import as_json as report_as_json
from stress.report import passed, tell, tell_search
from stress.sample import Result
from stress.screen import Screen
from stress.virtual import run_virtually

PER_SECOND: Final = 10.0
"""New calls, in real time: a set-up costs the bridge some 6 ms."""


@attrs.frozen
class Wishes:
    """The command line, checked: `per_second` is None where it was not said."""

    calls: int
    seconds: float
    per_second: float | None
    account_slots: int | None
    scenario: Path | None
    json: Path | None
    chart: Path | None
    virtual: bool
    find: bool


def stress(wishes: Wishes, console: Console) -> bool:
    """Do it, and show it. Whether it passed, or of a search whether any number of calls held.

    Raises SettingsError for what cannot be asked for, StartError for what is needed and not there.
    """
    if not wishes.virtual and not meter.available():
        raise SettingsError("voice stress reads /proc, which is Linux's; here there is --virtual")
    plan = _plan(wishes)
    for file in (wishes.json, wishes.chart):
        if file is not None and not file.parent.is_dir():
            raise SettingsError(f"{file}: there is no folder {file.parent}")
    results = _run(plan, wishes, Screen(console))
    if wishes.find:
        tell_search(results, console)
    _keep(results, wishes, console)
    return passed(results, search=wishes.find)


def _plan(wishes: Wishes) -> Plan:
    default = float(wishes.calls) if wishes.virtual else PER_SECOND
    scenario = _scenario(wishes.scenario) if wishes.scenario is not None else None
    asks = Asks() if scenario is None else _asks(scenario)
    return Plan(
        calls=wishes.calls,
        seconds=wishes.seconds,
        per_second=wishes.per_second or default,
        account_slots=wishes.account_slots,
        policy="open" if scenario is None else scenario.policy,
        scenario="" if scenario is None else scenario.name,
        asks=as_json(asks),
    )


def _scenario(path: Path) -> Scenario:
    try:
        return load_scenario(path)
    except ScenarioError as exc:
        raise SettingsError(str(exc)) from exc


def _asks(scenario: Scenario) -> Asks:
    try:
        return Asks.of(scenario)
    except ValueError as exc:
        raise SettingsError(f"--scenario: {exc}") from exc


def _run(plan: Plan, wishes: Wishes, screen: Screen) -> Sequence[Result]:
    try:
        if wishes.virtual:
            return [_virtually(screen, plan)]
        if wishes.find:
            return trio.run(find_most, plan, partial(_one, screen))
        return [trio.run(_one, screen, plan)]
    except EmbeddedServerError as exc:
        raise StartError(f"there is no PostgreSQL: {exc}") from exc
    except StressFailure as exc:
        said = "".join(f"\n    {line}" for line in exc.last_lines)
        raise StartError(f"{exc}{said}") from exc


def _virtually(screen: Screen, plan: Plan) -> Result:
    with screen.of(plan):
        result = run_virtually(plan, screen.show)
    tell(result, screen.console)
    return result


async def _one(screen: Screen, plan: Plan) -> Result:
    with screen.of(plan):
        result = await run_for_real(plan, screen.show)
    tell(result, screen.console)
    return result


def _keep(results: Sequence[Result], wishes: Wishes, console: Console) -> None:
    if wishes.json is not None:
        wishes.json.write_text(json.dumps(report_as_json(results, search=wishes.find), indent=1) + "\n")
    if wishes.chart is not None:
        from stress.chart import draw  # matplotlib takes a second to import

        draw(results, wishes.chart)
    for file in (wishes.json, wishes.chart):
        if file is not None:
            console.print(str(file), style="dim", soft_wrap=True)
