"""What a run of conversations is to be; plain data, so that it can cross to the processes that hold them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import attrs

from runtime.settings import TailMode
from runtime.voice_ws import VoiceProtocol
from simulation.caller import MAX_CALL_SECONDS
from simulation.scenario import Scenario
from simulation.websockets import public_url

Kind = Literal["simulated", "live", "url", "command"]


@attrs.frozen
class Task:
    """One conversation to hold; ``folder`` is where its artifacts go."""

    scenario: Scenario
    attempt: int
    seed: int
    folder: Path

    @property
    def key(self) -> tuple[str, int]:
        """Its name among the tasks of a run."""
        return self.scenario.name, self.attempt


@attrs.frozen(kw_only=True)
class Options:
    """``agent``: ``simulated`` is ours with a simulated Vapi, ``live`` ours with the real one, ``url`` somebody's that
    runs already at ``agent_url``, ``command`` somebody's that is started with ``agent_command``.

    ``virtual``: our agent in memory, under a clock that jumps. ``scripted``: speech is tones, and the simulated Vapi
    knows the words without hearing them. ``vapi``: knobs of the simulated cloud, beneath a scenario's own faults.
    ``database_url``: somebody's, to read rows from. ``engine_port``: 0 picks one. ``vapi_url``: of ``live``.
    ``environ``: what a started agent finds in its environment beside what we set.
    """

    agent: Kind = "simulated"
    agent_url: str = ""
    agent_command: tuple[str, ...] = ()
    virtual: bool = False
    scripted: bool = False
    protocol: VoiceProtocol = "binary"
    tail_mode: TailMode = "burst"
    vapi: Mapping[str, Any] = attrs.field(factory=dict)
    database_url: str | None = None
    engine_port: int = 0
    vapi_url: str = ""
    environ: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    patience_seconds: float = 20.0
    max_call_seconds: float = MAX_CALL_SECONDS

    @property
    def how(self) -> str:
        """In words, for reports."""
        agents = {
            "simulated": "our agent, a simulated Vapi",
            "live": f"our agent, the real Vapi at {self.vapi_url}",
            "url": f"the agent at {public_url(self.agent_url)}",
            # Without its arguments: one may be a password.
            "command": f"the agent that {Path(*self.agent_command[:1]).name!r} starts",
        }
        clock = "virtual time" if self.virtual else "real time"
        ear = "" if self.agent == "live" else ", scripted transcripts" if self.scripted else ", heard by ear"
        return f"{agents[self.agent]}, {clock}{ear}"
