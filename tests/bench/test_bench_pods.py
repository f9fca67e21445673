"""What several pods cost: paired with one, whatever the order; and nginx apart."""

import json
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from bench.outcome import Outcome
from bench.plan import Plan
from bench.pods import MANNERS, PodsFound, PodsPart, PodsWindow
from bench.results import document
from bench.tables import print_tables
from tests.bench.windows import window

MS_PER_CALL = {"one": {20: 10.0, 40: 8.0}, "two_pods": {20: 10.5, 40: 8.8}}


def two_pods(repetitions: int = 7) -> Outcome:
    outcome = Outcome(Plan())
    for repetition in range(repetitions):
        for calls in (20, 40):
            for manner in MANNERS:
                total = calls * (2 if manner == "two_pods" else 1)
                cpu_seconds = 2.0 * total * MS_PER_CALL[manner][calls] / 1e3
                one = window("ours", "tls", total, repetition, cpu_seconds=cpu_seconds)
                outcome.pods.windows.append(PodsWindow(manner, calls, one, 0.01, total // 2))
    return outcome


def test_two_pods_are_held_against_one_with_as_many_calls_for_each() -> None:
    outcome = two_pods()
    assert [(verdict.bar.key, verdict.outcome) for verdict in outcome.verdicts] == [
        ("pods_20", "held"), ("pods_40", "held"),
    ]  # fmt: skip
    told = json.loads(json.dumps(document(outcome, finished_at="2026-11-23T00:00:00+00:00")))["pods"]
    assert told["two_pods"]["tls_20"]["cpu_ratio"]["median"] == 1.05
    assert told["two_pods"]["tls_20"]["cpu_ratio_same_calls_in_all"]["median"] == 1.312
    assert told["two_pods"]["tls_40"]["cpu_ratio"]["median"] == 1.1
    assert "cpu_ratio_same_calls_in_all" not in told["two_pods"]["tls_40"]
    assert told["nginx_cpu_ms_per_tool"]["median"] == 0.375
    for one in outcome.pods.windows:
        if one.manner == "two_pods" and one.calls == 40:
            object.__setattr__(one.window, "cpu_seconds", one.window.cpu_seconds * 1.2)
    assert [verdict.outcome for verdict in outcome.verdicts] == ["held", "missed"]


def test_table_has_nginx_apart_and_says_what_was_not_measured() -> None:
    outcome = two_pods()
    outcome.pods.failed.append("two pods, 40 calls each, repetition 3: it ended")
    console = Console(width=200, record=True, file=StringIO())
    print_tables(outcome, console)
    told = console.export_text()
    assert "1.05 [1.05-1.05]" in told
    assert "pods: nginx used 0.38 [0.25-0.50] ms of CPU for a tool call" in told
    assert "pods: not measured: two pods, 40 calls each" in told


async def test_part_is_left_out_and_says_why_when_there_is_no_nginx(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.pods.shutil.which", lambda *_, **__: None)
    nothing: Any = None
    found = PodsFound()
    await PodsPart(Plan(), nothing, nothing, print, found).run()
    assert (found.windows, found.failed) == ([], ["nginx is not installed"])
