"""What the console shows, as JSON values: read from the records of the calls whenever somebody looks, and kept nowhere.

Nothing here waits, so that each view is of one moment.
"""

import time
from collections.abc import Sequence
from typing import Any

import attrs
import msgspec

from runtime import limits
from runtime.house import House
from runtime.pulse import Pulse
from runtime.record import CallRecord
from runtime.supervisor import ChildState, Supervisor
from runtime.tunnels.tunnel import Tunnel


@attrs.frozen(eq=False)
class Process:
    """What there is to be looked at. `voice_url`: what callers of this machine connect to."""

    house: House
    supervisor: Supervisor
    pulse: Pulse
    voice_url: str


def state(process: Process, *, personal: bool, demo: bool) -> dict[str, Any]:
    """The calls, and how the process is."""
    records = list(process.house.history)
    settings = process.house.settings
    return {
        "now": round(time.time(), 3),
        "pod": settings.pod_id,
        "demo": demo,
        "personal_data": ("shown" if personal else "masked") if settings.console_personal_data else "off",
        "health": health(process),
        "calls": [row(record) for record in records[: limits.CONSOLE_CALLS]],
        "more_calls": max(0, len(records) - limits.CONSOLE_CALLS),
    }


def health(process: Process) -> dict[str, Any]:
    house, ready = process.house, process.house.readiness
    counts, calls, reporter = house.counts, house.vapi_calls, house.reporter
    refused = sum(count for name, count in counts.items() if name.startswith(("callers_refused", "calls_refused")))
    return {
        "ready": not ready.why_not,
        "why_not": ready.why_not,
        "voice": {
            "url": process.voice_url,
            "calls": len(house.history.live),
            "most": house.settings.max_calls,
            "draining": ready.draining,
            "refused": refused - counts["calls_refused_by_rate"],  # which are counted twice
        },
        "tunnel": _tunnel(house),
        "database": {"state": ready.database_state, "detail": ready.database_trouble, **_pool(house)},
        "engine": {
            "on": reporter.simulation_id is not None,
            "queued": reporter.queued,
            "most": limits.REPORTS_ITEMS,
            "reported": reporter.counts["reported"],
            "dropped": reporter.counts["dropped"],
        },
        "vapi": {
            "used": calls.slots.used,
            "most": calls.slots.usable,
            "waiting": calls.slots.waiting,
            "possibly_billed": calls.counts["possibly_billed"],
        },
        "loop": {
            "lag_ms": round(process.pulse.lag_seconds * 1000, 2),
            "worst_ms": round(process.pulse.worst_seconds * 1000, 2),
        },
        "tree": _tree("process", process.supervisor.children()),
    }


def _tunnel(house: House) -> dict[str, Any]:
    way = house.way_in
    if not isinstance(way, Tunnel):
        url = getattr(way, "url", "")
        return {"kind": "fixed", "state": "ready", "url": url, "users": 0, "restarts": 0}
    restarts = way.counts["restarts"]
    return {"kind": way.engine.name, "state": way.state, "url": way.url, "users": way.users, "restarts": restarts}


def _pool(house: House) -> dict[str, Any]:
    connections = house.database.statistics()
    return {"used": connections.used, "idle": connections.idle, "most": connections.most}


def row(record: CallRecord) -> dict[str, Any]:
    """One call in a line."""
    story, ending = record.story, record.ending
    age_seconds = record.age_seconds
    return {
        "id": record.id,
        "vapi_call_id": record.vapi_call_id,
        "phase": "over" if ending is not None else record.phase,
        "started": round(record.began_at, 2),
        "age_seconds": round(age_seconds, 2),
        "peer": record.peer,
        "protocol": record.protocol,
        "speaking": sorted(story.speaking),
        "level_db": {
            "caller": record.caller_level.now_db(age_seconds),
            "agent": record.agent_level.now_db(age_seconds),
        },
        "channels": _channels(record),
        "turns": story.turns["agent"],
        "turn_latency_ms": _rounded(story.turn_latency_ms),
        "tools": len(story.tools),
        "tool_running": story.tool_running,
        "ending": ending and {
            "by": ending.by,
            "reason": ending.reason,
            "code": ending.code,
            "detail": record.masker.text(ending.detail),
            "ok": ending.well,
        },
        "recording": record.recording.state if record.recording is not None else None,
    }  # fmt: skip


def _rounded(latency: dict[str, float] | None) -> dict[str, float] | None:
    return latency and {name: round(milliseconds, 1) for name, milliseconds in latency.items()}


def _channels(record: CallRecord) -> dict[str, Any]:
    """How full each is, against its bound; of a call that is over, how full it once was."""
    found: dict[str, Any] = {}
    for name, statistics in record.channels.items():
        one = statistics()
        found[name] = {
            "queued": round(one.queued_seconds, 3),
            "bound": one.bound_seconds,
            "peak": round(one.peak_seconds, 3),
            "waits": one.waits,
            "unit": "seconds",
        }
    if not found:
        for name, bound in (("caller_audio", limits.CALLER_AUDIO_SECONDS), ("agent_audio", limits.AGENT_AUDIO_SECONDS)):
            peak = round(record.peaks.get(f"{name}_seconds", 0.0), 3)
            found[name] = {"queued": 0.0, "bound": bound, "peak": peak, "waits": 0, "unit": "seconds"}
    queued = 0
    if record.tool_posts is not None and record.ending is None:
        queued = record.tool_posts.statistics().current_buffer_used
    peak = int(record.peaks.get("tool_posts_items", 0))
    found["tool_posts"] = {
        "queued": queued,
        "bound": limits.TOOL_QUEUE_ITEMS,
        "peak": peak,
        "waits": 0,
        "unit": "items",
    }
    return found


def _tree(name: str, children: Sequence[ChildState]) -> dict[str, Any]:
    return {"name": name, "children": [attrs.asdict(child) for child in children]}


@attrs.define
class CallReader:
    """What is new of one call, each time that it is asked. Mutable: how far each part was read."""

    record: CallRecord
    personal: bool
    next_event: int = 0
    next_caller_level: int = 0
    next_agent_level: int = 0
    most_events: int = limits.CONSOLE_EVENTS

    def read(self) -> dict[str, Any]:
        record = self.record
        private = record.story.private if self.personal else None
        events = private or record.story.events
        first = max(self.next_event, events.first)
        lines = [msgspec.Raw(line) for line in events.since(first, self.most_events)]
        caller, agent = record.caller_level, record.agent_level
        levels = {
            "from": {"caller": self.next_caller_level, "agent": self.next_agent_level},
            "caller": caller.since(self.next_caller_level),
            "agent": agent.since(self.next_agent_level),
        }
        self.next_event, self.next_caller_level, self.next_agent_level = first + len(lines), caller.next, agent.next
        return {
            "id": record.id,
            "row": row(record),
            "tree": _tree(f"call {record.id}", record.tree),
            "from": first,
            "events": lines,
            "next": self.next_event,
            "levels": levels,
            "counts": dict(record.counts),
            "summary": record.summary,
        }
