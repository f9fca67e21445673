"""Each fault before the scenarios that ought to notice it, and every scenario before the sound agent."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from typing import Final

import attrs
import trio

from db.seed import BankFiles, read_bank_files
from runtime.logs import configure_logging
from sandbox.crew import Voices
from sandbox.options import Options, Task
from sandbox.planted.catalogue import DEFECTS
from sandbox.planted.planting import SCRIPTED, Defect, Under
from sandbox.virtual import Props, hold_virtually
from simulation.check import Check
from simulation.scenario import Scenario, load_scenario
from torture.workers import in_processes

SCENARIOS: Final = Path(__file__).parent.parent.parent / "scenarios"
WANTED_SHARE: Final = 0.95

KINDS: Final[Mapping[str, str]] = {
    "ending": r"the call ended( as .*)?",
    "the channel's rules": "the agent kept the channel's rules",
    "the Vapi call ended": "the Vapi call ended",
    "understood by Vapi": "Vapi understood every message and got audio in real time",
    "uplink": "Vapi heard the caller bit for bit",
    "downlink": "the caller heard the agent bit for bit",
    "tools called": "the expected tools were called",
    "tools told of": "the engine was told of the same calls",
    "tools never called": "never called: .*",
    "answers accepted": "Vapi accepted every answer of the webhook",
    "answers": "the tools answered as expected",
    "rows": r"\w+ where .*",
    "tables unchanged": r"\w+ as before the call",
    "said": "said: .*",
    "never said": "never said: .*",
    **{
        name: f"{name} at most .*"
        for name in (
            "greeting_ms", "response_ms", "response_p95_ms", "barge_in_stop_ms", "false_interruptions", "talk_over_ms",
            "dead_air_ms",
        )
    },
}  # fmt: skip
"""Kinds of check, by what their names look like."""


@attrs.frozen
class Piece:
    """One conversation. ``defect``: the name of what is planted for it; "" for the sound agent."""

    scenario: str
    under: Under = ()
    defect: str = ""


@attrs.frozen
class Noticed:
    """Which checks failed in a conversation, and what they said."""

    piece: Piece
    failed: Mapping[str, str]


@attrs.frozen
class Finding:
    """What came of a fault: per scenario, the checks that fail with it and not without it."""

    defect: Defect
    by: Mapping[str, tuple[str, ...]]

    @property
    def found(self) -> bool:
        """Every scenario that ought to notice it did."""
        return all(self.by[name] for name in self.defect.scenarios)


@attrs.frozen
class Measured:
    """Of all faults that were planted; ``false_alarms``: checks that failed with the sound agent, by conversation."""

    findings: Sequence[Finding]
    sound: int
    false_alarms: Sequence[Noticed]

    @property
    def share(self) -> float:
        """Of the faults that were found, from 0 to 1."""
        return sum(finding.found for finding in self.findings) / len(self.findings) if self.findings else 0.0

    @property
    def passed(self) -> bool:
        return self.share >= WANTED_SHARE and not self.false_alarms

    @property
    def untouched(self) -> Sequence[str]:
        """Kinds of check that no fault made fail."""
        names = [name for finding in self.findings for checks in finding.by.values() for name in checks]
        return [kind for kind, look in KINDS.items() if not any(re.fullmatch(look, name) for name in names)]


def pieces_for(defects: Iterable[Defect], scenarios: Iterable[str]) -> list[Piece]:
    """``scenarios`` with the sound agent, then what the faults are planted for, and the same with the sound agent."""
    wanted = [Piece(name, one.under, one.name) for one in defects for name in one.scenarios]
    sound = [Piece(name) for name in scenarios]
    sound += [attrs.evolve(piece, defect="") for piece in wanted]
    return [*(piece for index, piece in enumerate(sound) if piece not in sound[:index]), *wanted]


def measure(
    defects: Sequence[Defect], scenarios: Sequence[str], jobs: int, told: Callable[[Noticed], None] = lambda _: None
) -> Measured:
    """Hold it all on ``jobs`` processes of their own; 0: in this one, which must not be in a Trio run."""
    held = []
    pieces = pieces_for(defects, scenarios)
    for noticed in in_processes(hold_piece, pieces, jobs) if jobs else map(hold_piece, pieces):
        told(noticed)
        held.append(noticed)
    return judged(defects, held)


def judged(defects: Sequence[Defect], held: Iterable[Noticed]) -> Measured:
    """``held`` in any order."""
    failed = {noticed.piece: noticed.failed for noticed in held}
    findings = []
    for one in defects:
        by = {}
        for name in one.scenarios:
            sound = failed[Piece(name, one.under)]
            by[name] = tuple(check for check in failed[Piece(name, one.under, one.name)] if check not in sound)
        findings.append(Finding(one, by))
    sound_ones = [Noticed(piece, checks) for piece, checks in failed.items() if not piece.defect]
    return Measured(findings, len(sound_ones), [noticed for noticed in sound_ones if noticed.failed])


def hold_piece(piece: Piece) -> Noticed:
    """For a process without a Trio run."""
    configure_logging("critical")
    with DEFECTS[piece.defect].planted() if piece.defect else nullcontext():
        checks = _checks_of(_scenario(piece.scenario), attrs.evolve(SCRIPTED, **dict(piece.under)))
    return Noticed(piece, {check.name: check.detail for check in checks if check.failed})


def _checks_of(scenario: Scenario, options: Options) -> Sequence[Check]:
    task = Task(scenario, 1, scenario.seed, Path())  # no artifacts are written
    return hold_virtually(task, Props(_bank(), _voices().of(scenario), None), options).checks


@cache
def _scenario(name: str) -> Scenario:
    return load_scenario(SCENARIOS / f"{name}.yaml")


@cache
def _bank() -> BankFiles:
    return trio.run(read_bank_files)


@cache
def _voices() -> Voices:
    return Voices(scripted=True)


def shipped() -> list[str]:
    """The names of all shipped scenarios."""
    return sorted(path.stem for path in SCENARIOS.glob("*.yaml"))
