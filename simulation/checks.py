"""The verdict on a finished run, from three witnesses that do not know each other: the wire, the engine, the database.

No language model and no luck: every check is exact. A check that could not be made is failed, never passed.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from simulation.alignment import Comparison, heard_is_what_was_said, received_is_what_was_spoken
from simulation.caller_report import CallerReport
from simulation.engine import EngineEvent
from simulation.evidence import Rows
from simulation.pcm import FRAME_SECONDS, seconds_of
from simulation.scenario import RowExpectation, Scenario, ToolCall, ToolExpectation
from simulation.vapi_call import SimulatedCall

IN_FLIGHT_SECONDS = 1.0
"""Audio that may be under way when a call ends: a bridge's queue of half a second and what the sockets hold."""

OFFSET_SLACK_FRAMES = 25
"""Half a second: how far the opening of the cloud's socket may be from what the clocks of both sides say."""


@attrs.frozen
class Check:
    """One question and its answer, as it stands in ``summary.json``.

    Not ``checked``: nobody could look; that is neither a success (``passed`` is False) nor a failure.
    """

    name: str
    passed: bool
    detail: str
    checked: bool = True

    @property
    def failed(self) -> bool:
        """Somebody looked, and it was not so; or should have been able to look, and was not."""
        return self.checked and not self.passed


def check_expectations(
    scenario: Scenario,
    report: CallerReport,
    cloud_call: SimulatedCall | None,
    engine_events: Sequence[EngineEvent] | None,
    rows: Rows | None,
) -> list[Check]:
    """All checks of one run, in the order in which they should be read.

    None for a witness means that it was not there; whatever needed it is failed. Raises nothing.
    """
    checks = [_ending(scenario, report)]
    checks.append(Check("the agent kept the channel's rules", not report.violations, "; ".join(report.violations)))
    checks.append(_vapi_ended(cloud_call))
    checks.append(_vapi_understood(report, cloud_call))
    checks.append(_uplink(report, cloud_call))
    checks.append(_downlink(report, cloud_call))
    checks.append(_webhook_tools(scenario, cloud_call))
    checks.append(_engine_tools(scenario, engine_events))
    checks.append(_answers(cloud_call))
    checks += [_row(expected, rows) for expected in scenario.expect.rows]
    return checks


def _ending(scenario: Scenario, report: CallerReport) -> Check:
    wanted = scenario.expect.ending
    name = f"the call ended as {wanted}" if wanted else "the call ended"
    passed = report.ending == wanted if wanted else report.ending in ("caller_hung_up", "agent_hung_up")
    return Check(name, passed, report.outcome)


def _vapi_ended(call: SimulatedCall | None) -> Check:
    name = "the Vapi call ended"
    if call is None:
        return Check(name, False, "no Vapi call was made")
    return Check(name, call.status == "ended" and call.over.is_set(), f"{call.status}, {call.ended_reason}")


def _vapi_understood(report: CallerReport, call: SimulatedCall | None) -> Check:
    name = "Vapi understood every message and got audio in real time"
    if call is None:
        return Check(name, False, "no Vapi call was made")
    problems = list(call.violations)
    # A caller that was late itself has caught up since: that much haste is its own, not the bridge's.
    if seconds_of(call.bytes_too_fast) > report.lateness_ms / 1000:
        problems.append(f"{call.bytes_too_fast} bytes came faster than real time")
    return Check(name, not problems, "; ".join(problems) or f"{call.heard_messages} messages of audio")


def uplink_of(report: CallerReport, call: SimulatedCall) -> Comparison:
    """The caller's audio against what Vapi heard, the offset bounded by the time Vapi's socket opened."""
    limit = None
    if call.opened_mono is not None:
        before = (call.opened_mono - report.connected_mono) / FRAME_SECONDS
        limit = max(0, round(before) + OFFSET_SLACK_FRAMES)
    return heard_is_what_was_said(report.sent, bytes(call.heard), max_offset_frames=limit)


def _uplink(report: CallerReport, call: SimulatedCall | None) -> Check:
    name = "Vapi heard the caller bit for bit"
    if call is None or not call.heard:
        return Check(name, False, "Vapi heard nothing")
    return _compared(name, uplink_of(report, call))


def _compared(name: str, found: Comparison, *, may_lack_the_end: bool = False) -> Check:
    """A comparison that agrees but lacks more at its end than can be in flight is no success."""
    lacking = seconds_of(found.missing_bytes) > IN_FLIGHT_SECONDS and not may_lack_the_end
    return Check(name, found.same and not lacking, str(found))


def _downlink(report: CallerReport, call: SimulatedCall | None) -> Check:
    name = "the caller heard the agent bit for bit"
    if call is None or not call.spoken:
        return Check(name, False, "the agent said nothing")
    if not report.received:
        return Check(name, False, "the caller received nothing")
    found = received_is_what_was_spoken(bytes(call.spoken), report.received_pcm, resumptions=call.cut_until)
    # The last thing said may have been cut by an interruption, with nothing said after it.
    return _compared(name, found, may_lack_the_end=call.interruptions > len(call.resumptions))


def _listed(calls: Sequence[ToolCall | ToolExpectation]) -> str:
    return ", ".join(f"{call.tool}({dict(call.arguments)})" for call in calls) or "none"


def _same_calls(name: str, wanted: Sequence[ToolExpectation], got: Sequence[ToolCall]) -> Check:
    same = [(call.tool, dict(call.arguments)) for call in wanted] == [(call.tool, dict(call.arguments)) for call in got]
    detail = _listed(got) if same else f"wanted {_listed(wanted)}; got {_listed(got)}"
    return Check(name, same, detail)


def _webhook_tools(scenario: Scenario, call: SimulatedCall | None) -> Check:
    name = "the expected tools were called"
    if call is None:
        return Check(name, False, "no Vapi call was made")
    # A redelivery or a retry is the same call again.
    first = [item for item in call.exchanges if item.attempt == 1 and not item.redelivered]
    got = [ToolCall(tool, arguments) for exchange in first for tool, arguments in exchange.tools]
    return _same_calls(name, scenario.expect.tools, got)


def _engine_tools(scenario: Scenario, events: Sequence[EngineEvent] | None) -> Check:
    name = "the engine was told of the same calls"
    if events is None:
        return Check(name, False, "the engine was not there")
    return _same_calls(name, scenario.expect.tools, [ToolCall(event.name, event.arguments) for event in events])


def _answers(call: SimulatedCall | None) -> Check:
    name = "Vapi accepted every answer of the webhook"
    if call is None:
        return Check(name, False, "no Vapi call was made")
    verdicts = [verdict for exchange in call.exchanges for verdict in exchange.verdicts]
    refused = [f"{verdict.tool}: {verdict.problem}" for verdict in verdicts if not verdict.accepted]
    errors = [f"{verdict.tool} answered the error {verdict.heard!r}" for verdict in verdicts if verdict.is_error]
    return Check(name, not refused, "; ".join(refused + errors) or f"{len(verdicts)} answer(s)")


def _row(expected: RowExpectation, rows: Rows | None) -> Check:
    where = ", ".join(f"{column} = {value}" for column, value in expected.where.items())
    wanted = ", ".join(f"{column} = {value}" for column, value in expected.values.items())
    name = f"{expected.table} where {where}: {wanted}"
    if rows is None or expected.table not in rows:
        return Check(name, False, f"the table {expected.table} could not be read")
    found = [row for row in rows[expected.table] if _matches(row, expected.where)]
    if not found:
        return Check(name, False, "no such row")
    wrong = [row for row in found if not _matches(row, expected.values)]
    shown = [{column: str(row.get(column)) for column in expected.values} for row in wrong]
    return Check(name, not wrong, f"got {shown}" if wrong else f"{len(found)} row(s)")


def _matches(row: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Equal as values, or as text: a scenario writes dates, numbers and ids as YAML can."""
    return all(
        column in row and (row[column] == value or str(row[column]) == str(value)) for column, value in wanted.items()
    )
