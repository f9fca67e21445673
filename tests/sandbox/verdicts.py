"""Verdicts to report on: one of each kind of conversation, and one in which every word is out for mischief."""

from datetime import date
from pathlib import Path

import attrs

from sandbox.verdict import Conversation, Line, Verdict
from simulation.check import Check, not_checked

HOSTILE = "</p><script>alert(1)</script><img src=x onerror=y>'\"&{{ 7*7 }}[red]r[/red]\x1b[2J\x00\u202ex\ud800\n]]>"
RIGHT = Check("the expected tools were called", True, "verify_caller(last4: 4242)")
WRONG = Check("barge_in_stop_ms at most 400", False, "612 (instrument 2.1 ms late)")
UNSEEN = not_checked("the caller heard “frozen”", "no ear")
LINES = (
    Line(0.2, "agent", "Good day."),
    Line(3.0, "caller", "I lost my card."),
    Line(5.5, "tool", "freeze_card", {"card_id": 5, "on": date(2026, 11, 23)}, '{"status":"frozen"}'),
    Line(6.5, "tool", "unlock", {}, "error: there is no such tool", ok=False),
)
LATENCIES = {"response": [700.0, 900.0, 2000.0], "barge_in_stop": [612.4], "instrument_lateness_max": 2.1}
PASSED = Conversation(
    "freeze-card", "scenarios/freeze-card.yaml", "A lost card.", 1, 7, "caller_hung_up", 21.38, (RIGHT, UNSEEN),
    LATENCIES, LINES,
)  # fmt: skip
FAILED = attrs.evolve(PASSED, scenario="barge-in", checks=(RIGHT, WRONG, attrs.evolve(WRONG, name="second")))
UNHELD = Conversation("unheld", "scenarios/unheld.yaml", "", 1, 0, problem="the agent did not start: port taken")
UNCHECKED = attrs.evolve(PASSED, scenario="unchecked", checks=(UNSEEN,))
VERDICT = Verdict((PASSED, FAILED, UNHELD, UNCHECKED), "our agent, virtual time", 41.23)
HOSTILE_ONE = attrs.evolve(
    FAILED, scenario=HOSTILE, file=HOSTILE, about=HOSTILE, outcome=HOSTILE,
    folder=Path(HOSTILE.replace("\0", "").replace("\ud800", "")),  # no path can hold these
    checks=(Check(HOSTILE, False, HOSTILE), not_checked(HOSTILE, HOSTILE)),
    latencies={HOSTILE: 4.0},
    transcript=(Line(0.0, "caller", HOSTILE), Line(1.0, "tool", HOSTILE, {HOSTILE: HOSTILE}, HOSTILE, ok=False)),
)  # fmt: skip
HOSTILE_VERDICT = Verdict((HOSTILE_ONE, attrs.evolve(UNHELD, problem=HOSTILE)), HOSTILE, 1.0)
