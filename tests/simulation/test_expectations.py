"""Every expectation of a scenario but the tools', held against evidence made by hand: it passes, it fails, or nobody
could look."""

from typing import Any

import attrs
import pytest
from made_evidence import FIND, FRAME, REPORT, checks_of, evidence_of, failed, wanted

from simulation import limit_checks
from simulation.artifacts import summary
from simulation.check import Check, not_checked
from simulation.checks import tables_of
from simulation.events import Event
from simulation.evidence import WITNESSES, Evidence, HeardSpeech
from simulation.measures import Measures
from simulation.playout import Chunk
from simulation.scenario import LIMITS, Expectations, RowExpectation, Scenario


def test_checks_pass_when_nothing_is_expected_and_the_call_went_well() -> None:
    checks = checks_of(evidence_of())
    assert len(checks) == 9
    assert all(check.passed for check in checks.values())


CARDS = {
    "cards": [
        {"card_id": 4, "status": "active", "kind": "debit"},
        {"card_id": 5, "status": "frozen", "kind": "debit"},
    ]
}


@pytest.mark.parametrize(
    ("expected", "detail"),
    [
        (RowExpectation("cards", {"card_id": 5}, {"status": "frozen"}), ""),
        (RowExpectation("cards", {"card_id": "5"}, {"status": "frozen"}), ""),
        (
            RowExpectation("cards", {"card_id": 4}, {"status": "frozen", "kind": "debit"}),
            "got status: active, kind: debit",
        ),
        (RowExpectation("cards", {"kind": "debit"}, {"status": "frozen"}), "got status: active"),
        (RowExpectation("cards", {"card_id": 6}, {"status": "frozen"}), "no such row"),
        (RowExpectation("cards", {"card_id": 6}, absent=True), ""),
        (RowExpectation("cards", {"card_id": 5}, absent=True), "card_id: 5, status: frozen, kind: debit"),
        (RowExpectation("cards", {"card": 6}, absent=True), "cards has no column card"),
        (RowExpectation("cards", {"card_id": 5}, {"stauts": "frozen"}), "cards has no column stauts"),
        (RowExpectation("users", {"user_id": 5}, absent=True), "the table users could not be read"),
    ],
)
def test_rows_are_compared_when_expected(expected: RowExpectation, detail: str) -> None:
    evidence = evidence_of(rows=CARDS)
    assert list(failed(checks_of(evidence, rows=(expected,))).values()) == ([detail] if detail else [])
    gone = failed(checks_of(evidence_of(rows=None), rows=(expected,)))
    assert list(gone.values()) == [f"the table {expected.table} could not be read"]


@pytest.mark.parametrize(
    ("after", "detail"),
    [
        (list(reversed(CARDS["cards"])), ""),
        ([CARDS["cards"][0], {**CARDS["cards"][1], "status": "active"}], "card_id 5: status was frozen, is active"),
        (CARDS["cards"][:1], "gone: card_id: 5, status: frozen, kind: debit"),
        ([*CARDS["cards"], {"card_id": 6}], "new: card_id: 6"),
        ([*CARDS["cards"], CARDS["cards"][0]], "new: card_id: 4, status: active, kind: debit"),
        (
            [*CARDS["cards"], *({"card_id": number} for number in range(6, 11))],
            "new: card_id: 6; new: card_id: 7; new: card_id: 8; and 2 more",
        ),
    ],
)
def test_table_must_be_as_before_when_said_so(after: list[dict[str, Any]], detail: str) -> None:
    checks = checks_of(evidence_of(rows={"cards": after}, rows_before=CARDS), unchanged=("cards",))
    assert failed(checks) == ({"cards as before the call": detail} if detail else {})


def test_table_as_before_fails_when_it_was_not_read_before_or_after() -> None:
    name = "cards as before the call"
    for rows, before in ((CARDS, None), (CARDS, {}), (None, CARDS), ({}, CARDS)):
        assert list(failed(checks_of(evidence_of(rows=rows, rows_before=before), unchanged=("cards",)))) == [name]


def test_tables_to_read_are_those_of_rows_and_of_unchanged() -> None:
    expect = Expectations(rows=(RowExpectation("cards", {}, {}),), unchanged=("users", "cards"))
    assert tables_of(Scenario("n", (), expect=expect)) == {"cards", "users"}
    assert tables_of(Scenario("n", ())) == set()


SPOKEN = (("Good day, I'm Riley.", None), ("Your card is FROZEN \u2014 now and for ever.", None))


@pytest.mark.parametrize(
    ("phrase", "heard"),
    [
        ("good day", True),
        ("im riley", True),
        ("card is frozen now!", True),
        ("Froze", False),
        ("frozen for ever", False),
    ],
)
def test_phrase_is_found_as_whole_words_when_the_cloud_spoke_it(phrase: str, heard: bool) -> None:
    checks = checks_of(evidence_of(spoken=SPOKEN), said=(phrase,), never_said=(phrase,))
    assert (f"said: {phrase}" in failed(checks), f"never said: {phrase}" in failed(checks)) == (not heard, heard)
    assert "by the cloud's words, which arrived bit for bit" in checks[f"said: {phrase}"].detail


def test_phrase_without_words_is_refused() -> None:
    checks = failed(checks_of(evidence_of(spoken=SPOKEN), said=("!",), never_said=("?",)))
    assert set(checks.values()) == {"the phrase has no words; write some"}


def test_line_cut_short_tells_nobody_when_asked_for_and_what_was_played_when_forbidden() -> None:
    evidence = evidence_of(spoken=(("your card is frozen now", 0.45),))
    checks = failed(checks_of(evidence, said=("your card",), never_said=("your card", "frozen")))
    assert list(checks) == ["said: your card", "never said: your card"]


def test_line_is_heard_in_part_when_the_call_ended_in_it() -> None:
    evidence = evidence_of(spoken=(("your card is frozen now", None),))
    assert evidence.cloud_call is not None
    events = evidence.cloud_call.log.events
    events[-1] = Event(0.5, 0.5, "c", "vapi", "call-ended", {"reason": "x", "by": "client"})
    assert list(failed(checks_of(evidence, said=("your card",), never_said=("frozen",)))) == ["said: your card"]


def test_clouds_words_do_not_count_when_the_audio_did_not_arrive() -> None:
    report = attrs.evolve(REPORT, received=(Chunk(0.5, FRAME[:-2] + b"\x09\x09"),))
    checks = checks_of(evidence_of(spoken=SPOKEN, report=report), said=("good day",), never_said=("good day",))
    assert list(failed(checks)) == ["the caller heard the agent bit for bit"]
    assert [checks[name].checked for name in ("said: good day", "never said: good day")] == [False, False]


def test_phrase_is_by_the_ear_when_there_is_one() -> None:
    heard = (HeardSpeech(0.0, "your card"), HeardSpeech(1.0, "is frozen"))
    evidence = evidence_of(cloud_call=None, heard=heard, absent={"vapi": "not ours"})
    checks = checks_of(evidence, said=("card is frozen", "hello"), never_said=("hello", "frozen"))
    assert failed(checks) == {"said: hello": "not heard (by the ear)", "never said: frozen": "it was said (by the ear)"}
    # What the cloud spoke is not what was heard.
    assert list(failed(checks_of(evidence_of(spoken=SPOKEN, heard=heard), said=("good day",)))) == ["said: good day"]


def test_phrase_that_the_ear_may_have_missed_is_not_checked_when_nobody_else_knows() -> None:
    heard = (HeardSpeech(0.0, "your card"), HeardSpeech(1.0, "", 0.1))
    alone = checks_of(evidence_of(cloud_call=None, heard=heard, absent={"vapi": "not ours"}), never_said=("frozen",))
    assert alone["never said: frozen"].detail == "not checked: the ear did not understand 1 of 2 stretches"
    lost = checks_of(evidence_of(heard=heard, spoken=SPOKEN), said=("frozen",), never_said=("frozen", "hello"))
    assert failed(lost) == {
        "said: frozen": "not heard (by the ear, 1 of 2 stretches not understood)",
        "never said: frozen": "it was said (by the cloud's words, which arrived bit for bit)",
    }


@pytest.mark.parametrize(
    ("value", "lateness_ms", "passed", "detail"),
    [
        (800.0, 1.0, True, "800 (instrument 1 ms late)"),
        (900.0, 1.0, True, "900 (instrument 1 ms late)"),
        (901.4, 1.0, False, "901 (instrument 1 ms late)"),
        (None, 1.0, False, "no measurement (instrument 1 ms late)"),
        (800.0, 21.0, True, "800 (instrument 21 ms late: too late to trust this)"),
        (1000.0, 21.0, False, "1000 (instrument 21 ms late: too late to trust this)"),
        (915.0, 21.0, None, "not checked: 915, by no more above it than the instrument was late (21 ms)"),
    ],
)
def test_limit_is_compared_with_the_measure(
    monkeypatch: pytest.MonkeyPatch, value: float | None, lateness_ms: float, passed: bool | None, detail: str
) -> None:
    @attrs.frozen
    class Fixed:
        def value_of(self, name: str) -> float | None:
            return {"response_ms": value}[name]

    monkeypatch.setattr(limit_checks, "measure", lambda _report: Fixed())
    evidence = evidence_of(report=attrs.evolve(REPORT, lateness_ms=lateness_ms))
    check = checks_of(evidence, limits={"response_ms": 900.0})["response_ms at most 900"]
    assert (check.passed, check.checked, check.detail) == (bool(passed), passed is not None, detail)


def test_count_is_compared_as_it_is_however_late_the_instrument_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limit_checks, "measure", lambda _report: Measures(backchannels=1, false_interruptions=1))
    evidence = evidence_of(report=attrs.evolve(REPORT, lateness_ms=3.0))
    assert checks_of(evidence, limits={"false_interruptions": 0})["false_interruptions at most 0"].failed


@pytest.mark.parametrize("name", LIMITS)
def test_limit_has_no_measurement_or_nothing_to_count_when_the_agent_only_clicked(name: str) -> None:
    check = checks_of(evidence_of(), limits={name: 0.0})[f"{name} at most 0"]
    assert check.checked
    assert check.detail.startswith("0 (" if check.passed else "no measurement (")


ALL: dict[str, Any] = {
    "tools": (wanted(FIND, refused=False),),
    "never": ("cancel",),
    "rows": (RowExpectation("cards", {"card_id": 5}, {"status": "frozen"}),),
    "unchanged": ("cards",),
    "said": ("good day",),
    "never_said": ("hello",),
}
BY_REPORT = ["the call ended", "the agent kept the channel's rules"]


def test_everything_but_the_report_fails_when_no_witness_came() -> None:
    checks = checks_of(Evidence(REPORT), **ALL)
    assert [name for name, check in checks.items() if check.passed] == BY_REPORT
    assert len(failed(checks)) == len(checks) - len(BY_REPORT)


def test_everything_but_the_report_is_not_checked_when_no_witness_could_come() -> None:
    evidence = Evidence(REPORT, absent={witness: f"no {witness} here" for witness in WITNESSES})
    checks = checks_of(evidence, **ALL)
    assert failed(checks) == {}
    left = [check for check in checks.values() if not check.checked]
    assert len(left) == len(checks) - len(BY_REPORT)
    assert all(check.detail.startswith("not checked: no ") for check in left)
    assert not any(check.passed for check in left)


def test_summary_tells_what_was_not_checked_from_what_failed() -> None:
    checks = [Check("a", True, ""), Check("b", False, "why"), not_checked("c", "nobody there")]
    assert summary(REPORT, None, checks, {})["checks"] == [
        {"name": "a", "passed": True, "detail": "", "checked": True},
        {"name": "b", "passed": False, "detail": "why", "checked": True},
        {"name": "c", "passed": False, "detail": "not checked: nobody there", "checked": False},
    ]
