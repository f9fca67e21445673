"""Scripted states of a process and of calls, as the console door tells them."""

import io
import json
import math
import struct
import wave
from typing import Any, Final

from tests.console.fake_console import FakeConsole

NOW: Final = 1_795_000_000.0
CALL: Final = "c-4f1a2b3c4d5e"

HEALTH: dict[str, Any] = {
    "ready": True,
    "why_not": [],
    "voice": {"url": "ws://127.0.0.1:8008/voice", "calls": 0, "most": 200, "draining": False, "refused": 0},
    "tunnel": {"kind": "fixed", "state": "ready", "url": "http://127.0.0.1:8009", "users": 0, "restarts": 0},
    "database": {"state": "up", "detail": "", "used": 1, "idle": 3, "most": 10},
    "engine": {"on": True, "queued": 0, "most": 1000, "reported": 5, "dropped": 0},
    "vapi": {"used": 1, "most": 10, "waiting": 0, "possibly_billed": 0},
    "loop": {"lag_ms": 0.4, "worst_ms": 3.1},
    "tree": {
        "name": "process",
        "children": [
            {"name": name, "state": "running", "restarts": 0, "significant": significant}
            for name, significant in (("Switchboard", True), ("EngineReporter", False), ("VapiCalls", True))
        ],
    },
}


def state(*rows: dict[str, Any], **changes: Any) -> dict[str, Any]:
    whole = {"now": NOW, "pod": "pod-1", "demo": False, "personal_data": "off", "health": HEALTH}
    return whole | {"calls": list(rows), "more_calls": 0} | changes


def row(name: str, **changes: Any) -> dict[str, Any]:
    channel = {"queued": 0.1, "bound": 0.5, "peak": 0.2, "waits": 0, "unit": "seconds"}
    return {
        "id": name,
        "vapi_call_id": "0190-aa",
        "phase": "live",
        "started": NOW - 12,
        "age_seconds": 12.3,
        "peer": "127.0.0.1:40312",
        "protocol": "binary",
        "speaking": [],
        "level_db": {"caller": -96, "agent": -96},
        "channels": {
            "caller_audio": channel,
            "agent_audio": channel | {"bound": 2.0},
            "tool_posts": {"queued": 0, "bound": 16, "peak": 1, "waits": 0, "unit": "items"},
        },
        "turns": 1,
        "turn_latency_ms": {"last": 812.0, "median": 790.0, "most": 1200.0},
        "tools": 0,
        "tool_running": None,
        "ending": None,
        "recording": None,
    } | changes


ACTORS = ("ActorSocketReader", "ToolDispatcher", "SilencePadder", "VapiSocketWriter", "ControlMessageWatcher")


def call(of: dict[str, Any], told: list[tuple[float, str, str, dict[str, Any]]], **changes: Any) -> dict[str, Any]:
    """A `call` message with all its events: (t, who, event, data)."""
    actor_state = "running" if of["ending"] is None else "ended"
    children = [
        {"name": name, "state": actor_state, "restarts": 0, "significant": name in ACTORS[::2]} for name in ACTORS
    ]
    return {
        "id": of["id"],
        "row": of,
        "tree": {"name": f"call {of['id']}", "children": children},
        "events": [
            {"n": n, "t": t, "who": who, "event": event, "data": data} for n, (t, who, event, data) in enumerate(told)
        ],
        "levels": {"caller": levels(0.5, 4.0), "agent": levels(4.5, 8.0)},
        "counts": {"caller_frames": 500, "tools": 1},
        "summary": None,
    } | changes


def levels(since: float, until: float, whole_seconds: float = 12.0) -> list[list[float]]:
    return [
        [i / 2, round(-20 - 6 * math.sin(i)) if since <= i / 2 < until else -96] for i in range(int(whole_seconds * 2))
    ]


GREETING: list[tuple[float, str, str, dict[str, Any]]] = [
    (0.0, "caller", "connected", {"peer": "127.0.0.1:40312", "protocol": "binary"}),
    (0.2, "vapi", "call-created", {"id": "0190-aa"}),
    (0.3, "vapi", "socket-opened", {}),
    (0.5, "caller", "turn-started", {"turn": 1}),
    (4.0, "caller", "turn-stopped", {"turn": 1}),
    (4.1, "caller", "transcript", {"text": "Please replace my card, it ends in [number]."}),
]
TOOL_CALL = (4.4, "tool", "tool-call", {"id": "t-1", "name": "replace_card", "arguments": {"card": "[number]"}})
TOOL_ANSWER = (
    5.2, "tool", "tool-answer",
    {"id": "t-1", "name": "replace_card", "seconds": 0.8, "duplicate": False, "result": "The new card is on its way."},
)  # fmt: skip
TOOL_ERROR = (
    5.2, "tool", "tool-answer",
    {"id": "t-1", "name": "replace_card", "seconds": 0.8, "duplicate": False, "error": "the database did not answer"},
)  # fmt: skip
REPLY: list[tuple[float, str, str, dict[str, Any]]] = [
    (5.5, "agent", "turn-started", {"turn": 1}),
    (7.0, "caller", "interrupted", {"dropped_seconds": 0.4}),
    (8.0, "agent", "turn-stopped", {"turn": 1}),
    (8.1, "agent", "transcript", {"text": "Your new card is on its way."}),
    (8.2, "runtime", "tail", {"seconds": 1.7, "overdue": False, "cut": False}),
]
CALL_OVER = (12.0, "runtime", "call-over", {"by": "caller", "reason": "call_ended"})
HUNG_UP = {"by": "caller", "reason": "call_ended", "code": 1000, "detail": "said end", "ok": True}
LOST = {"by": "vapi", "reason": "vapi_lost", "code": 1011, "detail": "Vapi's socket broke (1006)", "ok": False}


def recording(seconds: float = 2.0) -> bytes:
    """A WAV file: the caller left, the agent right."""
    told = io.BytesIO()
    with wave.open(told, "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(24_000)
        wanted = int(seconds * 24_000)
        file.writeframes(b"".join(struct.pack("<hh", int(3000 * math.sin(i / 9)), 0) for i in range(wanted)))
    return told.getvalue()


def waveform(seconds: float = 12.0) -> dict[str, Any]:
    steps = int(seconds / 0.05)
    return {
        "step_seconds": 0.05,
        "seconds": seconds,
        "caller": [40 + i % 30 if 10 < i < 80 else 0 for i in range(steps)],
        "agent": [30 + i % 40 if 110 < i < 160 else 0 for i in range(steps)],
    }


def tell(console: FakeConsole, *calls: dict[str, Any], **changes: Any) -> None:
    """The console tells of these calls from now on."""
    for one in calls:
        console.calls[one["id"]] = one
    console.state = state(*(one["row"] for one in calls), **changes)
    console.tell()


def over(name: str = CALL, **changes: Any) -> dict[str, Any]:
    """A call with a tool and an interruption in it, that went well."""
    told = [*GREETING, TOOL_CALL, TOOL_ANSWER, *REPLY, CALL_OVER]
    ended = {"phase": "over", "ending": HUNG_UP, "age_seconds": 12.0, "tools": 1}
    return call(row(name, **(ended | changes)), told, summary={"seconds": 12.0})


def recorded(console: FakeConsole, name: str = CALL) -> dict[str, Any]:
    console.files[f"/calls/{name}/recording.wav"] = ("audio/wav", recording())
    console.files[f"/calls/{name}/waveform"] = ("application/json", json.dumps(waveform()).encode())
    return over(name, recording="ready")


def failed() -> dict[str, Any]:
    broken = row(CALL, phase="over", ending=LOST, age_seconds=6.6)
    lost = (6.5, "vapi", "lost", {"code": 1006, "reason": "abnormal"})
    end = (6.6, "runtime", "call-over", {"by": "vapi", "reason": "vapi_lost"})
    counts = {"downlink_bytes_discarded": 28_800, "playouts_cut": 1}
    return call(broken, [*GREETING, TOOL_CALL, TOOL_ERROR, lost, end], counts=counts)
