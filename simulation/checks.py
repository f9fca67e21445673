"""The verdict on a finished run, from witnesses that do not know each other: the wire, the ear, the cloud, the engine,
the database.

No language model and no luck: every check is exact. A check that could not be made is failed, never passed; only what
nobody could have looked at (somebody else's agent, whose Vapi is not ours) is *not checked*.
"""

from simulation.alignment import Comparison, heard_is_what_was_said, received_is_what_was_spoken
from simulation.caller_report import CallerReport
from simulation.check import Check, named_values, without
from simulation.evidence import Evidence
from simulation.limit_checks import limit_checks
from simulation.pcm import FRAME_SECONDS, SAMPLE_RATE_HZ, bytes_for, seconds_of
from simulation.row_checks import row_checks, tables_of
from simulation.scenario import Scenario
from simulation.speech_checks import speech_checks
from simulation.tool_checks import answer_checks, called_tools, never_checks, told_tools
from simulation.vapi_call import SimulatedCall

__all__ = ["Check", "check_expectations", "tables_of", "uplink_of"]

IN_FLIGHT_SECONDS = 1.0
"""Audio of the caller that may be under way when a call ends: a bridge's queue of half a second and what the sockets
hold."""

LATELY_SECONDS = 0.5
"""What the assistant said longer ago than this must have reached the caller who hangs up: no bridge should hold back
more."""

OFFSET_SLACK_FRAMES = 25
"""Half a second: how far the opening of the cloud's socket may be from what the clocks of both sides say."""

NO_CALL = "no Vapi call was made"


def check_expectations(scenario: Scenario, evidence: Evidence) -> list[Check]:
    """All checks of one run, in the order in which they should be read. Raises nothing.

    Those on the call as such are always made; then come one or more for each thing the scenario expects. A scenario
    that names no tools expects that none is called.
    """
    downlink = _downlink(evidence)
    return [
        _ending(scenario, evidence.report),
        _rules(evidence.report),
        _vapi_ended(evidence),
        _vapi_understood(evidence),
        _uplink(evidence),
        downlink,
        called_tools(scenario, evidence),
        told_tools(scenario, evidence),
        *never_checks(scenario, evidence),
        _answers(evidence),
        *answer_checks(scenario, evidence),
        *row_checks(scenario, evidence),
        *speech_checks(scenario, evidence, arrived=downlink.passed),
        *limit_checks(scenario, evidence.report),
    ]


def _ending(scenario: Scenario, report: CallerReport) -> Check:
    wanted = scenario.expect.ending
    name = f"the call ended as {wanted}" if wanted else "the call ended"
    passed = report.ending == wanted if wanted else report.ending in ("caller_hung_up", "agent_hung_up")
    return Check(name, passed, report.outcome)


def _rules(report: CallerReport) -> Check:
    return Check("the agent kept the channel's rules", not report.violations, "; ".join(report.violations))


def _vapi_ended(evidence: Evidence) -> Check:
    name, call = "the Vapi call ended", evidence.cloud_call
    if call is None:
        return without(name, evidence, "vapi", NO_CALL)
    running = [other for other in evidence.other_calls if other.status != "ended"]
    if running:
        return Check(name, False, f"{len(running)} more made for the same caller, and not ended")
    return Check(name, call.status == "ended" and call.over.is_set(), f"{call.status}, {call.ended_reason}")


def _vapi_understood(evidence: Evidence) -> Check:
    name, call = "Vapi understood every message and got audio in real time", evidence.cloud_call
    if call is None:
        return without(name, evidence, "vapi", NO_CALL)
    problems = list(call.violations) + _other_format(call)
    # A caller that was late itself has caught up since: that much haste is its own, not the bridge's.
    if seconds_of(call.bytes_too_fast) > evidence.report.lateness_ms / 1000:
        problems.append(f"{call.bytes_too_fast} bytes came faster than real time")
    return Check(name, not problems, "; ".join(problems) or f"{call.heard_messages} messages of audio")


def _other_format(call: SimulatedCall) -> list[str]:
    """The simulated Vapi speaks and hears the caller's format, whatever it was asked for."""
    asked = (call.request.get("transport") or {}).get("audioFormat") or {}
    wanted = {"format": "pcm_s16le", "sampleRate": SAMPLE_RATE_HZ}
    differs = {name: asked[name] for name in wanted if name in asked and asked[name] != wanted[name]}
    return [f"it was asked for audio with {named_values(differs)}; it has {named_values(wanted)}"] if differs else []


def uplink_of(report: CallerReport, call: SimulatedCall) -> Comparison:
    """The caller's audio against what Vapi heard, the offset bounded by the time Vapi's socket opened."""
    limit = None
    if call.opened_mono is not None:
        before = (call.opened_mono - report.connected_mono) / FRAME_SECONDS
        limit = max(0, round(before) + OFFSET_SLACK_FRAMES)
    return heard_is_what_was_said(report.sent, bytes(call.heard), max_offset_frames=limit)


def _uplink(evidence: Evidence) -> Check:
    name, call = "Vapi heard the caller bit for bit", evidence.cloud_call
    if call is None:
        return without(name, evidence, "vapi", "Vapi heard nothing")
    if not call.heard:
        return Check(name, False, "Vapi heard nothing")
    return _compared(name, uplink_of(evidence.report, call), bytes_for(IN_FLIGHT_SECONDS))


def _compared(name: str, found: Comparison, in_flight_bytes: int) -> Check:
    """A comparison that agrees but lacks more at its end than can be in flight is no success."""
    return Check(name, found.same and found.missing_bytes <= in_flight_bytes, str(found))


def _downlink(evidence: Evidence) -> Check:
    name, report, call = "the caller heard the agent bit for bit", evidence.report, evidence.cloud_call
    if call is None:
        return without(name, evidence, "vapi", "the agent said nothing")
    if not call.spoken:
        return Check(name, False, "the agent said nothing")
    if not report.received:
        return Check(name, False, "the caller received nothing")
    found = received_is_what_was_spoken(bytes(call.spoken), report.received_pcm, resumptions=call.cut_until)
    return _compared(name, found, _in_flight_bytes(report, call))


def _in_flight_bytes(report: CallerReport, call: SimulatedCall) -> int:
    """The most that may lack at the end of what the caller heard."""
    if call.interruptions > len(call.resumptions):
        return len(call.spoken)  # the last thing said may have been cut, with nothing said after it
    if report.ending == "agent_hung_up" and call.ended_by == "assistant":
        return 0  # it was for the agent to say when it was done
    lately = LATELY_SECONDS + report.lateness_ms / 1000
    return len(call.spoken) - call.spoken_by(report.connected_mono + report.duration_seconds - lately)


def _answers(evidence: Evidence) -> Check:
    name, call = "Vapi accepted every answer of the webhook", evidence.cloud_call
    if call is None:
        return without(name, evidence, "vapi", NO_CALL)
    verdicts = [verdict for exchange in call.exchanges for verdict in exchange.verdicts]
    refused = [f"{verdict.tool}: {verdict.problem}" for verdict in verdicts if not verdict.accepted]
    errors = [f"{verdict.tool} answered the error {verdict.heard!r}" for verdict in verdicts if verdict.is_error]
    return Check(name, not refused, "; ".join(refused + errors) or f"{len(verdicts)} answer(s)")
