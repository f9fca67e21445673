"""``GET /call``: which calls are listed, by the filters of OpenAPI's CallController_findAll."""

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Final

from simulation.vapi_call import SimulatedCall, iso

MAX_LISTED = 1_000
DEFAULT_LISTED = 100
COMPARISONS: Final[Mapping[str, Callable[[datetime, datetime], bool]]] = {
    "Gt": operator.gt,
    "Lt": operator.lt,
    "Ge": operator.ge,
    "Le": operator.le,
}
IDS = ("id", "assistantId", "phoneNumberId")
DATES = ("createdAt", "updatedAt")

Keeps = Callable[[SimulatedCall], bool]


def listed(calls: Sequence[SimulatedCall], query: Mapping[str, str]) -> tuple[list[SimulatedCall], list[str]]:
    """The calls that pass every filter, the newest first, and the complaints about the query.

    ``calls`` are in order of creation. That a filter nobody knows is a complaint is a guess, after the bodies' manner.
    """
    complaints: list[str] = []
    limit = _limit(query.get("limit"), complaints)
    filters = [_filter(name, value, complaints) for name, value in query.items() if name != "limit"]
    return [call for call in reversed(calls) if all(keeps(call) for keeps in filters)][:limit], complaints


def _limit(text: str | None, complaints: list[str]) -> int:
    """1 to 1,000; 100 when not given. A client that has only floats writes 5.0."""
    if text is None:
        return DEFAULT_LISTED
    try:
        limit = float(text)
    except ValueError:
        limit = math.nan
    if not limit.is_integer():
        complaints.append("limit must be an integer number")
    elif limit > MAX_LISTED:
        complaints.append(f"limit must not be greater than {MAX_LISTED}")
    elif limit < 1:
        complaints.append("limit must not be less than 1")
    return int(limit) if not complaints else 0


def _filter(name: str, value: str, complaints: list[str]) -> Keeps:
    if name == "id":
        return lambda call: call.id == value
    if name in IDS:
        return lambda call: call.request.get(name) == value
    field, compare = name[:-2], COMPARISONS.get(name[-2:])
    if field not in DATES or compare is None:
        complaints.append(f"property {name} should not exist")
        return lambda _call: False
    try:
        wanted = datetime.fromisoformat(value)
    except ValueError:
        wanted = None
    if wanted is None or wanted.tzinfo is None:
        complaints.append(f"{name} must be a valid ISO 8601 date string")
        return lambda _call: False

    def keeps(call: SimulatedCall) -> bool:
        # What the Call object shows: it has milliseconds only, and a client compares with what it was shown.
        shown = call.created_at if field == "createdAt" else call.updated_at
        return compare(datetime.fromisoformat(iso(shown)), wanted)

    return keeps
