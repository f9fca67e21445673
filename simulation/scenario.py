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
VOICES = ("slt", "rms", "awb", "kal16")
"""Voices of Debian's flite that sound well enough to be understood."""
LIMITS = (
    "greeting_ms",
    "response_ms",
    "response_p95_ms",
    "barge_in_stop_ms",
    "false_interruptions",
    "talk_over_ms",
    "dead_air_ms",
)
"""Measures that may be limited; see :mod:`simulation.measures`."""
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
    """Speak a recording: PCM16, 24 kHz, mono; the path in the file is relative to it.

    ``words``: what is said in it, for whoever is to understand it; "" for a sound without words.
    """

    path: Path
    words: str = ""


@attrs.frozen
class Wait:
    """Stay silent for ``seconds`` more (sending silence) before the next step."""

    seconds: float


@attrs.frozen
class Silence:
    """Let a turn pass: when the agent's turn is over, say nothing for ``seconds``."""

    seconds: float


@attrs.frozen
class BargeIn:
    """Begin the next step ``ms`` after the agent's next speech onset, without waiting for its turn to end.

    The next step may be a hang-up: a caller who leaves in the middle of a sentence.
    """

    ms: int


@attrs.frozen
class Backchannel:
    """A sound of listening, begun ``after_ms`` behind the agent's next onset: no turn, and no reason to stop."""

    text: str
    after_ms: int = 700


@attrs.frozen
class HangUp:
    """Close the call as soon as everything said has been sent."""


CallerStep = Say | PlayWav | Wait | Silence | BargeIn | Backchannel | HangUp


@attrs.frozen
class Persona:
    """Who calls: ``voice`` is one of VOICES; ``about`` is for the reader of the file and of the report."""

    voice: str = "slt"
    about: str = ""


@attrs.frozen
class Gaps:
    """Audio that the line loses: of every ``every_ms`` of the caller's speech, ``lose_ms`` are silent."""

    every_ms: int
    lose_ms: int


@attrs.frozen
class PhoneLine:
    """What happens to the caller's speech before it is sent.

    ``band_hz``: nothing above half of it passes, as on a line sampled at that rate (8000 is a telephone's).
    ``snr_db``: white noise under the speech, that many decibels below its level.
    """

    band_hz: int | None = None
    snr_db: float | None = None
    gaps: Gaps | None = None


@attrs.frozen
class Faults:
    """What goes wrong around the agent: knobs of :class:`simulation.behaviour.Behaviour`, and of the engine
    (``delay_seconds``, ``fail_status``)."""

    vapi: Mapping[str, Any] = attrs.field(factory=dict)
    engine: Mapping[str, Any] = attrs.field(factory=dict)


@attrs.frozen
class ToolCall:
    """One call of a tool by name, with the exact arguments."""

    tool: str
    arguments: Mapping[str, Any] = attrs.field(factory=dict)


@attrs.frozen
class ToolExpectation:
    """One call that must be made.

    ``arguments``: exactly these, but for those of ``matching``, which must match a pattern as a whole (of their text).
    ``answer``: a pattern found in what the model heard; ``refused``: whether that was an error; None: either will do.
    """

    tool: str
    arguments: Mapping[str, Any] = attrs.field(factory=dict)
    matching: Mapping[str, str] = attrs.field(factory=dict)
    answer: str | None = None
    refused: bool | None = None


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
    """At least one row of ``table`` matches ``where``, and every row that does has the values of ``values``.

    ``absent``: no row matches ``where``, in place of that.
    """

    table: str
    where: Mapping[str, Any]
    values: Mapping[str, Any] = attrs.field(factory=dict)
    absent: bool = False


@attrs.frozen
class Expectations:
    """What must come of the call.

    ``tools``: all calls, no more and no fewer (none named: none may be made); in this order unless ``order`` is
    ``any``. ``never``: tools that must not be called at all. ``unchanged``: tables that must be after the call as they
    were before it. ``said`` and ``never_said``: phrases the caller must hear, or not hear, from the agent, as whole
    words, whatever case and signs.
    ``limits``: the most a measure may be, by its name in LIMITS; one that could not be taken fails.
    ``ending``: one of ENDINGS, or None when any will do.
    """

    tools: tuple[ToolExpectation, ...] = ()
    order: Literal["same", "any"] = "same"
    never: tuple[str, ...] = ()
    rows: tuple[RowExpectation, ...] = ()
    unchanged: tuple[str, ...] = ()
    said: tuple[str, ...] = ()
    never_said: tuple[str, ...] = ()
    limits: Mapping[str, float] = attrs.field(factory=dict)
    ending: str | None = None


@attrs.frozen
class Scenario:
    """One conversation; ``agent[0]`` is the greeting, each later entry answers one turn of the caller.

    ``opening``: who speaks first. ``seed``: of everything in the simulated world that is drawn.
    """

    name: str
    caller: tuple[CallerStep, ...]
    agent: tuple[AgentTurn, ...] = ()
    expect: Expectations = attrs.field(factory=Expectations)
    policy: Policy = "verified"
    fixture: str = "bank"
    about: str = ""
    persona: Persona = attrs.field(factory=Persona)
    opening: Literal["agent", "caller"] = "agent"
    line: PhoneLine = attrs.field(factory=PhoneLine)
    faults: Faults = attrs.field(factory=Faults)
    seed: int = 0
    path: Path = Path("scenario.yaml")
    schema: int = 1

    @property
    def caller_lines(self) -> tuple[str, ...]:
        """The words of each of the caller's turns, in order; a recording without words is named by its file."""
        return tuple(
            step.text if isinstance(step, Say) else step.words or step.path.name
            for step in self.caller
            if isinstance(step, Say | PlayWav)
        )

    @property
    def backchannels(self) -> tuple[str, ...]:
        """What the caller says without taking a turn, in order."""
        return tuple(step.text for step in self.caller if isinstance(step, Backchannel))


def load_scenario(path: Path) -> Scenario:
    """Read and check one file.

    :raises ScenarioError: it cannot be read, is not YAML, or breaks the schema; nothing else is raised.
    """
    # Imported here: the reader builds the classes above.
    from simulation.scenario_reader import read_scenario

    return read_scenario(path)
