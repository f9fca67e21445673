"""`voice stress` as its users start it."""

import io
import json
from pathlib import Path
from typing import Any

import attrs
import pytest
from rich.console import Console
from typer.testing import CliRunner

from runtime.cli import app
from runtime.errors import SettingsError
from stress.command import Wishes, stress

ASKED = Wishes(
    calls=3, seconds=2.0, per_second=None, account_slots=None, scenario=None, json=None, chart=None, virtual=False,
    find=False,
)  # fmt: skip


def test_three_calls_are_held_in_real_time_and_nothing_of_them_is_left(tmp_path: Path) -> None:
    kept, chart = tmp_path / "stress.json", tmp_path / "stress.png"
    screen = io.StringIO()
    passed = stress(attrs.evolve(ASKED, json=kept, chart=chart), Console(file=screen))
    told = json.loads(kept.read_text())
    (run,) = told["runs"]
    for way in ("up", "down"):
        assert run["frames"][way]["sent"] > 3 * 100
        assert run["frames"][way]["arrived"] == run["frames"][way]["sent"]
        assert run["latency"][way]["count"] > 3 * 80
    assert run["tools"]["asked"] == run["tools"]["answered"] > 0
    assert run["leavings"] == {"calls": 0, "sockets": 0, "processes": [], "bridge_code": 0, "bridge_said": ""}
    assert {"bridge", "callers", "cloud", "database"} <= set(run["cpu"])
    assert 0 <= run["idle"] <= 1
    assert run["memory"]["steady_mib"] > 20
    assert chart.read_bytes().startswith(b"\x89PNG")
    # How late the frames are is the machine's affair, which is shared with other tests.
    assert passed == told["verdict"]["passed"] == (not run["complaints"]), screen.getvalue()
    assert all("added latency" in line for line in run["complaints"]), run["complaints"]


@pytest.mark.parametrize(
    ("wishes", "words"),
    [
        ({"scenario": Path("scenarios/there-is-none.yaml")}, "there-is-none"),
        ({"json": Path("no such folder/x.json")}, "there is no folder"),
    ],
)
def test_stress_says_what_is_wrong_when_it_is_used_wrongly(wishes: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        stress(attrs.evolve(ASKED, **wishes), Console())


def test_wrong_use_is_one_line_and_code_2() -> None:
    done = CliRunner().invoke(app, ["stress", "--virtual", "--find"])
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1), done.stderr
    assert done.stderr.startswith("voice: --find looks for the limit of this machine")
