"""Who said what and called what, in order, on the caller's time line."""

import json

from sandbox.verdict import Line
from simulation.evidence import Evidence
from simulation.vapi_call import SimulatedCall


def transcript_of(evidence: Evidence) -> tuple[Line, ...]:
    """The caller's words are the script's; the agent's are what the simulated cloud spoke, else what the ear heard."""
    report, call = evidence.report, evidence.cloud_call
    lines = [Line(turn.started_at, "caller", turn.text) for turn in report.turns]
    lines += [Line(said.started_at, "caller", f"({said.text})") for said in report.backchannels]
    start = report.connected_mono
    if call is not None:
        lines += _spoken(call, start)
        lines += _called(call, start)
    else:
        lines += [Line(heard.at, "agent", heard.text or "(not understood)") for heard in evidence.heard or ()]
        if evidence.heard is None:
            lines += [Line(speech.onset_at, "agent", "(speech)") for speech in report.agent_speech]
        for event in evidence.engine_events or ():
            answer = event.result if isinstance(event.result, str) else json.dumps(event.result, ensure_ascii=False)
            lines.append(Line(event.mono - start, "tool", event.name, event.arguments, answer))
    return tuple(sorted(lines, key=lambda line: line.at))


def _spoken(call: SimulatedCall, start: float) -> list[Line]:
    return [
        Line(event.mono - start, "agent", str(event.data["text"]))
        for event in call.log.events
        if event.event == "speech-started"
    ]


def _called(call: SimulatedCall, start: float) -> list[Line]:
    return [
        Line(
            exchange.started_mono - start,
            "tool",
            verdict.tool,
            arguments,
            verdict.heard or verdict.problem or exchange.failure or "",
            ok=verdict.accepted and not verdict.is_error,
        )
        for exchange in call.exchanges
        for verdict, (_, arguments) in zip(exchange.verdicts, exchange.tools, strict=True)
    ]
