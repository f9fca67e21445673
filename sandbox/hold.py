"""One conversation, from the dial to the verdict, whoever the agent is and whatever clock runs."""

import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import attrs
import trio

from runtime.masking import Masker
from sandbox.options import Options, Task
from sandbox.transcript import transcript_of
from sandbox.verdict import Conversation, Line
from simulation.artifacts import latencies, write_artifacts
from simulation.behaviour import Behaviour
from simulation.caller import Caller
from simulation.caller_report import CallerReport
from simulation.checks import Check, check_expectations, tables_of
from simulation.ear import Ear
from simulation.engine import Engine, EngineEvent
from simulation.events import Event
from simulation.evidence import Evidence, HeardSpeech, Rows
from simulation.scenario import Scenario
from simulation.speech import Voice
from simulation.vapi_call import SimulatedCall
from simulation.vapi_cloud import VapiCloud

CALL_END_SECONDS = 5.0
REPORTS_SECONDS = 2.0
"""For reports to the engine that are still under way when the call is over."""

ReadRows = Callable[[set[str]], Awaitable[Rows]]
OnEvent = Callable[[Event], None]


@attrs.frozen
class Stage:
    """What stands around a conversation. None: there is no such witness, and ``absent`` says why."""

    voice_url: str
    speech: Voice
    cloud: VapiCloud | None = None
    engine: Engine | None = None
    read_rows: ReadRows | None = None
    ear: Ear | None = None
    absent: Mapping[str, str] = attrs.field(factory=dict)
    database_unused: Callable[[], Awaitable[str]] | None = None
    """Asked behind the call: why the rows tell nothing of this agent; "" when they do."""
    events: Callable[[], Sequence[Event]] = list
    """What the agent itself has told of the conversation, for the trace."""


@attrs.frozen
class Held:
    """A conversation that is over: what is known of it, and what came of that."""

    task: Task
    evidence: Evidence
    checks: tuple[Check, ...]
    events: tuple[Event, ...]
    cost_dollars: float | None = None


async def hold(task: Task, stage: Stage, options: Options, on_event: OnEvent | None = None) -> Held:
    """Make the call and gather the evidence. Raises SpeechError before dialling when a line has no sound."""
    scenario = task.scenario
    _prepare(task, stage, options, on_event)
    calls_before = len(stage.cloud.calls) if stage.cloud else 0
    reports_before = len(stage.engine.received) if stage.engine else 0
    logged_before = len(stage.engine.log.events) if stage.engine else 0
    tables = tables_of(scenario)
    before = await stage.read_rows(tables) if stage.read_rows else None
    report = await Caller(
        f"{stage.voice_url}{'&' if '?' in stage.voice_url else '?'}protocol={options.protocol}",
        scenario,
        protocol=options.protocol,
        speech=stage.speech,
        on_event=on_event,
        patience_seconds=options.patience_seconds,
        max_call_seconds=options.max_call_seconds,
        seed=task.seed,
    ).run()
    call = await _ended_call(stage.cloud, calls_before)
    told = await _reports(stage.engine, reports_before, call, scenario)
    absent = _absent(scenario, stage, call)
    if stage.database_unused is not None and (unused := await stage.database_unused()):
        absent["database"] = unused
    rows = await stage.read_rows(tables) if stage.read_rows and "database" not in absent else None
    evidence = Evidence(
        report=report,
        cloud_call=call,
        other_calls=stage.cloud.calls[calls_before:-1] if stage.cloud else (),
        engine_events=told,
        rows=rows,
        rows_before=before,
        heard=await _heard(report, scenario, stage.ear) if stage.ear else None,
        absent=absent,
    )
    engine_events = stage.engine.log.events[logged_before:] if stage.engine else []
    checks = tuple(check_expectations(scenario, evidence))
    return Held(task, evidence, checks, (*engine_events, *stage.events()))


def _prepare(task: Task, stage: Stage, options: Options, on_event: OnEvent | None) -> None:
    scenario = task.scenario
    if stage.cloud is not None:
        stage.cloud.voice = stage.speech
        stage.cloud.agent = scenario.agent
        stage.cloud.caller_lines = scenario.caller_lines
        stage.cloud.behaviour = Behaviour(**{**options.vapi, **scenario.faults.vapi})
        stage.cloud.rng = random.Random(f"cloud {scenario.name} {task.attempt} {task.seed}")
        stage.cloud.on_event = on_event
    if stage.engine is not None:
        stage.engine.delay_seconds = scenario.faults.engine.get("delay_seconds", 0.0)
        stage.engine.fail_status = scenario.faults.engine.get("fail_status")


async def _ended_call(cloud: VapiCloud | None, before: int) -> SimulatedCall | None:
    if cloud is None or len(cloud.calls) <= before:
        return None
    call = cloud.calls[-1]
    with trio.move_on_after(CALL_END_SECONDS):
        await call.over.wait()
    return call


async def _reports(
    engine: Engine | None, before: int, call: SimulatedCall | None, scenario: Scenario
) -> Sequence[EngineEvent] | None:
    """What the engine was told of this conversation; waits for as many reports as tools were called."""
    if engine is None:
        return None
    wanted = len(scenario.expect.tools)
    if call is not None:
        wanted = sum(len(item.tools) for item in call.exchanges if item.attempt == 1 and not item.redelivered)
    with trio.move_on_after(REPORTS_SECONDS + engine.delay_seconds):
        while len(engine.received) < before + wanted:  # noqa: ASYNC110  # the engine has no event for it
            await trio.sleep(0.02)
    return tuple(engine.received[before:])


async def _heard(report: CallerReport, scenario: Scenario, ear: Ear) -> tuple[HeardSpeech, ...]:
    from simulation.caller_ear import hear_agent  # only who hears needs it

    return await hear_agent(report, scenario, ear)


def _absent(scenario: Scenario, stage: Stage, call: SimulatedCall | None) -> dict[str, str]:
    absent = dict(stage.absent)
    if call is not None:
        absent.pop("vapi", None)
    elif scenario.expect.ending == "callee_no_answer":
        absent["vapi"] = "the scenario expects that no call comes about"
    return absent


def _masked_checks(held: Held, lines: Sequence[Line]) -> list[Check]:
    """Their details quote arguments and rows: whatever those hold in fields of personal data is masked as words."""
    masker = Masker()
    masker.masked([held.evidence.rows_before, held.evidence.rows, [attrs.asdict(line) for line in lines]])
    text = masker.text
    return [attrs.evolve(check, name=text(check.name), detail=text(check.detail)) for check in held.checks]


def conversation_of(held: Held) -> Conversation:
    """Write the artifacts, and say what came of it; everything that leaves here is masked. Blocks for a second."""
    task, evidence, masker = held.task, held.evidence, Masker()
    report: CallerReport = evidence.report
    lines = transcript_of(evidence)
    checks = _masked_checks(held, lines)
    plain = [attrs.asdict(line) for line in lines]
    masker.masked(plain)  # a name is said before the call of a tool tells that it is one
    masked: list[dict[str, Any]] = masker.masked(plain)
    made = write_artifacts(
        task.folder, task.scenario, report, evidence.cloud_call, checks, events=held.events, mask=masker.masked,
    )  # fmt: skip
    return Conversation(
        scenario=task.scenario.name,
        file=str(task.scenario.path),
        about=task.scenario.about,
        attempt=task.attempt,
        seed=task.seed,
        outcome=report.outcome,
        seconds=round(report.duration_seconds, 3),
        checks=tuple(checks),
        latencies=latencies(report),
        transcript=tuple(attrs.evolve(line, **shown) for line, shown in zip(lines, masked, strict=True)),
        folder=made.folder,
        cost_dollars=held.cost_dollars,
    )
