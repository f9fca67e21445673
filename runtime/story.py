"""The story of one call: what its events add up to, and the events themselves, to be looked at and to be told at its
end. Pure: it is given the events, masked.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any, Literal

import attrs
import msgspec

from runtime import limits

Outcome = Literal["result", "error", "duplicate"]


@attrs.frozen
class ToolRun:
    """One call of a tool, answered. `seconds`: from when the dispatcher took it to its answer."""

    name: str
    outcome: Outcome
    seconds: float

    @classmethod
    def of(cls, name: str, error: str | None, *, stored: bool, seconds: float) -> "ToolRun":
        """`stored`: the answer came from the ledger, and nothing ran."""
        outcome: Outcome = "duplicate" if stored else "result" if error is None else "error"
        return cls(name[: limits.AUDIT_CHARACTERS], outcome, seconds)


@attrs.define(eq=False)
class StoredEvents:
    """Events as lines of JSON: small, and nothing in them for the garbage collector.

    Mutable: the lines; `first`, the number of the oldest that is kept; `size_bytes` of all.
    """

    lines: list[bytes] = attrs.field(factory=list)
    first: int = 0
    size_bytes: int = 0

    def add(self, t: float, who: str, event: str, data: dict[str, Any]) -> None:
        row = {"n": self.next, "t": t, "who": who, "event": event, "data": data}
        line = msgspec.json.encode(row, enc_hook=str)
        if len(line) > limits.STORY_EVENT_BYTES:
            row["data"] = {key: value for key, value in data.items() if _is_short(value)} | {"shortened": True}
            line = msgspec.json.encode(row, enc_hook=str)
        self.lines.append(line)
        self.size_bytes += len(line)
        if len(self.lines) > limits.STORY_EVENTS or self.size_bytes > limits.STORY_BYTES:
            drop = len(self.lines) // 4
            self.size_bytes -= sum(map(len, self.lines[:drop]))
            del self.lines[:drop]
            self.first += drop

    @property
    def next(self) -> int:
        return self.first + len(self.lines)

    def since(self, number: int, most: int = limits.STORY_EVENTS) -> Sequence[bytes]:
        at = max(0, number - self.first)
        return self.lines[at : at + most]


def _is_short(value: Any) -> bool:
    return value is None or isinstance(value, int | float) or (isinstance(value, str) and len(value) <= 200)


@attrs.define(eq=False)
class CallStory:
    """Mutable, all of it; told by `CallRecord.event`.

    `turn_latencies`: seconds from the caller's `stopped`, as Vapi heard it, to the assistant's next `started`.
    `private`: the events before they were masked, where the settings allow the console to be told.
    """

    events: StoredEvents = attrs.field(factory=StoredEvents)
    private: StoredEvents | None = None
    speaking: set[str] = attrs.field(factory=set)
    turns: Counter[str] = attrs.field(factory=Counter)
    turn_latencies: list[float] = attrs.field(factory=list)
    tool_running: str | None = None
    tools: list[ToolRun] = attrs.field(factory=list)
    on_tool: Callable[[ToolRun], None] = lambda _run: None
    _caller_stopped_at: float | None = None

    def on_event(self, t: float, who: str, event: str, masked: dict[str, Any]) -> None:
        self.events.add(t, who, event, masked)
        match event:
            case "turn-started":
                self._on_started(t, who)
            case "turn-stopped":
                self.speaking.discard(who)
                if who == "caller":
                    self._caller_stopped_at = t
            case "tool-call":
                self.tool_running = str(masked["name"])[: limits.AUDIT_CHARACTERS]
            case "tool-answer":
                self._on_answer(masked)
            case "call-over":
                self.speaking.clear()
                self.tool_running = None

    def _on_started(self, t: float, who: str) -> None:
        self.speaking.add(who)
        self.turns[who] += 1
        if who == "agent" and self._caller_stopped_at is not None and len(self.turn_latencies) < limits.STORY_EVENTS:
            self.turn_latencies.append(round(t - self._caller_stopped_at, 3))
        self._caller_stopped_at = None

    def _on_answer(self, data: dict[str, Any]) -> None:
        self.tool_running = None
        run = ToolRun.of(data["name"], data.get("error"), stored=data["duplicate"], seconds=data["seconds"])
        self.on_tool(run)
        if len(self.tools) < limits.STORY_EVENTS:
            self.tools.append(run)

    @property
    def turn_latency_ms(self) -> dict[str, float] | None:
        """`last`, `median` and `most`; None before the first."""
        known = self.turn_latencies
        if not known:
            return None
        return {"last": known[-1] * 1000, "median": median(known) * 1000, "most": max(known) * 1000}
