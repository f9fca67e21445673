"""What leaves a conversation that was held: no personal data, whoever quotes it."""

from pathlib import Path

import attrs

from sandbox.hold import Held, conversation_of
from sandbox.options import Task
from simulation.caller_report import CallerTurn
from simulation.checks import Check
from simulation.scenario import HangUp, Scenario
from tests.simulation.made_evidence import REPORT, Use, evidence_of

VERIFY = Use("verify_caller", {"full_name": "Dana Whitfield", "phone": "503 555 0121"})


def test_details_of_checks_show_no_name_when_a_call_or_a_row_held_it(tmp_path: Path) -> None:
    turn = CallerTurn("Dana Whitfield, thanks.", -1.0, 0.0, None, None, None, None, barge_in=False, stop_ms=None)
    rows = {"users": [{"full_name": "Ester Quill", "address": "9 Alder Court"}]}
    evidence = evidence_of([VERIFY], report=attrs.evolve(REPORT, turns=(turn,)), rows=rows)
    details = ("called verify_caller(full_name: Dana Whitfield)", "got full_name: Ester Quill, address: 9 Alder Court")
    checks = tuple(Check(f"check {number}", False, detail) for number, detail in enumerate(details))
    task = Task(Scenario("n", (HangUp(),)), 1, 0, tmp_path)
    conversation = conversation_of(Held(task, evidence, checks, ()))
    shown = repr(conversation) + (tmp_path / "summary.json").read_text()
    assert "verify_caller" in shown
    assert "thanks" in shown
    assert not [word for word in ("Whitfield", "Dana", "Quill", "Alder", "555") if word in shown]
