"""A verdict as JSON, for programs: everything that is known of the run. Schema 1; keys may be added, never renamed.

``schema``          1
``passed``          whether something was held, and all of it passed
``how``             in words: what was called, under which clock, and who heard
``counts``          ``scenarios``, ``conversations``, ``passed``, ``failed``, ``checks`` (all of them),
                    ``checks_failed``, ``checks_not_checked``
``scenarios``       by name: ``scenario``, ``file``, ``runs``, ``passed``; ``pass_all`` and ``pass_any``: pass^k and
                    pass@k for each k from "1" to the number of runs
``conversations``   by scenario and attempt:
    ``scenario``, ``file``, ``about``, ``attempt`` (from 1), ``seed``, ``passed``, ``outcome``, ``problem`` (why it
    could not be held, else ""), ``seconds`` (how long the call was), ``cost_dollars`` (null where nobody says),
    ``folder`` (of its artifacts, relative to this file's folder where it lies below; null: there are none),
    ``checks`` [``name``, ``result``: "passed", "failed" or "not checked", ``detail``],
    ``latency_ms`` (as in its ``summary.json``: milliseconds, but for what is a count),
    ``transcript`` [``at`` in seconds since the caller connected, ``who``: "caller", "agent" or "tool", ``text``, and
    of a tool ``arguments``, ``answer`` and ``ok``]
``timing``          ``wall_seconds`` of the whole run: the one thing that differs when all the rest is the same
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sandbox.verdict import Conversation, Line, Tally, Verdict
from simulation.check import Check


def write_json(path: Path, verdict: Verdict) -> None:
    """Replaces the file. Raises OSError."""
    document = json_document(verdict, path.parent)
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    # Half of a character, which no file can hold, becomes the escape that JSON has for it.
    path.write_bytes(text.encode("utf-8", "backslashreplace"))


def json_document(verdict: Verdict, beside: Path) -> dict[str, Any]:
    """The content of the file, which will lie in the folder ``beside``."""
    held = sorted(verdict.conversations, key=lambda one: (one.scenario, one.attempt, one.file))
    passed = sum(one.passed for one in held)
    return {
        "schema": 1,
        "passed": verdict.passed,
        "how": verdict.how,
        "counts": {
            "scenarios": len(verdict.tallies),
            "conversations": len(held),
            "passed": passed,
            "failed": len(held) - passed,
            "checks": sum(len(one.checks) for one in held),
            "checks_failed": sum(len(one.failures) for one in held),
            "checks_not_checked": sum(len(one.unchecked) for one in held),
        },
        "scenarios": [_scenario(tally, held) for tally in sorted(verdict.tallies, key=lambda tally: tally.scenario)],
        "conversations": [_conversation(one, beside) for one in held],
        "timing": {"wall_seconds": round(verdict.wall_seconds, 3)},
    }


def _scenario(tally: Tally, held: list[Conversation]) -> dict[str, Any]:
    runs = range(1, tally.runs + 1)
    return {
        "scenario": tally.scenario,
        "file": next(one.file for one in held if one.scenario == tally.scenario),
        "runs": tally.runs,
        "passed": tally.passed,
        "pass_all": {str(k): tally.pass_all(k) for k in runs},
        "pass_any": {str(k): tally.pass_any(k) for k in runs},
    }


def _conversation(one: Conversation, beside: Path) -> dict[str, Any]:
    return {
        "scenario": one.scenario,
        "file": one.file,
        "about": one.about,
        "attempt": one.attempt,
        "seed": one.seed,
        "passed": one.passed,
        "outcome": one.outcome,
        "problem": one.problem,
        "seconds": one.seconds,
        "cost_dollars": one.cost_dollars,
        "folder": _folder(one.folder, beside),
        "checks": [{"name": check.name, "result": result_of(check), "detail": check.detail} for check in one.checks],
        "latency_ms": plain(one.latencies),
        "transcript": [_line(line) for line in one.transcript],
    }


def _folder(folder: Path | None, beside: Path) -> str | None:
    if folder is None:
        return None
    below = folder.absolute().is_relative_to(beside.absolute())
    return (folder.absolute().relative_to(beside.absolute()) if below else folder).as_posix()


def result_of(check: Check) -> str:
    """In a word or two."""
    return "passed" if check.passed and check.checked else "failed" if check.failed else "not checked"


def _line(line: Line) -> dict[str, Any]:
    said = {"at": round(line.at, 3), "who": line.who, "text": line.text}
    if line.who != "tool":
        return said
    return {**said, "arguments": plain(line.arguments), "answer": line.answer, "ok": line.ok}


def plain(value: Any) -> Any:
    """What JSON can hold: YAML also has dates, and numbers that are none, which become their text."""
    if isinstance(value, Mapping):
        return {str(key): plain(held) for key, held in value.items()}
    if isinstance(value, list | tuple):
        return [plain(held) for held in value]
    if value is None or isinstance(value, bool | int | str) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return str(value)
