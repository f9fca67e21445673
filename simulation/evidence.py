"""All that is known of one run, witness by witness, for whoever judges it."""

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from simulation.caller_report import CallerReport
from simulation.engine import EngineEvent
from simulation.vapi_call import SimulatedCall

Rows = Mapping[str, Sequence[Mapping[str, Any]]]
"""Every row of each table a scenario asks about, by table name."""

WITNESSES = ("vapi", "engine", "database", "ear")


@attrs.frozen
class HeardSpeech:
    """What the caller's ear made of a stretch of the agent's speech that began at ``at`` (seconds since the caller
    connected). ``text`` is "" when it understood nothing of what it knows."""

    at: float
    text: str
    score: float = 1.0


@attrs.frozen
class Evidence:
    """One finished call, as each witness saw it.

    None for a witness means that it should have been there and was not: what needs it fails. A witness that could not
    be there (somebody else's agent, whose Vapi is not ours) stands in ``absent`` with the reason: what needs it is not
    checked.
    """

    report: CallerReport
    cloud_call: SimulatedCall | None = None
    engine_events: Sequence[EngineEvent] | None = None
    rows: Rows | None = None
    rows_before: Rows | None = None
    heard: Sequence[HeardSpeech] | None = None
    other_calls: Sequence[SimulatedCall] = ()
    """Calls that were made at Vapi for the same caller, beside ``cloud_call``."""
    absent: Mapping[str, str] = attrs.field(factory=dict)
    """Of WITNESSES, why each could not be there."""
