"""What people and programs are told of a run: true to the verdict, and safe whatever was said in a call."""

import io
import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

import attrs
from junitparser import JUnitXml
from rich.console import Console
from verdicts import FAILED, HOSTILE, HOSTILE_ONE, HOSTILE_VERDICT, LATENCIES, PASSED, UNHELD, VERDICT

from sandbox.html_report import html_page
from sandbox.json_report import json_document, write_json
from sandbox.junit import write_junit
from sandbox.screen import LiveScreen, PlainScreen, open_screen, print_verdict
from sandbox.verdict import Verdict


def shown(show: Callable[[Console], object], *, terminal: bool = False, width: int = 100) -> str:
    """What `show` writes to a pipe, or to a terminal of that width."""
    file = io.StringIO()
    show(Console(file=file, force_terminal=terminal, width=width, color_system="standard" if terminal else None))
    return file.getvalue()


def test_plain_screen_says_one_line_for_each_conversation_that_is_over() -> None:
    def run(console: Console) -> None:
        screen = open_screen(console)
        assert isinstance(screen, PlainScreen)
        screen.started(4)
        screen.conversation_started(1, "freeze-card", 1)
        screen.event(1, "the agent speaks")
        for one in (*VERDICT.conversations, attrs.evolve(PASSED, attempt=2), HOSTILE_ONE):
            screen.finished(one)
        screen.closed()

    lines = shown(run, width=40).splitlines()
    assert lines[:5] == [
        "PASSED freeze-card, 21.4 s",
        "FAILED barge-in, 21.4 s: barge_in_stop_ms at most 400: 612 (instrument 2.1 ms late) (and 1 more)",
        "FAILED unheld: the agent did not start: port taken",
        "FAILED unchecked, 21.4 s: nothing could be checked",
        "PASSED freeze-card [2], 21.4 s",
    ]
    (hostile,) = lines[5:]
    assert hostile.isprintable()
    assert "[red]r[/red]" in hostile


def test_live_screen_shows_what_each_job_does_and_prints_failures_as_they_come() -> None:
    def run(console: Console) -> None:
        screen = open_screen(console)
        assert isinstance(screen, LiveScreen)
        screen.started(3)
        assert "starting" in shown(lambda plain: plain.print(screen.picture()))
        screen.conversation_started(1, "freeze-card", 1)
        screen.conversation_started(2, "barge-in", 2)
        screen.event(1, f"tool: {HOSTILE}")
        screen.event(2, "[red]r[/red]")
        screen.event(9, "of no job")
        before = shown(lambda plain: plain.print(screen.picture()), width=100)
        assert "freeze-card" in before
        assert "barge-in [2]" in before
        assert "[red]r[/red]" in before
        assert "0 of 3: 0 passed, 0 failed" in before
        assert before.replace("\n", "").isprintable()
        screen.finished(PASSED)
        screen.finished(attrs.evolve(FAILED, attempt=2))
        after = shown(lambda plain: plain.print(screen.picture()))
        assert "2 of 3: 1 passed, 1 failed" in after
        assert "barge-in" not in after
        screen.closed()
        screen.closed()

    text = shown(run, terminal=True)
    assert "barge-in [2], 21.4 s: barge_in_stop_ms" in text
    assert "freeze-card, 21.4 s" not in text


def test_verdict_is_told_with_table_failures_and_what_was_not_checked() -> None:
    text = shown(lambda console: print_verdict(console, VERDICT))
    rows = [" ".join(line.split()) for line in text.splitlines()]
    assert "freeze-card 1 1 900 / 2000 612 - - 2.1" in rows
    assert "unheld 1 0 - - - - -" in rows
    assert "pass^" not in text
    assert rows[rows.index("FAILED barge-in, seed 7, scenarios/freeze-card.yaml") :][:3] == [
        "FAILED barge-in, seed 7, scenarios/freeze-card.yaml",
        "barge_in_stop_ms at most 400: 612 (instrument 2.1 ms late)",
        "second: 612 (instrument 2.1 ms late)",
    ]
    assert "2 no ear: the caller heard “frozen”" in rows
    assert rows[-1] == "4 scenarios, 4 conversations: 1 passed, 3 failed; 6 checks, 2 not checked; 41.2 s"
    hostile = shown(lambda console: print_verdict(console, HOSTILE_VERDICT), terminal=False)
    assert hostile.replace("\n", "").isprintable()
    assert "[red]r[/red]" in hostile


def test_verdict_of_repeated_runs_tells_pass_k_and_a_late_instrument() -> None:
    late = attrs.evolve(FAILED, scenario="freeze-card", attempt=2, latencies={"instrument_lateness_max": 48.0})
    verdict = Verdict((PASSED, late, UNHELD), "x", 1.0)
    text = shown(lambda console: print_verdict(console, verdict))
    rows = [" ".join(line.split()) for line in text.splitlines()]
    assert "pass^2" in text
    assert "freeze-card 2 1 0.00 900 / 2000 612 - - 48" in rows
    assert "unheld 1 0 - - - - - -" in rows
    assert "The instrument itself was up to 48 ms late: do not trust the figures of freeze-card." in rows


def test_verdict_says_never_of_an_answer_or_a_stop_that_did_not_come() -> None:
    silent = attrs.evolve(FAILED, latencies={"response": [], "unanswered": 1, "barge_in_stop": [], "unyielded": 1})
    once = attrs.evolve(FAILED, scenario="once", latencies={"response": [812.4], "unanswered": 1})
    text = shown(lambda console: print_verdict(console, Verdict((silent, once), "x", 1.0)))
    rows = [" ".join(line.split()) for line in text.splitlines()]
    assert "barge-in 1 0 never never - - -" in rows
    assert "once 1 0 812 / never - - - -" in rows


def test_reports_of_nothing_claim_no_pass(tmp_path: Path) -> None:
    nothing = Verdict((), "x", 0.1)
    text = shown(lambda console: print_verdict(console, nothing))
    assert text.split("\n")[-2] == "0 scenarios, 0 conversations: nothing was held, so nothing has passed"
    assert json_document(nothing, tmp_path)["passed"] is False
    assert "<h1>No conversation was held</h1>" in html_page(nothing)
    write_junit(tmp_path / "j.xml", nothing)
    assert JUnitXml.fromfile(str(tmp_path / "j.xml")).tests == 0


def test_junit_has_one_case_for_each_conversation_in_the_strict_order(tmp_path: Path) -> None:
    write_junit(tmp_path / "j.xml", VERDICT)
    root = ElementTree.parse(tmp_path / "j.xml").getroot()
    (suite,) = root
    assert (root.tag, suite.tag) == ("testsuites", "testsuite")
    assert {name: suite.get(name) for name in ("tests", "failures", "errors", "skipped")} == {
        "tests": "4", "failures": "1", "errors": "1", "skipped": "1",
    }  # fmt: skip
    assert [child.tag for child in suite] == ["properties"] + ["testcase"] * 4
    passed, failed, unheld, unchecked = suite.findall("testcase")
    assert passed.attrib == {"name": "freeze-card [1]", "classname": "scenarios/freeze-card.yaml", "time": "21.38"}
    assert [[child.tag for child in case] for case in (passed, failed, unheld, unchecked)] == [
        ["system-out"],
        ["failure", "system-out"],
        ["error", "system-out"],
        ["skipped", "system-out"],
    ]
    assert (failed[0].text or "").splitlines() == [
        "barge_in_stop_ms at most 400: 612 (instrument 2.1 ms late)",
        "second: 612 (instrument 2.1 ms late)",
    ]
    assert unheld[0].get("message") == UNHELD.problem
    told = passed[0].text or ""
    assert '5.50 s  tool    freeze_card {"card_id": 5, "on": "2026-11-23"} answered: {"status":"frozen"}' in told
    assert "response: 700, 900, 2000 ms" in told
    assert "not checked: the caller heard “frozen”: no ear" in told


def test_junit_can_be_read_whatever_was_said(tmp_path: Path) -> None:
    write_junit(tmp_path / "j.xml", HOSTILE_VERDICT)
    suite = next(iter(JUnitXml.fromfile(str(tmp_path / "j.xml"))))
    hostile = next(iter(suite))
    assert "</p><script>alert(1)</script>" in hostile.name
    assert "\ufffd[2J\ufffd\u202ex\ufffd" in (hostile.system_out or "")


def test_json_is_the_same_bytes_for_the_same_verdict_but_for_its_timing(tmp_path: Path) -> None:
    one = attrs.evolve(PASSED, folder=tmp_path / "runs" / "freeze-card")
    held = (one, attrs.evolve(FAILED, attempt=2), FAILED, UNHELD)
    documents = []
    for conversations, wall_seconds in ((held, 1.0), (held[::-1], 2.0)):
        write_json(tmp_path / "j.json", Verdict(conversations, "x", wall_seconds))
        documents.append(json.loads((tmp_path / "j.json").read_text()))
    first, second = documents
    assert (first.pop("timing"), second.pop("timing")) == ({"wall_seconds": 1.0}, {"wall_seconds": 2.0})
    assert json.dumps(first) == json.dumps(second)
    assert (first["schema"], first["passed"]) == (1, False)
    assert first["counts"] == {
        "scenarios": 3, "conversations": 4, "passed": 1, "failed": 3,
        "checks": 8, "checks_failed": 4, "checks_not_checked": 1,
    }  # fmt: skip
    barge_in, freeze, _ = first["scenarios"]
    assert (barge_in["runs"], barge_in["pass_all"], barge_in["pass_any"]) == (
        2,
        {"1": 0.0, "2": 0.0},
        {"1": 0.0, "2": 0.0},
    )
    assert freeze["pass_all"] == {"1": 1.0}
    assert [(item["scenario"], item["attempt"]) for item in first["conversations"]] == [
        ("barge-in", 1), ("barge-in", 2), ("freeze-card", 1), ("unheld", 1),
    ]  # fmt: skip
    told = first["conversations"][2]
    assert told["folder"] == "runs/freeze-card"
    assert [check["result"] for check in told["checks"]] == ["passed", "not checked"]
    assert told["transcript"][2]["arguments"] == {"card_id": 5, "on": "2026-11-23"}
    assert told["latency_ms"] == LATENCIES


def test_json_can_be_read_whatever_was_said(tmp_path: Path) -> None:
    odd = attrs.evolve(HOSTILE_ONE, latencies={"x": float("nan")})
    write_json(tmp_path / "j.json", Verdict((odd,), HOSTILE, 1.0))
    (told,) = json.loads((tmp_path / "j.json").read_text())["conversations"]
    assert told["transcript"][0]["text"] == HOSTILE
    assert told["latency_ms"] == {"x": "nan"}
