"""What an engine keeps: reported tool calls and turns of audio, and how each must look when it is posted."""

from collections.abc import Mapping
from typing import Any, Literal

import attrs

MAX_MONO_SECONDS = 1e10
"""Three hundred years of CLOCK_MONOTONIC: more is milliseconds, or no clock at all."""


@attrs.frozen
class EngineEvent:
    """One reported tool call. ``received_at`` is ISO 8601 in UTC; ``mono`` is CLOCK_MONOTONIC seconds."""

    simulation_id: str
    body: Mapping[str, Any]
    received_at: str
    mono: float

    @property
    def name(self) -> str:
        """The tool's name."""
        return str(self.body["data"]["name"])

    @property
    def arguments(self) -> Mapping[str, Any]:
        """The tool's arguments."""
        arguments: Mapping[str, Any] = self.body["data"]["arguments"]
        return arguments

    @property
    def result(self) -> Any:
        """What the tool gave, before it was made a string."""
        return self.body["data"]["result"]


@attrs.frozen
class AudioTurn:
    """Somebody spoke from ``started`` to ``ended``, CLOCK_MONOTONIC seconds; ``text`` None: the words are not known."""

    who: Literal["caller", "agent"]
    started: float
    ended: float
    text: str | None = None


@attrs.frozen
class PostedTurns:
    """The turns of one POST. ``received_at`` and ``mono`` are of its receipt, as in :class:`EngineEvent`."""

    simulation_id: str
    turns: tuple[AudioTurn, ...]
    received_at: str
    mono: float


def complaint_about(body: Any) -> str:
    """Why ``body`` is not the report of a tool call; empty when it is."""
    if not isinstance(body, dict) or set(body) != {"service", "event_type", "data"}:
        return "the body must have exactly the keys service, event_type, data"
    if body["service"] != "agent":
        return "service must be 'agent'"
    if body["event_type"] != "agent_tool_call":
        return "event_type must be 'agent_tool_call'"
    data = body["data"]
    if not isinstance(data, dict) or set(data) != {"name", "arguments", "result"}:
        return "data must have exactly the keys name, arguments, result"
    if not isinstance(data["name"], str) or not data["name"]:
        return "data.name must be the tool's name"
    if not isinstance(data["arguments"], dict):
        return "data.arguments must be an object"
    return ""


def complaint_about_turns(body: Any) -> str:
    """Why ``body`` is not ``{"turns": […]}``, with the place of the first fault; empty when it is."""
    if not isinstance(body, dict) or set(body) != {"turns"}:
        return "the body must have exactly the key turns"
    if not isinstance(body["turns"], list):
        return "turns must be a list"
    complaints = (_complaint_about_turn(turn, f"turns[{number}]") for number, turn in enumerate(body["turns"]))
    return next(filter(None, complaints), "")


def _complaint_about_turn(turn: Any, place: str) -> str:
    if not isinstance(turn, dict) or set(turn) != {"who", "started", "ended", "text"}:
        return f"{place} must have exactly the keys who, started, ended, text"
    if turn["who"] not in ("caller", "agent"):
        return f"{place}.who must be 'caller' or 'agent'"
    for name in ("started", "ended"):
        if not is_mono(turn[name]):
            return f"{place}.{name} must be CLOCK_MONOTONIC seconds"
    if turn["ended"] < turn["started"]:
        return f"{place}.ended must not be before its started"
    if turn["text"] is not None and not isinstance(turn["text"], str):
        return f"{place}.text must be a string or null"
    return ""


def is_mono(value: Any) -> bool:
    """Whether it can be CLOCK_MONOTONIC seconds."""
    # Not `float(value)`: that fails for a whole number of 400 digits. NaN is in no range.
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= MAX_MONO_SECONDS


def turns_of(body: Mapping[str, Any]) -> tuple[AudioTurn, ...]:
    """The turns of a body that nothing is wrong with."""
    return tuple(AudioTurn(turn["who"], turn["started"], turn["ended"], turn["text"]) for turn in body["turns"])


def body_of(turns: tuple[AudioTurn, ...]) -> dict[str, Any]:
    """What is posted of ``turns``, and kept."""
    return {"turns": [attrs.asdict(turn) for turn in turns]}
