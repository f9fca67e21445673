"""`voice settings`: every row, whatever else is wrong, in any width, and for programs."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from runtime.cli import app
from runtime.setting_rows import print_rows, setting_rows
from runtime.settings import read_environment, setting_fields


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> "Voice":
    for field in setting_fields():
        monkeypatch.delenv(field.metadata["env"], raising=False)
    return Voice()


class Voice:
    def __call__(self, *arguments: str, **environ: str) -> Result:
        return CliRunner().invoke(app, ["settings", *arguments], env={"POD_ID": "pod-1", **environ})


def test_settings_are_all_shown_when_some_are_wrong(run: Voice) -> None:
    done = run(PORT="eighty", MAX_CALLS="many", VAPI_API_KEY="hunter2", VOICE_TOKEN="hunter2")
    assert done.exit_code == 2
    for field in setting_fields():
        assert f"{field.metadata['env']} = " in done.stdout
    assert "PORT = wrong" in done.stdout
    assert "LOG_LEVEL = info  (default)" in done.stdout
    said = done.stderr.splitlines()
    assert [line.split("=")[0].split(" is ")[0] for line in said] == [
        "voice: PORT", "voice: VOICE_TOKEN", "voice: MAX_CALLS",
    ]  # fmt: skip
    assert "hunter2" not in done.output


def test_settings_are_chosen_by_words_of_their_names(run: Voice) -> None:
    assert [row["variable"] for row in json.loads(run("tunnel_url", "Log", "--json").stdout)] == [
        "TUNNEL_URL", "LOG_LEVEL",
    ]  # fmt: skip
    assert "WEBHOOK_BIND" in run("WEBHOOK_PORT").stdout
    wrong_elsewhere = run("LOG_LEVEL", PORT="eighty")
    assert (wrong_elsewhere.exit_code, wrong_elsewhere.stderr) == (0, "")


def test_settings_say_so_when_none_has_such_a_name(run: Voice) -> None:
    done = run("VAPI_APIKEY")
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == "voice: no setting has 'VAPI_APIKEY' in its name: is it VAPI_API_KEY?\n"


def test_settings_as_json_have_every_field(run: Voice) -> None:
    done = run("--json", "PORT", PORT="8001", CONSOLE_PORT="x")
    assert done.exit_code == 2
    rows = {row["variable"]: row for row in json.loads(done.stdout)}
    assert rows["PORT"] == {
        "variable": "PORT", "value": "8001", "origin": "environment", "default": "8008",
        "meaning": "the voice door's port; 0 picks one", "wrong": None,
    }  # fmt: skip
    assert (rows["CONSOLE_BIND"]["value"], rows["CONSOLE_BIND"]["wrong"][:16]) == (None, "CONSOLE_PORT='x'")


@pytest.mark.parametrize("width", [80, 119, 120, 200])
def test_settings_fit_and_lose_nothing_whatever_the_width(width: int, tmp_path: Path) -> None:
    long = "https://" + "a" * 150 + ".example.com"
    told = {"PUBLIC_BASE_URL": long, "POD_ID": "[bold]", "SSH_TUNNEL_KEY": "/" + "k" * 120}
    rows, screen = setting_rows(read_environment(told, state_folder=tmp_path)), io.StringIO()
    print_rows(rows, Console(file=screen, width=width))
    assert max(len(line) for line in screen.getvalue().splitlines()) <= width
    shown = screen.getvalue()
    for row in rows:
        assert row.variable in shown
        assert all(word in shown for word in row.meaning.split())
    if width < 120:  # nothing stands beside it
        assert long in "".join(shown.split())
    assert "'[bold]'" in shown
