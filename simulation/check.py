"""One question about a finished run, and its answer."""

import json
from collections.abc import Mapping
from typing import Any

import attrs

from simulation.evidence import Evidence

SHOWN_CHARACTERS = 160


@attrs.frozen
class Check:
    """One question and its answer, as it stands in ``summary.json``.

    Not ``checked``: nobody could look; that is neither a success (``passed`` is False) nor a failure.
    """

    name: str
    passed: bool
    detail: str
    checked: bool = True

    @property
    def failed(self) -> bool:
        """Somebody looked, and it was not so; or should have been able to look, and was not."""
        return self.checked and not self.passed


def not_checked(name: str, why: str) -> Check:
    """Nobody could look."""
    return Check(name, False, f"not checked: {why}", checked=False)


def without(name: str, evidence: Evidence, witness: str, problem: str) -> Check:
    """The answer when ``witness`` is needed and has nothing to say: not checked if it could not be there at all."""
    why = evidence.absent.get(witness)
    return Check(name, False, problem) if why is None else not_checked(name, why)


def shown(value: Any) -> str:
    """A value on one line, cut to SHOWN_CHARACTERS."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    text = " ".join(text.split())
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…"


def named_values(values: Mapping[str, Any]) -> str:
    """``name: value, …`` in the order given."""
    return ", ".join(f"{name}: {shown(value)}" for name, value in values.items())
