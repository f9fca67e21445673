"""The tools that were called, by the webhook that was asked and by the engine that was told, against a scenario.

What the cloud posted to the webhook is what the assistant called; what it heard is the answer. The engine's reports are
compared with that, so that a call made and not told of, and one told of and never made, are two different findings.
Where the cloud is not ours, the reports stand in for it.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from simulation.call_matching import ToolUse, answer_problem, difference, pair, wanted_text
from simulation.check import Check, not_checked, shown, without
from simulation.engine import EngineEvent
from simulation.evidence import Evidence
from simulation.scenario import Scenario
from simulation.vapi_call import SimulatedCall

NO_CALL = "no Vapi call was made"
NO_ENGINE = "the engine was not there"
ENGINE_REFUSES = "in this scenario the engine refuses every report"


def asked_uses(call: SimulatedCall) -> list[ToolUse]:
    """What the assistant called, in order; a redelivery or a retry is the same call again, and may bring the answer."""
    verdicts = [verdict for exchange in call.exchanges for verdict in exchange.verdicts]
    answers = {verdict.tool_call_id: verdict for verdict in reversed(verdicts) if verdict.accepted}
    uses = []
    for exchange in call.exchanges:
        if exchange.attempt != 1 or exchange.redelivered:
            continue
        for (tool, arguments), verdict in zip(exchange.tools, exchange.verdicts, strict=True):
            answer = answers.get(verdict.tool_call_id)
            uses.append(ToolUse(tool, arguments, answer.heard, answer.is_error) if answer else ToolUse(tool, arguments))
    return uses


def told_uses(events: Sequence[EngineEvent]) -> list[ToolUse]:
    """What the engine was told of, in order; the answer is made of the result, as compact JSON unless it is text."""
    return [_told_use(event) for event in events]


def _told_use(event: EngineEvent) -> ToolUse:
    result = event.result
    refused = isinstance(result, Mapping) and set(result) == {"error"}
    said = result["error"] if refused else result
    heard = said if isinstance(said, str) else json.dumps(said, ensure_ascii=False, separators=(",", ":"))
    return ToolUse(event.name, event.arguments, heard, refused)


def called_tools(scenario: Scenario, evidence: Evidence) -> Check:
    """All calls the scenario names, and no other."""
    name = "the expected tools were called"
    if evidence.cloud_call is None:
        return without(name, evidence, "vapi", NO_CALL)
    return _same(name, scenario, asked_uses(evidence.cloud_call))


def _same(name: str, scenario: Scenario, uses: Sequence[ToolUse]) -> Check:
    wanted, order = scenario.expect.tools, scenario.expect.order
    if pair(wanted, uses, order) is None:
        return Check(name, False, difference(wanted, uses, order))
    return Check(name, True, ", ".join(map(str, uses)) or "none")


def told_tools(scenario: Scenario, evidence: Evidence) -> Check:
    """The engine's reports are those of the calls made; where nobody else saw these, of those that are wanted."""
    name = "the engine was told of the same calls"
    if scenario.faults.engine.get("fail_status") is not None:
        return not_checked(name, ENGINE_REFUSES)
    if evidence.engine_events is None:
        return without(name, evidence, "engine", NO_ENGINE)
    told = told_uses(evidence.engine_events)
    if evidence.cloud_call is None:
        return _same(name, scenario, told)
    asked = asked_uses(evidence.cloud_call)
    problems = _unlike(asked, told)
    if not problems and scenario.expect.order == "same":
        problems = _disordered(asked, told)
    return Check(name, not problems, "; ".join(problems) or f"{len(told)} report(s)")


def _unlike(asked: Sequence[ToolUse], told: Sequence[ToolUse]) -> list[str]:
    """What was made and not told of, told of and never made, or told of with another answer or other arguments.

    A call that got no answer may or may not have been made: its report is welcome and not required.
    """
    unmade, untold = list(told), []
    others = []
    for use in asked:
        same = [one for one in unmade if _same_call(one, use)]
        if same:
            found = next((one for one in same if not _other_answer(use, one)), same[0])
            unmade.remove(found)
            others += _other_answer(use, found)
        elif use.heard is not None:
            untold.append(use)
    problems = []
    for use in untold:
        near = next((one for one in unmade if one.tool == use.tool), None)
        if near is None:
            problems.append(f"executed but never reported: {use}")
        else:
            unmade.remove(near)
            problems.append(f"executed {use}, but reported {near}")
    return problems + [f"reported but never executed: {one}" for one in unmade] + others


def _same_call(one: ToolUse, other: ToolUse) -> bool:
    return one.tool == other.tool and dict(one.arguments) == dict(other.arguments)


def _other_answer(use: ToolUse, report: ToolUse) -> list[str]:
    """Empty when the report's result is what the model heard, or when one cannot tell."""
    if use.heard is None or report.heard is None:
        return []
    if use.refused == report.refused and _same_text(use.heard, report.heard):
        return []
    heard = f"{'the error ' if use.refused else ''}{shown(use.heard)}"
    told = f"{'the error ' if report.refused else ''}{shown(report.heard)}"
    return [f"{use.tool}: the model heard {heard}, the engine was told {told}"]


def _same_text(heard: str, told: str) -> bool:
    """As text, whatever the spaces, or as JSON; an object may have been put into words that nobody can compare."""
    if heard.split() == told.split():
        return True
    told_value, heard_value = _from_json(told), _from_json(heard)
    if heard_value is None:
        return isinstance(told_value, dict | list)
    return bool(heard_value == told_value)


def _from_json(text: str) -> Any:
    """None when it is no JSON."""
    try:
        return json.loads(text)
    except ValueError:
        return None


def _disordered(asked: Sequence[ToolUse], told: Sequence[ToolUse]) -> list[str]:
    """The reports are of these calls; those that were answered must come in their order."""
    answered = [use for use in asked if use.heard is not None]
    position = 0
    for report in told:
        if position < len(answered) and _same_call(report, answered[position]):
            position += 1
    return [] if position == len(answered) else [f"reported in another order: {', '.join(use.tool for use in told)}"]


def never_checks(scenario: Scenario, evidence: Evidence) -> list[Check]:
    """One for each tool that must not be called, by everybody who could see it."""
    return [_never(tool, scenario, evidence) for tool in scenario.expect.never]


def _never(tool: str, scenario: Scenario, evidence: Evidence) -> Check:
    name = f"never called: {tool}"
    if evidence.cloud_call is None and "vapi" not in evidence.absent:
        return Check(name, False, NO_CALL)
    if evidence.engine_events is None and "engine" not in evidence.absent:
        return Check(name, False, NO_ENGINE)
    silent = scenario.faults.engine.get("fail_status") is not None
    if evidence.cloud_call is None and (evidence.engine_events is None or silent):
        return not_checked(name, evidence.absent["vapi"])
    asked = asked_uses(evidence.cloud_call) if evidence.cloud_call else []
    seen = [f"called: {use}" for use in asked if use.tool == tool]
    seen += [f"reported: {use}" for use in told_uses(evidence.engine_events or ()) if use.tool == tool]
    return Check(name, not seen, "; ".join(seen) or f"not among {', '.join(_witnesses(evidence))}")


def _witnesses(evidence: Evidence) -> Iterator[str]:
    if evidence.cloud_call is not None:
        yield "the calls"
    if evidence.engine_events is not None:
        yield "the reports"


def answer_checks(scenario: Scenario, evidence: Evidence) -> list[Check]:
    """One check on all answers and refusals that are wanted; none when none is."""
    expect = scenario.expect
    if all(one.answer is None and one.refused is None for one in expect.tools):
        return []
    name = "the tools answered as expected"
    uses = _uses(evidence)
    if uses is None:
        return [without(name, evidence, "vapi", NO_CALL)]
    found = pair(expect.tools, uses, expect.order)
    if found is None:
        return [Check(name, False, "the calls are not the expected ones")]
    problems = [f"{wanted_text(one)} {problem}" for one, use in found if (problem := answer_problem(one, use))]
    wanted = sum(one.answer is not None or one.refused is not None for one in expect.tools)
    return [Check(name, not problems, "; ".join(problems) or f"{wanted} answer(s)")]


def _uses(evidence: Evidence) -> Sequence[ToolUse] | None:
    """By the cloud; or by the engine's reports, when the cloud could not be there."""
    if evidence.cloud_call is not None:
        return asked_uses(evidence.cloud_call)
    if "vapi" in evidence.absent and evidence.engine_events is not None:
        return told_uses(evidence.engine_events)
    return None
