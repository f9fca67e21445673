"""What came of held conversations: small, plain, and able to cross from one process to another."""

from collections.abc import Mapping, Sequence
from math import comb
from pathlib import Path
from typing import Any, Literal

import attrs

from simulation.checks import Check


@attrs.frozen
class Line:
    """One line of the transcript, ``at`` seconds since the caller connected.

    ``who``: ``caller`` and ``agent`` say ``text``; a ``tool`` line has the tool's name as its text, with ``arguments``
    and what the model heard as its ``answer``; ``ok`` is False when that was an error, or nothing Vapi accepts.
    """

    at: float
    who: Literal["caller", "agent", "tool"]
    text: str
    arguments: Mapping[str, Any] = attrs.field(factory=dict)
    answer: str = ""
    ok: bool = True


@attrs.frozen
class Conversation:
    """One scenario, held once and graded.

    ``attempt`` counts from 1 within a scenario. ``seconds`` is how long the call was, by the clock it was held under.
    ``latencies`` is ``latency_ms`` of ``summary.json``. ``problem``: why it could not be held; there are no checks
    then. ``cost_dollars``: what Vapi says it cost, where it says so.
    """

    scenario: str
    file: str
    about: str
    attempt: int
    seed: int
    outcome: str = ""
    seconds: float = 0.0
    checks: tuple[Check, ...] = ()
    latencies: Mapping[str, Any] = attrs.field(factory=dict)
    transcript: tuple[Line, ...] = ()
    folder: Path | None = None
    problem: str = ""
    cost_dollars: float | None = None

    @property
    def passed(self) -> bool:
        """It was held, something was checked, and nothing failed."""
        return not self.problem and any(check.checked for check in self.checks) and not self.failures

    @property
    def failures(self) -> tuple[Check, ...]:
        """The checks that failed."""
        return tuple(check for check in self.checks if check.failed)

    @property
    def unchecked(self) -> tuple[Check, ...]:
        """What nobody could look at."""
        return tuple(check for check in self.checks if not check.checked)


@attrs.frozen
class Tally:
    """How often a scenario passed: ``passed`` of ``runs``."""

    scenario: str
    runs: int
    passed: int

    def pass_all(self, k: int) -> float | None:
        """pass^k: how likely ``k`` runs drawn from these all passed; None of fewer than ``k``."""
        return comb(self.passed, k) / comb(self.runs, k) if self.runs >= k else None

    def pass_any(self, k: int) -> float | None:
        """pass@k: how likely at least one of ``k`` runs drawn from these passed; None of fewer than ``k``."""
        return 1 - comb(self.runs - self.passed, k) / comb(self.runs, k) if self.runs >= k else None


@attrs.frozen
class Verdict:
    """A whole run of ``voice run``. ``how`` says in words what was called and under which clock."""

    conversations: tuple[Conversation, ...]
    how: str
    wall_seconds: float

    @property
    def passed(self) -> bool:
        """All conversations were held and passed; of none, nothing is claimed."""
        return bool(self.conversations) and all(one.passed for one in self.conversations)

    @property
    def tallies(self) -> Sequence[Tally]:
        """One for each scenario, in the order in which they were first held."""
        names = dict.fromkeys(one.scenario for one in self.conversations)
        return [
            Tally(
                name,
                sum(one.scenario == name for one in self.conversations),
                sum(one.scenario == name and one.passed for one in self.conversations),
            )
            for name in names
        ]
