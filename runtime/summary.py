"""The summary of a call that is over: what one asks first, in one line of the log."""

from collections.abc import Mapping
from typing import Any, Final

from runtime import limits
from runtime.record import CallRecord, Ending

# What was not passed on, by the name it has in the call's counts.
DROPS: Final[Mapping[str, str]] = {
    "setup_bytes_discarded": "before_vapi_listened",
    "uplink_bytes_discarded": "towards_vapi",
    "downlink_bytes_discarded": "towards_the_caller",
    "interrupted_bytes": "interrupted",
}

MOST_TOOLS: Final = 10  # named in the line


def summary(record: CallRecord, ending: Ending) -> dict[str, Any]:
    """Flat; the unit is the last word of a name. What was nothing is left out, but for what everybody asks."""
    story, counts = record.story, record.counts
    told: dict[str, Any] = {
        "vapi_call_id": record.vapi_call_id,
        "seconds": round(record.age_seconds, 3),
        "ended_by": ending.by,
        "reason": ending.reason,
        "detail": record.masker.text(ending.detail),
        "setup_seconds": None if record.setup_seconds is None else round(record.setup_seconds, 3),
        "teardown_seconds": None if record.teardown_seconds is None else round(record.teardown_seconds, 3),
        "agent_turns": story.turns["agent"],
        "caller_turns": story.turns["caller"],
        "tools": len(story.tools),
    }
    if (latency := story.turn_latency_ms) is not None:
        told["turn_latency_median_ms"], told["turn_latency_most_ms"] = round(latency["median"]), round(latency["most"])
    if story.tools:
        told["tools_called"] = ",".join(list(dict.fromkeys(run.name for run in story.tools))[:MOST_TOOLS])
        told["tool_most_seconds"] = round(max(run.seconds for run in story.tools), 3)
    for outcome in ("error", "duplicate"):
        if failed := sum(run.outcome == outcome for run in story.tools):
            told[f"tool_{outcome}s"] = failed
    told |= {name: counts[name] for name in ("interruptions", "tails_overdue", "playouts_cut") if counts[name]}
    told |= {f"{name}_peak": round(peak, 3) for name, peak in record.peaks.items() if peak}
    for name, where in DROPS.items():
        if dropped_ms := round(counts[name] * 1000 / limits.AUDIO_BYTES_PER_SECOND):
            told[f"dropped_{where}_ms"] = dropped_ms
    if restarts := sum(child.restarts for child in record.tree):
        told["actor_restarts"] = restarts
    return told
