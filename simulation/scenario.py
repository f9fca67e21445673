"""A conversation to run and grade: what the caller does, what the assistant says and calls, what must come of it.

Schema 1. Keys may be added later, never renamed; an unknown key is refused, because a misspelt expectation that is
ignored would pass.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import attrs

Policy = Literal["verified", "open"]
FIXTURES = ("bank",)
ENDINGS = ("caller_hung_up", "agent_hung_up", "callee_no_answer", "deadlock", "violation", "unreachable")


class ScenarioError(Exception):
    """The file cannot be used; the message is one line: ``file:line: what is wrong; what to do``."""

    def __init__(self, path: Path, line: int, problem: str) -> None:
        super().__init__(f"{path}:{line}: {problem}")
        self.path = path
        self.line = line
        self.problem = problem


@attrs.frozen
class Say:
    """Speak ``text`` once the agent's turn is over (or when a :class:`BargeIn` before it says so)."""

    text: str


@attrs.frozen
class PlayWav:
    """Speak a recording: PCM16, 24 kHz, mono; the path in the file is relative to it."""

    path: Path


@attrs.frozen
class Wait:
    """Stay silent for ``seconds`` more (sending silence) before the next step."""

    seconds: float


@attrs.frozen
class BargeIn:
    """Begin the next step ``ms`` after the agent's next speech onset, without waiting for its turn to end."""

    ms: int


@attrs.frozen
class HangUp:
    """Close the call as soon as everything said has been sent."""


CallerStep = Say | PlayWav | Wait | BargeIn | HangUp


@attrs.frozen
class ToolCall:
    """One call of a tool by name, with the exact arguments."""

    tool: str
    arguments: Mapping[str, Any] = attrs.field(factory=dict)


@attrs.frozen
class AgentTurn:
    """What the scripted assistant does with one turn: ``calls`` in order, then ``say`` (empty: says nothing).

    With ``end_call`` it hangs up once it has spoken, as an assistant with an end-call tool does.
    """

    say: str = ""
    calls: tuple[ToolCall, ...] = ()
    end_call: bool = False


@attrs.frozen
class RowExpectation:
    """At least one row of ``table`` matches ``where``, and every row that does has the values of ``values``."""

    table: str
    where: Mapping[str, Any]
    values: Mapping[str, Any]


@attrs.frozen
class Expectations:
    """``tools`` is the exact list of calls, in order; ``ending`` is one of ENDINGS, or None when any will do."""

    tools: tuple[ToolCall, ...] = ()
    rows: tuple[RowExpectation, ...] = ()
    ending: str | None = None


@attrs.frozen
class Scenario:
    """One conversation; ``agent[0]`` is the greeting, each later entry answers one turn of the caller."""

    name: str
    caller: tuple[CallerStep, ...]
    agent: tuple[AgentTurn, ...] = ()
    expect: Expectations = attrs.field(factory=Expectations)
    policy: Policy = "verified"
    fixture: str = "bank"
    path: Path = Path("scenario.yaml")
    schema: int = 1

    @property
    def caller_lines(self) -> tuple[str, ...]:
        """The words of each of the caller's turns, in order; a recording is named by its file."""
        spoken = [step for step in self.caller if isinstance(step, Say | PlayWav)]
        return tuple(step.text if isinstance(step, Say) else step.path.name for step in spoken)


def load_scenario(path: Path) -> Scenario:
    """Read and check one file.

    :raises ScenarioError: it cannot be read, is not YAML, or breaks the schema; nothing else is raised.
    """
    # Imported here: the reader builds the classes above.
    from simulation.scenario_reader import read_scenario

    return read_scenario(path)
