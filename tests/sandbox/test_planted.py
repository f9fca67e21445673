"""A fault in the agent is noticed by the scenarios that ought to; a sound agent passes them. All: `make planted`."""

from collections.abc import Iterator

import attrs
import pytest
import structlog

from actors import tail
from db.memory_work import MemoryWork
from sandbox.planted.catalogue import DEFECTS
from sandbox.planted.measure import KINDS, Noticed, Piece, judged, measure, pieces_for, shipped
from sandbox.planted.planting import Planting
from sandbox.planted.table import lines_of

# One of each family.
SAMPLE = (
    "said-frozen-and-never-written",
    "engine-told-another-result",
    "uplink-frame-lost",
    "tail-too-short",
    "last-words-lost",
    "two-calls-made",
)


@pytest.fixture
def own_logging() -> Iterator[None]:
    """What is logged while faults are planted is nobody's; who captures logs behind us must find them."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


@pytest.mark.usefixtures("own_logging")
def test_scenarios_notice_the_faults_and_raise_no_alarm_at_the_sound_agent() -> None:
    # One test, so that the conversations are held once, whichever process takes it.
    once = [attrs.evolve(DEFECTS[name], scenarios=DEFECTS[name].scenarios[:1]) for name in SAMPLE]
    measured = measure(once, [], jobs=0)
    assert {finding.defect.name: finding.found for finding in measured.findings} == dict.fromkeys(SAMPLE, True)
    assert [dict(noticed.failed) for noticed in measured.false_alarms] == []
    assert measured.passed


def test_agent_is_sound_again_when_the_fault_was_planted() -> None:
    honest = MemoryWork.set_card_status, tail.TAIL_BYTES
    for fault in DEFECTS.values():
        with pytest.raises(ZeroDivisionError), fault.planted():
            raise ZeroDivisionError
    assert (MemoryWork.set_card_status, tail.TAIL_BYTES) == honest


def test_planting_gives_back_what_was_inherited_and_what_was_replaced_twice() -> None:
    class Parent:
        said = "parent"

    class Child(Parent):
        pass

    planting = Planting()
    assert planting.replace(Child, "said", "first") == "parent"
    assert planting.replace(Child, "said", "second") == "first"
    planting.restore()
    assert Child.said == "parent"
    assert "said" not in vars(Child)
    with pytest.raises(AttributeError):
        planting.replace(Child, "unsaid", "")


def test_every_fault_is_told_of_and_has_shipped_scenarios() -> None:
    known = set(shipped())
    assert len(DEFECTS) > 90
    assert [one.name for one in DEFECTS.values() if not one.wrong or "\n" in one.wrong] == []
    assert [one.name for one in DEFECTS.values() if not one.scenarios or set(one.scenarios) - known] == []


def told(name: str, *failed: str) -> Noticed:
    return Noticed(Piece("freeze-card", (), name), dict.fromkeys(failed, "why"))


def test_fault_counts_as_found_only_when_a_check_fails_that_the_sound_agent_passes() -> None:
    faults = [DEFECTS["wrong-card-written"], DEFECTS["tool-slow"]]
    held = [told("", "the call ended"), told("wrong-card-written", "the call ended"), told("tool-slow", "said: it")]
    outcome = judged(faults, held)
    assert [finding.found for finding in outcome.findings] == [False, True]
    assert (outcome.share, outcome.passed, outcome.sound) == (0.5, False, 1)
    assert "said" not in outcome.untouched
    assert len(outcome.untouched) == len(KINDS) - 1
    text = "\n".join(lines_of(outcome))
    assert "NOT FOUND wrong-card-written" in text
    assert "FALSE ALARM of the sound agent in freeze-card" in text
    assert "1 of 2 faults found (50.0%, wanted 95%); 1 false alarm(s)" in text


def test_sound_agent_is_held_once_for_each_scenario_and_manner() -> None:
    pieces = pieces_for([DEFECTS["wrong-card-written"], DEFECTS["binary-frames-in-json-mode"]], ["freeze-card"])
    json = (("protocol", "json"),)
    sound = [Piece("freeze-card"), Piece("freeze-card", json), Piece("mortgage", json)]
    assert [piece for piece in pieces if not piece.defect] == sound
    assert len(pieces) == 6
