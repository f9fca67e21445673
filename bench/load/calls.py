"""The calls under load: both ends of each lie in this process, the bridge is in between.

Which caller a POST /call is for is said nowhere: the first frame that comes through tells, by its stream's tag.
"""

import itertools
from collections.abc import Mapping
from typing import Any, Final

import attrs

from bench.load.pacer import Pacer
from bench.load.stream import Stream

_TAG: Final = 0x5A000000  # so that a mark is neither silence nor likely noise


@attrs.define(eq=False)
class CallerCall:
    """The caller's end. Mutable. Times are CLOCK_MONOTONIC in ns, 0 until it has happened."""

    seat: int
    """Its place among the calls of its time; decides when its frames are sent."""
    up: Stream
    dialled_at_ns: int = 0
    heard_at_ns: int = 0
    hung_up_at_ns: int = 0
    gone: bool = False
    vapi: "VapiCall | None" = None

    @property
    def live(self) -> bool:
        """Audio has come through in both directions."""
        return self.vapi is not None and self.up.arrived > 0 and self.vapi.down.arrived > 0

    @property
    def ended_by_itself(self) -> bool:
        return self.gone and not self.hung_up_at_ns


@attrs.define(eq=False)
class VapiCall:
    """Vapi's end, from POST /call on. Mutable. Times as above."""

    id: str
    seat: int
    down: Stream
    server: Mapping[str, Any]
    """Where its tools are, as POST /call said: `url`, `headers`."""
    asked_at_ns: int
    answered_at_ns: int = 0
    connected_at_ns: int = 0
    spoke_at_ns: int = 0
    end_seen_at_ns: int = 0
    """The bridge has said that the call is over: `end-call` on the socket or the control URL, or DELETE."""
    closed_at_ns: int = 0
    caller: CallerCall | None = None

    @property
    def vapi_took_ns(self) -> int:
        """Our own part of the set-up: to answer the POST, and to speak once the socket is open."""
        return (self.answered_at_ns - self.asked_at_ns) + (self.spoke_at_ns - self.connected_at_ns)


@attrs.define(eq=False)
class Exchange:
    """All calls, and the clock of their frames. Mutable."""

    pacer: Pacer
    callers: list[CallerCall] = attrs.field(factory=list)
    vapi_calls: dict[str, VapiCall] = attrs.field(factory=dict)
    _tags: "itertools.count[int]" = attrs.field(factory=lambda: itertools.count(_TAG))
    _by_tag: dict[int, CallerCall | VapiCall] = attrs.field(factory=dict)

    def new_caller(self) -> CallerCall:
        caller = CallerCall(len(self.callers), Stream(next(self._tags)))
        self.callers.append(caller)
        self._by_tag[caller.up.tag] = caller
        return caller

    def new_vapi_call(self, call_id: str, server: Mapping[str, Any], asked_at_ns: int) -> VapiCall:
        call = VapiCall(call_id, len(self.vapi_calls), Stream(next(self._tags)), server, asked_at_ns)
        self.vapi_calls[call_id] = call
        self._by_tag[call.down.tag] = call
        return call

    def introduce(self, receiver: CallerCall | VapiCall, audio: bytes) -> None:
        """`receiver` has no peer yet, and got this audio: whoever sends such frames is its peer."""
        sender = self._by_tag.get(int.from_bytes(audio[:4], "little"))
        caller, call = (receiver, sender) if isinstance(receiver, CallerCall) else (sender, receiver)
        if isinstance(caller, CallerCall) and isinstance(call, VapiCall) and not (caller.vapi or call.caller):
            caller.vapi, call.caller = call, caller

    def streams(self) -> list[Stream]:
        return [caller.up for caller in self.callers] + [
            caller.vapi.down for caller in self.callers if caller.vapi is not None
        ]

    def forget(self) -> None:
        """All calls are over."""
        self.callers.clear()
        self.vapi_calls.clear()
        self._by_tag.clear()
