"""Evidence of a call, made by hand: what a cloud, an engine and a caller would have left."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from simulation.caller_report import CallerReport
from simulation.check import Check
from simulation.checks import check_expectations
from simulation.engine import EngineEvent
from simulation.events import Event, EventLog
from simulation.evidence import Evidence
from simulation.pcm import FRAME_BYTES
from simulation.playout import Chunk
from simulation.scenario import Expectations, Faults, HangUp, Scenario, ToolExpectation
from simulation.vapi_call import SimulatedCall
from simulation.webhook_client import Verdict, WebhookExchange

FRAME = bytes([1, 2]) * (FRAME_BYTES // 2)
CALLED, TOLD, ANSWERED = (
    "the expected tools were called",
    "the engine was told of the same calls",
    "the tools answered as expected",
)


@attrs.frozen
class Use:
    """One call of a tool, as the evidence is to have it. ``heard``: what the model got; None: no answer."""

    tool: str = "find"
    arguments: Mapping[str, Any] = attrs.field(factory=dict)
    heard: str | None = '{"id": 5}'
    error: bool = False


FIND = Use("find", {"last4": "4242"})
FREEZE = Use("freeze", {"card_id": 5})
REFUSED = Use("freeze", {"card_id": 7}, "not verified", error=True)


def exchange_of(use: Use, number: int, *, attempt: int = 1, redelivered: bool = False) -> WebhookExchange:
    verdict = Verdict(f"id-{number}", use.tool, use.heard is not None, use.heard or "", use.error)
    return WebhookExchange(
        "http://x", ((use.tool, use.arguments),), {}, {}, 200, "", {}, 0.01, (verdict,), 1.0, attempt, redelivered
    )


def call_of(uses: Sequence[Use] = (), spoken: Sequence[tuple[str, float | None]] = ()) -> SimulatedCall:
    """A call that ended well. ``spoken``: lines of one second each, with what was played of those cut short."""
    log = EventLog("c", 0.0)
    for turn, (text, played) in enumerate(spoken):
        start = turn * 10.0
        told = {"text": text, "seconds": 1.0, "turn": turn}
        log.events.append(Event(start, start, "c", "agent", "speech-started", told))
        stop = {"turn": turn, "interrupted": played is not None}
        end = start + (1.0 if played is None else played)
        log.events.append(Event(end, end, "c", "agent", "speech-stopped", stop))
    call = SimulatedCall("c", {}, 0.0, log, status="ended", ended_reason="customer-ended-call")
    call.over.set()
    call.heard += FRAME
    call.spoken += FRAME
    call.exchanges += [exchange_of(use, number) for number, use in enumerate(uses)]
    return call


def events_of(uses: Sequence[Use]) -> list[EngineEvent]:
    events = []
    for use in uses:
        text = use.heard or "null"
        result = {"error": text} if use.error else json.loads(text) if text[0] == "{" else text
        data = {"name": use.tool, "arguments": dict(use.arguments), "result": result}
        events.append(EngineEvent("s", {"service": "agent", "event_type": "agent_tool_call", "data": data}, "", 1.0))
    return events


REPORT = CallerReport(
    "n", "ws://x", "binary", "caller_hung_up", "caller_hung_up", 0.0, 1.0, sent=FRAME, received=(Chunk(0.5, FRAME),)
)


def evidence_of(uses: Sequence[Use] = (), told: Sequence[Use] | None = None, **changes: Any) -> Evidence:
    spoken = changes.pop("spoken", ())
    events = events_of(uses if told is None else told)
    return attrs.evolve(Evidence(REPORT, call_of(uses, spoken), events, {}, {}), **changes)


def checks_of(evidence: Evidence, faults: Mapping[str, Any] | None = None, **expect: Any) -> dict[str, Check]:
    scenario = Scenario("n", (HangUp(),), expect=Expectations(**expect), faults=Faults(engine=faults or {}))
    checks = check_expectations(scenario, evidence)
    named = {check.name: check for check in checks}
    assert len(named) == len(checks)
    assert all("\n" not in check.detail for check in checks)
    return named


def failed(checks: Mapping[str, Check]) -> dict[str, str]:
    return {name: check.detail for name, check in checks.items() if check.failed}


def wanted(use: Use, **more: Any) -> ToolExpectation:
    return ToolExpectation(use.tool, more.pop("arguments", use.arguments), **more)
