"""What happened, when, and who did it: one line of ``trace.jsonl``.

``t`` is seconds since the caller connected. Who cannot know that moment (the cloud, the engine) counts from its own
start and is moved with :meth:`Event.since` when the pieces of one run are put together; ``mono`` is the clock they
share: CLOCK_MONOTONIC is one clock for all processes of a host.
"""

import json
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal

import attrs
import trio
from trio.testing import MockClock

VIRTUAL_EPOCH_SECONDS = 1_800_000_000.0
Who = Literal["caller", "agent", "vapi", "tool", "engine", "runtime"]


@attrs.frozen
class Event:
    """One thing that happened in a call; ``data`` must be plain JSON."""

    t: float
    mono: float
    call: str
    who: Who
    event: str
    data: Mapping[str, Any] = attrs.field(factory=dict)

    def to_json(self) -> str:
        """One line without a line break, keys in the order of the format."""
        line = {
            "t": round(self.t, 6),
            "mono": round(self.mono, 6),
            "call": self.call,
            "who": self.who,
            "event": self.event,
            "data": dict(self.data),
        }
        return json.dumps(line, ensure_ascii=False, separators=(",", ":"))

    def since(self, start_mono: float) -> "Event":
        """The same event, counted from ``start_mono`` (CLOCK_MONOTONIC seconds)."""
        return attrs.evolve(self, t=self.mono - start_mono)


OnEvent = Callable[[Event], None]


def mono_now() -> float:
    """CLOCK_MONOTONIC in seconds, or the virtual time while the run is on a virtual clock.

    Must be called inside a Trio run. Trio's real clock has a random offset, so it cannot be compared between
    processes; under a virtual clock real time would make two identical runs differ.
    """
    clock = trio.lowlevel.current_clock()
    return clock.current_time() if isinstance(clock, MockClock) else time.monotonic()


def wall_now() -> float:
    """Seconds since 1970; while the run is on a virtual clock, that clock's time after a fixed day."""
    clock = trio.lowlevel.current_clock()
    return VIRTUAL_EPOCH_SECONDS + clock.current_time() if isinstance(clock, MockClock) else time.time()


@attrs.define
class EventLog:
    """Collects the events of one party and passes each on as it happens.

    ``events`` grows by one for each event; a call makes a few dozen.
    """

    call: str
    start_mono: float
    on_event: OnEvent | None = None
    events: list[Event] = attrs.field(factory=list)

    def add(self, who: Who, event: str, **data: Any) -> Event:
        """Record ``event`` now. An error of ``on_event`` is the listener's own and reaches the caller of ``add``."""
        mono = mono_now()
        happened = Event(t=mono - self.start_mono, mono=mono, call=self.call, who=who, event=event, data=data)
        self.events.append(happened)
        if self.on_event is not None:
            self.on_event(happened)
        return happened
