"""runtime/summary.py: the line of a call that is over."""

import re
from pathlib import Path
from typing import Final

import trio

from runtime import limits
from runtime.record import CallRecord, Ending
from runtime.summary import summary
from tests.fakes import new_record

SECOND = limits.AUDIO_BYTES_PER_SECOND


def busy_call() -> CallRecord:
    """A record in which everything that a summary tells of has happened."""
    record = new_record()
    record.known_at_vapi_as("vapi-1")
    record.live_at = record.started_at + 0.25
    for who, event in (("caller", "turn-started"), ("caller", "turn-stopped"), ("agent", "turn-started")):
        record.event(who, event, turn=1)  # type: ignore[arg-type]
    for outcome in ({"result": 1}, {"error": "no"}):
        record.event("tool", "tool-answer", name="replace_card", seconds=0.5, duplicate=False, **outcome)
    record.event("tool", "tool-answer", name="replace_card", seconds=0.1, duplicate=True, result=1)
    record.counts.update(
        setup_bytes_discarded=SECOND, uplink_bytes_discarded=SECOND // 2, downlink_bytes_discarded=SECOND // 4,
        interrupted_bytes=SECOND // 5, interruptions=2, tails_overdue=1, playouts_cut=1,
    )  # fmt: skip
    record.peaks.update(caller_audio_seconds=0.02, agent_audio_seconds=1.5, tool_posts_items=2)
    return record


async def test_summary_tells_what_one_asks_first() -> None:
    record = busy_call()
    await trio.sleep(3)
    ending = Ending("vapi", "vapi_lost", 1011, "Vapi's socket broke (1006)")
    record.all_done(ending)
    told = summary(record, ending)
    expected = {
        "vapi_call_id": "vapi-1", "seconds": 3.0, "ended_by": "vapi", "reason": "vapi_lost",
        "detail": "Vapi's socket broke (1006)", "setup_seconds": 0.25, "teardown_seconds": None, "agent_turns": 1,
        "caller_turns": 1, "tools": 3, "tools_called": "replace_card", "tool_errors": 1, "tool_duplicates": 1,
        "tool_most_seconds": 0.5, "interruptions": 2, "tails_overdue": 1, "playouts_cut": 1,
        "dropped_before_vapi_listened_ms": 1000, "dropped_towards_vapi_ms": 500, "dropped_towards_the_caller_ms": 250,
        "dropped_interrupted_ms": 200, "caller_audio_seconds_peak": 0.02, "agent_audio_seconds_peak": 1.5,
        "tool_posts_items_peak": 2,
    }  # fmt: skip
    assert {name: told[name] for name in expected} == expected
    assert told["turn_latency_median_ms"] == told["turn_latency_most_ms"] == 0


async def test_summary_of_a_call_that_never_came_about_is_short() -> None:
    record = new_record()
    ending = Ending("vapi", "callee_no_answer: vapi_down", 1011, "Vapi is away")
    record.all_done(ending)
    told = summary(record, ending)
    assert told["setup_seconds"] is None
    assert not any(name.startswith(("dropped", "tool_", "turn_")) for name in told)


OPERATIONS: Final = Path("docs/operations.md").read_text()


async def test_every_field_that_is_explained_is_told() -> None:
    section = OPERATIONS.partition("\n## The log\n")[2].partition("\n## ")[0]
    explained = {
        name
        for line in section.splitlines()
        if line.startswith("| `")
        for name in re.findall(r"`(\w+)`", line.split(" | ")[0])
    }
    record = busy_call()
    ending = Ending("caller", "call_ended")
    record.all_done(ending)
    assert explained - {"actor_restarts"} == set(summary(record, ending)) - {"vapi_call_id"}
