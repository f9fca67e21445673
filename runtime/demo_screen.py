"""What `voice demo` prints while the call is held."""

from collections.abc import Mapping
from typing import Any, Final

import attrs
from rich.console import Console
from rich.markup import escape

from runtime.masking import Masker
from runtime.record import Event
from simulation import events as simulated

COLOURS: Final = {
    "caller": "cyan",
    "agent": "green",
    "tool": "yellow",
    "engine": "magenta",
    "vapi": "blue",
    "runtime": "dim",
}


@attrs.define
class Screen:
    """Prints the conversation, one line per thing that happens. Mutable: `events`, all that was shown or not."""

    console: Console
    events: list[Event] = attrs.field(factory=list)
    masker: Masker = attrs.field(factory=Masker)

    def step(self, line: str) -> None:
        self.console.print(f"[dim]{line}[/dim]")

    def on_event(self, event: Event) -> None:
        self.events.append(event)
        line = _spoken_of(event.event, event.data)
        if line:
            self._print(event.t, event.who, line)

    def on_engine_event(self, event: simulated.Event) -> None:
        # The engine counts from its own start; the newest event of the call is at about the same time.
        now = self.events[-1].t if self.events else 0.0
        self._print(now, "engine", f"was told: {event.data.get('name', event.event)}")

    def _print(self, seconds: float, who: str, line: str) -> None:
        colour = COLOURS.get(who, "white")
        self.console.print(f"[dim]{seconds:6.2f} s[/dim]  [{colour}]{who:<7}[/{colour}] {escape(line)}")


def _spoken_of(event: str, data: Mapping[str, Any]) -> str | None:
    """What is worth a line on the screen."""
    match event:
        case "connected":
            return "connected"
        case "call-created":
            return f"call {data['id']} created"
        case "turn-started":
            return "speaks …"
        case "transcript":
            return f"“{data['text']}”"
        case "tool-call":
            arguments = ", ".join(f"{name}={value!r}" for name, value in data["arguments"].items())
            return f"{data['name']}({arguments})"
        case "tool-answer":
            return f"  → {data.get('error') or data.get('result')}  ({data['seconds'] * 1000:.0f} ms)"
        case "tail":
            return f"{data['seconds']:.2f} s of silence behind the agent's turn"
        case "interrupted":
            return "barged in"
        case "call-over":
            return f"the call is over: {data['reason']}, by the {data['by']}"
    return None
