"""What a run leaves behind: ``call.wav``, ``timeline.png``, ``trace.jsonl`` and ``summary.json`` in one folder."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from simulation.caller_report import CallerReport
from simulation.check import Check
from simulation.events import Event
from simulation.measures import measure
from simulation.pcm import BYTES_PER_SAMPLE, SAMPLE_RATE_HZ, seconds_of
from simulation.playout import place
from simulation.scenario import Scenario
from simulation.speech import write_wav
from simulation.timeline import Picture, ToolMark, draw
from simulation.vapi_call import SimulatedCall

Samples = npt.NDArray[np.int16]


@attrs.frozen
class Artifacts:
    """Where each file lies."""

    folder: Path
    call_wav: Path
    timeline_png: Path
    trace_jsonl: Path
    summary_json: Path


def write_artifacts(
    folder: Path,
    scenario: Scenario,
    report: CallerReport,
    cloud_call: SimulatedCall | None,
    checks: Sequence[Check],
    *,
    events: Sequence[Event] = (),
    drops: Mapping[str, int] | None = None,
    mask: Callable[[Any], Any] = lambda content: content,
) -> Artifacts:
    """Write all four; files that are there are replaced.

    ``events``: those of the engine and the runtime; the caller's and the cloud's are taken from ``report`` and
    ``cloud_call``, and an event given twice is written once. ``drops``: counts the product gives, by name. ``mask``
    takes the JSON of what is written and gives what may be read by others. Blocks for about a second (matplotlib): run
    it in a thread, or after the calls.

    :raises OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    made = Artifacts(
        folder, folder / "call.wav", folder / "timeline.png", folder / "trace.jsonl", folder / "summary.json"
    )
    caller, agent = voices(report)
    write_wav(made.call_wav, np.column_stack([caller, agent]).astype("<i2").tobytes(), channels=2)
    tools = tool_marks(report, cloud_call)
    lines = tuple(
        (event.mono - report.connected_mono, str(mask(event.data)["text"]))
        for event in (cloud_call.log.events if cloud_call else ())
        if event.event == "speech-started"
    )
    shown = attrs.evolve(
        report,
        turns=tuple(attrs.evolve(turn, text=mask({"text": turn.text})["text"]) for turn in report.turns),
        backchannels=tuple(attrs.evolve(said, text=mask({"text": said.text})["text"]) for said in report.backchannels),
    )
    draw(made.timeline_png, Picture(scenario.name, shown, caller, agent, tools, _passed(checks), lines))
    known = [*report.events, *(cloud_call.log.events if cloud_call else ()), *events]
    trace = sorted({id(event): event for event in known}.values(), key=lambda event: event.mono)
    trace_lines = [
        attrs.evolve(event, data=mask(event.data)).since(report.connected_mono).to_json() + "\n" for event in trace
    ]
    made.trace_jsonl.write_text("".join(trace_lines), encoding="utf-8")
    content = mask(summary(report, cloud_call, checks, drops or {}))
    made.summary_json.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return made


def _passed(checks: Sequence[Check]) -> str:
    failed = [check.name for check in checks if check.failed]
    if not any(check.checked for check in checks):
        return "nothing was checked"
    unchecked = sum(not check.checked for check in checks)
    passed = f"{len(checks) - unchecked} checks passed" + (f", {unchecked} not checked" if unchecked else "")
    return f"FAILED: {'; '.join(failed)}" if failed else passed


def voices(report: CallerReport) -> tuple[Samples, Samples]:
    """Both voices on one time line that begins with the caller's connection; the same number of samples each.

    The caller's frames lie where they were due. The agent's audible audio lies where it plays (arrival, or the end of
    what plays); silence that came in a burst takes no room.
    """
    caller = np.frombuffer(report.sent, dtype="<i2").astype(np.int16)
    placed = [item for item in place(report.received) if not item.silent]
    end = max((item.at + seconds_of(len(item.chunk.pcm)) for item in placed), default=0.0)
    length = max(len(caller), round(end * SAMPLE_RATE_HZ) + 1)
    agent = np.zeros(length, np.int16)
    carry = b""
    for item in placed:
        # A sample may straddle two messages: half of it waits for the next one.
        data = carry + item.chunk.pcm
        whole = len(data) - len(data) % BYTES_PER_SAMPLE
        carry = data[whole:]
        samples = np.frombuffer(data[:whole], dtype="<i2")
        start = round(item.at * SAMPLE_RATE_HZ)
        agent[start : start + len(samples)] = samples[: length - start]
    return np.pad(caller, (0, length - len(caller))), agent


def tool_marks(report: CallerReport, call: SimulatedCall | None) -> tuple[ToolMark, ...]:
    """Each tool call on the caller's time line."""
    if call is None:
        return ()
    return tuple(
        ToolMark(
            name=verdict.tool,
            start=exchange.started_mono - report.connected_mono,
            seconds=exchange.seconds,
            accepted=verdict.accepted and not verdict.is_error,
        )
        for exchange in call.exchanges
        for verdict in exchange.verdicts
    )


def summary(
    report: CallerReport, call: SimulatedCall | None, checks: Sequence[Check], drops: Mapping[str, int]
) -> dict[str, Any]:
    """The content of ``summary.json``, schema 1. Times in milliseconds where the key says so."""
    exchanges = call.exchanges if call else []
    return {
        "schema": 1,
        "scenario": report.scenario,
        "outcome": report.ending,
        "ended_by": {"caller_hung_up": "caller", "deadlock": "caller", "violation": "caller"}.get(
            report.ending, "agent"
        ),
        "reason": report.outcome,
        "duration_seconds": round(report.duration_seconds, 3),
        "turns": len(report.turns),
        "tools": [
            {
                "name": verdict.tool,
                "arguments": dict(arguments),
                "accepted": verdict.accepted,
                "heard": verdict.heard,
                "problem": verdict.problem,
                "seconds": round(exchange.seconds, 4),
            }
            for exchange in exchanges
            for verdict, (_, arguments) in zip(exchange.verdicts, exchange.tools, strict=True)
        ],
        "checks": [attrs.asdict(check) for check in checks],
        "drops": dict(drops),
        "latency_ms": latencies(report),
    }


def latencies(report: CallerReport) -> dict[str, Any]:
    """The measures, milliseconds but for the counts; see :class:`simulation.measures.Measures` for what each means.

    ``turn_gap`` and ``tail``: see :class:`simulation.caller_report.CallerTurn`.
    """
    taken = measure(report)
    gaps = [turn.turn_gap_ms for turn in report.turns if turn.turn_gap_ms is not None and not turn.barge_in]
    return {
        "greeting": _rounded(taken.greeting_ms),
        "response": [_rounded(value) for value in taken.response_ms],
        "response_p50": _rounded(taken.response_p50_ms),
        "response_p95": _rounded(taken.response_p95_ms),
        "response_max": _rounded(max(taken.response_ms, default=None)),
        "unanswered": taken.unanswered,
        "turn_gap": [_rounded(value) for value in gaps],
        "tail": [_rounded(speech.tail_ms) for speech in report.agent_speech],
        "barge_in_stop": [_rounded(value) for value in taken.barge_in_stop_ms],
        "unyielded": taken.unyielded,
        "false_interruptions": taken.value_of("false_interruptions"),
        "talk_over": _rounded(taken.talk_over_ms),
        "dead_air": _rounded(taken.dead_air_ms),
        "instrument_lateness_max": round(report.lateness_ms, 2),
    }


def _rounded(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else round(milliseconds, 1)
