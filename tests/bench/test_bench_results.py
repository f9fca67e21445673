"""`latest.json`, the tables and the picture, from windows as if they had been measured."""

import json
from io import StringIO
from pathlib import Path

from rich.console import Console

from bench.picture import draw
from bench.plan import QUICK, Plan, rotated
from bench.results import document
from bench.tables import print_tables
from bench.windows import FailedWindow
from tests.bench.windows import measured, window

WHEN = "2026-11-23T00:00:00+00:00"


def test_results_are_of_the_agreed_schema() -> None:
    told = json.loads(json.dumps(document(measured(), finished_at=WHEN)))
    assert (told["schema"], told["unit"], told["n"]) == (1, "cpu_seconds_per_call_second", 7)
    assert set(told["ratios"]) == {"tls_1", "tls_20", "tls_100", "plain_1", "plain_20", "plain_100"}
    assert set(told["ratios"].values()) == {0.5}
    assert told["floor"]["plain_100"] == 1.25
    assert told["iqr"]["tls_20"] == [0.5, 0.5]
    assert told["iqr"]["floor_plain_100"] == [1.25, 1.25]
    assert told["audio"]["ours"]["tls_100"]["cpu_us_per_frame"]["median"] == 50.0
    assert told["memory"]["ours"]["tls"]["slope_mib_per_call"]["median"] == 0.1
    assert {verdict["outcome"] for verdict in told["verdicts"]} == {"held", "missed"}


def test_verdicts_are_of_paired_repetitions() -> None:
    outcomes = {verdict.bar.key: verdict.outcome for verdict in measured().verdicts}
    assert outcomes.pop("tls_100") == "missed"  # 0.5 is above 0.45
    assert set(outcomes.values()) == {"held"}
    assert {verdict.outcome for verdict in measured(3).verdicts} == {"not decided"}


def test_harmed_frames_and_windows_that_failed_are_held_against_us() -> None:
    outcome = measured()
    outcome.audio.windows.append(window("ours", "tls", 100, 7, lost=1))
    harmed = next(verdict for verdict in outcome.verdicts if verdict.bar.key == "harmed_100")
    assert (harmed.outcome, harmed.spread.median) == ("missed", 1.0)
    outcome = measured()
    outcome.audio.failed.append(FailedWindow("ours", "tls", 100, 7, "no frame came through"))
    harmed = next(verdict for verdict in outcome.verdicts if verdict.bar.key == "harmed_100")
    assert harmed.outcome == "missed"
    assert json.loads(json.dumps(document(outcome, finished_at=WHEN)))["not_measured"][0]["calls"] == 100


def test_repetition_without_its_pair_is_left_out() -> None:
    outcome = measured()
    outcome.audio.windows[:] = [
        one for one in outcome.audio.windows if not (one.bridge == "reference" and one.repetition == 0)
    ]
    assert document(outcome, finished_at=WHEN)["n"] == 6


def test_tables_and_picture_are_made_of_any_part(tmp_path: Path) -> None:
    console = Console(width=180, record=True, file=StringIO())
    print_tables(measured(), console)
    told = console.export_text()
    assert "not decided" not in told
    assert "0.50 [0.50-0.50]" in told
    draw(measured(), tmp_path / "whole.png")
    empty = measured()
    empty.audio.windows.clear()
    empty.audio.memory.clear()
    draw(empty, tmp_path / "empty.png")
    print_tables(empty, console)
    assert (tmp_path / "whole.png").stat().st_size > 10_000


def test_order_rotates_and_only_a_whole_run_is_whole() -> None:
    assert [rotated("abc", by)[0] for by in range(4)] == ["a", "b", "c", "a"]
    assert Plan().is_whole
    assert not QUICK.is_whole
    assert not Plan(parts=("audio",)).is_whole
    assert not Plan(repetitions=6).is_whole
