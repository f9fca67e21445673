"""The record of one call: what must outlive its actors, and what is told of it afterwards.

A restarted dispatcher must neither forget nor grant anything, and a webhook finds its call before the
call's id at Vapi is known: so secret, phase, ids and counts live here, not in an actor.
"""

import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import attrs
import trio

from runtime.channels import AudioStatistics
from runtime.errors import CallError
from runtime.levels import Levels
from runtime.masking import Masker
from runtime.story import CallStory
from runtime.supervisor import ChildState, Supervisor
from runtime.tool_pause import ToolPause
from runtime.tool_posts import PendingPost
from runtime.webhook_secret import call_tag

if TYPE_CHECKING:
    from runtime.recording import Recording

Who = Literal["caller", "agent", "vapi", "tool", "engine", "runtime"]
Phase = Literal["setting_up", "live", "over"]


@attrs.frozen
class Event:
    """One line of trace.jsonl. `t`: seconds since the caller connected; `mono`: CLOCK_MONOTONIC, which all
    processes of a host share."""

    t: float
    mono: float
    call: str
    who: Who
    event: str
    data: dict[str, Any]


EventSink = Callable[[Event], None]


@attrs.frozen
class Ending:
    """Why a call ended, and what its caller is told. Reasons are fixed words (runtime/errors.py)."""

    by: Literal["caller", "vapi", "runtime"]
    reason: str
    code: int = 1000
    detail: str = ""

    @property
    def well(self) -> bool:
        """One side wanted it to end, or we were told to stop."""
        return self.reason in ("call_ended", "shutting_down")

    @classmethod
    def of(cls, error: CallError, by: Literal["caller", "vapi", "runtime"]) -> "Ending":
        return cls(by, error.close_reason, error.code, str(error))


@attrs.define(eq=False)
class CallRecord:
    """Mutable: phase, vapi_call_id, ending, counts, tool_posts, tool_pause, and all that is there to be looked at.
    Written by the call's own actors and by VapiCalls (vapi_call_id); read by the webhook, the doors and the console.

    No byte of audio goes uncounted. Once the call is over,

        caller_bytes = setup_bytes_discarded + uplink_bytes + uplink_bytes_discarded
        agent_bytes = downlink_bytes + interrupted_bytes + downlink_bytes_discarded

    Received on the left. `uplink_bytes` and `downlink_bytes` were sent whole; what was cut in the middle of a
    send, queued at the end, or of no use any more, was discarded. What we insert is counted apart, when sent
    whole: `uplink_silent_frames`, `tail_bytes`.
    """

    id: str
    _sink: EventSink
    call_key: bytes = attrs.field(factory=lambda: secrets.token_bytes(16), repr=False)
    phase: Phase = "setting_up"
    vapi_call_id: str | None = None
    vapi_call_known: trio.Event = attrs.field(factory=trio.Event, repr=False)
    vapi_said_goodbye: bool = False
    """Vapi ended the call itself: there is nothing left to end."""
    reported: dict[str, str] = attrs.field(factory=dict, repr=False)
    """Per toolCallId, the outcome that the engine was told."""
    tool_posts: "trio.MemorySendChannel[PendingPost] | None" = attrs.field(default=None, repr=False)
    tool_pause: ToolPause = attrs.field(factory=ToolPause, repr=False)
    """Told by the dispatcher and the watcher, asked by the padder."""
    ending: Ending | None = None
    counts: Counter[str] = attrs.field(factory=Counter)
    peaks: dict[str, float] = attrs.field(factory=dict)
    started_at: float = attrs.field(factory=trio.current_time)
    masker: Masker = attrs.field(factory=Masker, repr=False)
    began_at: float = attrs.field(factory=time.time)
    """As the wall's clock had it: unix seconds."""
    peer: str = ""
    protocol: str = ""
    story: CallStory = attrs.field(factory=CallStory, repr=False)
    caller_level: Levels = attrs.field(factory=Levels, repr=False)
    agent_level: Levels = attrs.field(factory=Levels, repr=False)
    recording: "Recording | None" = attrs.field(default=None, repr=False)
    supervisor: Supervisor | None = attrs.field(default=None, repr=False)
    channels: "dict[str, Callable[[], AudioStatistics]]" = attrs.field(factory=dict, repr=False)
    live_at: float | None = None
    over_at: float | None = None
    """When all of it was done, on Trio's clock."""
    teardown_seconds: float | None = None
    """From what ended the call until all was done; known then."""
    summary: dict[str, Any] | None = attrs.field(default=None, repr=False)
    _last_tree: "Sequence[ChildState]" = attrs.field(default=(), repr=False)

    @property
    def ledger_id(self) -> str:
        """The call's name in the database: from the secret its webhooks carry, so that nobody else can use it."""
        return call_tag(self.call_key)

    def event(self, who: Who, event: str, /, **data: Any) -> None:
        """Tell the sink, with personal data masked: no sink can show what it was not told."""
        t, told = round(self.age_seconds, 4), self.masker.masked(data)
        self.story.on_event(t, who, event, told)
        if self.story.private is not None:
            self.story.private.add(t, who, event, data)
        self._sink(Event(t, time.monotonic(), self.id, who, event, told))

    def known_at_vapi_as(self, vapi_call_id: str) -> None:
        self.vapi_call_id = vapi_call_id
        self.vapi_call_known.set()

    @contextmanager
    def in_hand(self, pcm: bytes, discarded: str) -> Iterator[None]:
        """The body passes `pcm` on. If it does not come to its end, `pcm` is lost, and counted as `discarded`."""
        passed_on = False
        try:
            yield
            passed_on = True
        finally:
            if not passed_on:
                self.counts[discarded] += len(pcm)

    @property
    def age_seconds(self) -> float:
        """Since the caller connected; once the call is over, how long it lasted."""
        return (self.over_at or trio.current_time()) - self.started_at

    @property
    def setup_seconds(self) -> float | None:
        """From the caller's connection to Vapi's open socket; None when it never was."""
        return None if self.live_at is None else self.live_at - self.started_at

    @property
    def tree(self) -> Sequence[ChildState]:
        """The call's supervised actors as they are; once it is over, as they were at its end."""
        return self.supervisor.children() if self.supervisor is not None else self._last_tree

    def all_done(self, ending: Ending) -> None:
        """Nothing of the call is left but this record: keep what is looked at later, and let go of the rest."""
        self.ending, self.over_at = ending, trio.current_time()
        if self.supervisor is not None:
            self.teardown_seconds = self.over_at - (self.supervisor.ends_at or self.over_at)
            self._last_tree, self.supervisor = self.supervisor.children(), None
        for name, statistics in self.channels.items():
            self.counts[f"{name}_waits"] += statistics().waits
        self.channels = {}


@attrs.frozen
class Calls:
    """The calls of this process, found by the key that their webhooks carry."""

    _by_key: dict[bytes, CallRecord] = attrs.field(factory=dict, repr=False)

    @contextmanager
    def registered(self, record: CallRecord) -> Iterator[None]:
        self._by_key[record.call_key] = record
        try:
            yield
        finally:
            del self._by_key[record.call_key]

    def find(self, call_key: bytes) -> CallRecord | None:
        return self._by_key.get(call_key)

    def at_vapi(self, vapi_call_id: str | None) -> CallRecord | None:
        """By Vapi's id, which is no secret: for those who have proved otherwise that they may ask."""
        if vapi_call_id is None:
            return None
        return next((record for record in self._by_key.values() if record.vapi_call_id == vapi_call_id), None)

    def __len__(self) -> int:
        return len(self._by_key)

    def __iter__(self) -> Iterator[CallRecord]:
        return iter(list(self._by_key.values()))
