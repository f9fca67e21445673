"""What became of every frame of every call: what one end sent, against what the other received. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs

HARMS: Final = ("lost", "reordered", "repeated", "damaged", "foreign", "blocked")


@attrs.frozen
class Direction:
    """One direction of one call, or of all. What the words mean: stress/ledger.py; `blocked`, frames that their sender
    left out since the bridge took nothing. `sent`: of those that can be lost."""

    sent: int = 0
    arrived: int = 0
    lost: int = 0
    reordered: int = 0
    repeated: int = 0
    damaged: int = 0
    foreign: int = 0
    blocked: int = 0
    silent_bytes: int = 0

    @property
    def harmed(self) -> int:
        return sum(getattr(self, harm) for harm in HARMS)

    @property
    def harms(self) -> str:
        """In words; empty when there are none."""
        return ", ".join(f"{getattr(self, harm)} {harm}" for harm in HARMS if getattr(self, harm))

    @classmethod
    def of(cls, sender: Mapping[str, Any], receiver: Mapping[str, Any]) -> "Direction":
        """Of what the two ends told of themselves."""
        heard = receiver["heard"]
        sent = sender["sent"] - heard["first"]
        came = heard["arrived"] + heard["reordered"]
        names = ("reordered", "repeated", "damaged", "foreign", "silent_bytes")
        counts = {name: heard[name] for name in names}
        return cls(sent=sent, arrived=came, lost=max(0, sent - came), blocked=sender["blocked"], **counts)


def total(directions: Sequence[Direction]) -> Direction:
    return Direction(
        **{name: sum(getattr(direction, name) for direction in directions) for name in attrs.fields_dict(Direction)}
    )


@attrs.frozen
class CallAccount:
    """One call that was set up. `number`: the caller's, from 0."""

    number: int
    up: Direction
    down: Direction


@attrs.frozen
class Accounts:
    """Of all calls. `crossed`: calls in which a caller does not hear the assistant that hears him."""

    calls: tuple[CallAccount, ...] = ()
    crossed: int = 0

    @property
    def up(self) -> Direction:
        return total([call.up for call in self.calls])

    @property
    def down(self) -> Direction:
        return total([call.down for call in self.calls])

    @property
    def worst(self) -> list[CallAccount]:
        """The calls in which frames were harmed, the worst first."""
        harmed = [call for call in self.calls if call.up.harmed + call.down.harmed]
        return sorted(harmed, key=lambda call: -(call.up.harmed + call.down.harmed))

    @classmethod
    def of(cls, callers: Sequence[Mapping[str, Any]], cloud: Sequence[Mapping[str, Any]]) -> "Accounts":
        """Of what the ends of both sides told. A call in which no frame came through is left out here: it was not set
        up, and is counted as such."""
        hearing = {call["heard"]["tag"]: call for call in cloud if call["heard"]["tag"] is not None}
        calls, crossed = [], 0
        for number, caller in enumerate(callers):
            call = hearing.get(caller["tag"])
            if call is None or caller["heard"]["tag"] is None:
                continue
            crossed += caller["heard"]["tag"] != call["tag"]
            calls.append(CallAccount(number, Direction.of(caller, call), Direction.of(call, caller)))
        return cls(tuple(calls), crossed)
