"""One call on the simulated Vapi: everything that was asked for, said, heard, called and answered in it."""

import bisect
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import attrs
import trio

from simulation.events import EventLog, mono_now
from simulation.pcm import BYTES_PER_SECOND
from simulation.vapi_names import DEFAULT_CLIENT_MESSAGES
from simulation.webhook_client import WebhookExchange

DEFAULT_SILENCE_SECONDS = 30.0
DEFAULT_MAX_SECONDS = 600.0
EARLY_SECONDS = 0.1
"""Audio may run this far ahead of real time (network jitter) before it counts as too fast."""


def iso(seconds: float) -> str:
    """Seconds since 1970 as Vapi writes dates."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@attrs.define(eq=False)
class SimulatedCall:
    """A call's record. Mutable: everything below ``log`` changes while the call runs, and only the cloud writes it.

    Audio and texts are kept whole, for the comparison afterwards: a call of ten minutes is 29 MB each way.
    """

    id: str
    request: Mapping[str, Any]
    created_at: float
    log: EventLog
    status: str = "queued"
    ended_reason: str | None = None
    ended_by: str | None = None
    """Who ended it: ``client`` (end-call or its close), ``control``, ``assistant`` or ``vapi``."""
    updated_at: float = attrs.field(init=False)
    dialled: bool = False
    opened_mono: float | None = None
    """CLOCK_MONOTONIC when the call's socket opened."""
    closed_mono: float | None = None
    close_code: int | None = None
    """Code of the client's close frame; 1006 when it left without one; None when the cloud closed first."""
    heard: bytearray = attrs.field(factory=bytearray, repr=lambda audio: f"{len(audio)} bytes")
    spoken: bytearray = attrs.field(factory=bytearray, repr=lambda audio: f"{len(audio)} bytes")
    spoken_at: list[tuple[float, int]] = attrs.field(factory=list, repr=lambda times: f"{len(times)} messages")
    """Of each message of audio: CLOCK_MONOTONIC when it went out, and the bytes of ``spoken`` with it."""
    heard_messages: int = 0
    exchanges: list[WebhookExchange] = attrs.field(factory=list)
    received_texts: list[str] = attrs.field(factory=list)
    sent_texts: list[Mapping[str, Any]] = attrs.field(factory=list)
    controls: list[Mapping[str, Any]] = attrs.field(factory=list)
    violations: list[str] = attrs.field(factory=list)
    interruptions: int = 0
    resumptions: list[int] = attrs.field(factory=list)
    """Positions in ``spoken`` where speech began anew after an interruption: what lies before may never be played."""
    bytes_too_fast: int = 0
    """The most the caller's audio was ever ahead of real time, beyond EARLY_SECONDS, in bytes."""
    longest_gap_ms: float = 0.0
    """The longest time between two audio messages of the client."""
    ending: trio.Event = attrs.field(factory=trio.Event, repr=False)
    """Set when the end has been decided; ``status`` is ``ended`` from that moment."""
    over: trio.Event = attrs.field(factory=trio.Event, repr=False)
    """Set when the socket is closed as well."""
    _first_audio: float | None = None
    _last_audio: float = 0.0

    def __attrs_post_init__(self) -> None:
        self.updated_at = self.created_at

    @property
    def assistant(self) -> Mapping[str, Any]:
        """The inline assistant of the request; empty when it named a stored one."""
        assistant: Mapping[str, Any] = self.request.get("assistant") or {}
        return assistant

    @property
    def subscribed(self) -> frozenset[str]:
        """The text messages the client asked for, or Vapi's default list."""
        return frozenset(self.assistant.get("clientMessages") or DEFAULT_CLIENT_MESSAGES)

    @property
    def silence_seconds(self) -> float:
        """``silenceTimeoutSeconds``; 30 s when not given."""
        return float(self.assistant.get("silenceTimeoutSeconds") or DEFAULT_SILENCE_SECONDS)

    @property
    def max_seconds(self) -> float:
        """``maxDurationSeconds``; OpenAPI's default is 600."""
        return float(self.assistant.get("maxDurationSeconds") or DEFAULT_MAX_SECONDS)

    @property
    def tools(self) -> Mapping[str, Mapping[str, Any]]:
        """The request's function tools by name."""
        tools = (self.assistant.get("model") or {}).get("tools") or []
        return {tool["function"]["name"]: tool for tool in tools if tool.get("function")}

    @property
    def cut_until(self) -> tuple[int, ...]:
        """``resumptions``, and the end of ``spoken`` when nothing has followed the last interruption."""
        at_the_end = (len(self.spoken),) if self.interruptions > len(self.resumptions) else ()
        return (*self.resumptions, *at_the_end)

    def end(self, reason: str, by: str) -> None:
        """Decide the end; the first decision counts."""
        if self.ending.is_set():
            return
        self.status, self.ended_reason, self.ended_by = "ended", reason, by
        self.updated_at = self.created_at + (self.log.add("vapi", "call-ended", reason=reason, by=by).t)
        self.ending.set()

    def hear(self, pcm: bytes) -> None:
        """Record audio of the client and how it keeps pace with real time."""
        now = trio.current_time()
        if self._first_audio is None:
            self._first_audio = now
        else:
            self.longest_gap_ms = max(self.longest_gap_ms, (now - self._last_audio) * 1000)
        self._last_audio = now
        self.heard_messages += 1
        # What arrives now may be as long as one message ahead by nature: count what came before it.
        ahead = len(self.heard) - (now - self._first_audio + EARLY_SECONDS) * BYTES_PER_SECOND
        self.bytes_too_fast = max(self.bytes_too_fast, int(ahead))
        self.heard += pcm

    def speak(self, pcm: bytes) -> None:
        """Record audio that goes out."""
        self.spoken += pcm
        self.spoken_at.append((mono_now(), len(self.spoken)))

    def spoken_by(self, mono: float) -> int:
        """How many bytes of ``spoken`` had gone out at that time (CLOCK_MONOTONIC)."""
        index = bisect.bisect_right(self.spoken_at, mono, key=lambda sent: sent[0])
        return self.spoken_at[index - 1][1] if index else 0

    def violate(self, what: str) -> None:
        """Record something the real service would not have understood."""
        self.violations.append(what)
        self.log.add("vapi", "violation", what=what)

    def as_json(self, monitor: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The Call object of the REST API; ``monitor`` only where the real one has it."""
        body: dict[str, Any] = {
            "id": self.id,
            "type": "vapi.websocketCall",
            "status": self.status,
            "orgId": "00000000-0000-4000-8000-000000000000",
            "cost": 0,
            "createdAt": iso(self.created_at),
            "updatedAt": iso(self.updated_at),
            "assistant": self.assistant,
        }
        body |= {name: self.request[name] for name in ("name", "metadata", "assistantId") if name in self.request}
        if self.ended_reason is not None:
            body |= {"endedReason": self.ended_reason, "endedAt": iso(self.updated_at)}
        return body | ({"monitor": monitor} if monitor else {})
