"""The ended world, call by call: what the caller saw, what the product recorded, what Vapi has of the same call."""

from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from simulation.caller_report import CallerReport
from simulation.vapi_call import SimulatedCall
from torture.chronicle import Entry
from torture.world import HeldCall, World


@attrs.frozen
class Witness:
    """One call that the product took. `held` is None for a guest's; `at_vapi` for one that was never created.

    `began` and `over` are virtual times; `counts` and `peaks` are the record's own, at its end.
    """

    id: str
    began: float
    over: float
    ended_by: str
    reason: str
    counts: Mapping[str, int]
    peaks: Mapping[str, float]
    events: tuple[Entry, ...]
    held: HeldCall | None
    number: int | None
    at_vapi: SimulatedCall | None

    @property
    def report(self) -> CallerReport | None:
        return self.held.report if self.held else None

    def count(self, name: str) -> int:
        return self.counts.get(name, 0)


def witnesses(world: World) -> Iterator[Witness]:
    """Every call that was taken and is over."""
    by_address = {call.dialled.address: (number, call) for number, call in enumerate(world.calls)}
    for connected in world.chronicle.of("connected", "caller"):
        events = tuple(entry for entry in world.chronicle.entries if entry.call == connected.call)
        over = next((entry for entry in events if entry.what == "call-over"), None)
        if over is None:
            continue  # all_is_gone tells of it
        number, held = by_address.get(connected.data["peer"], (None, None))
        yield Witness(
            id=connected.call,
            began=connected.at,
            over=over.at,
            ended_by=over.data["by"],
            reason=over.data["reason"],
            counts=over.data["counts"],
            peaks=over.data["peaks"],
            events=events,
            held=held,
            number=number,
            at_vapi=_at_vapi(world, events),
        )


def _at_vapi(world: World, events: tuple[Entry, ...]) -> SimulatedCall | None:
    created: dict[str, Any] | None = next((entry.data for entry in events if entry.what == "call-created"), None)
    return world.cloud.find(created["id"]) if created else None
