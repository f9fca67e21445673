"""What a user may ask of `voice run`, and what he is told when it makes no sense."""

from pathlib import Path
from typing import Any

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from runtime import demo
from runtime.cli_run import run
from runtime.demo_screen import Screen
from runtime.errors import SettingsError
from sandbox.command import Wishes, options_of, run_conversations, scenarios_in, vapi_of
from simulation.scenario import load_scenario
from simulation.speech import Speech, Tones

SIMPLE = "schema: 1\nname: {}\ncaller:\n  - hang_up: true\n"


def wishes(**given: Any) -> Wishes:
    plain: dict[str, Any] = {
        "scenarios": (), "jobs": 1, "repeat": 1, "seed": None, "virtual": False, "scripted": False,
        "protocol": "binary", "tail_mode": "burst", "vapi": (), "agent": "", "agent_command": (),
        "database_url": None, "engine_port": 0, "live": False, "yes": False, "max_calls": 1, "max_minutes": 1.0,
        "max_cost": 1.0, "runs": None, "junit": None, "json": None, "html": None,
    }  # fmt: skip
    return Wishes(**{**plain, **given})


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"agent": "ws://x", "live": True}, "--agent and --live exclude each other"),
        ({"agent": "http://x"}, "write ws://host:port/path"),
        ({"agent": "ws://x", "virtual": True}, "only our own agent runs in memory"),
        ({"live": True, "scripted": True}, "hears no words in tones"),
        ({"agent": "ws://x", "vapi": ("filler",)}, "there is no simulated Vapi then"),
        ({"agent": "ws://[half"}, "write ws://host:port/path"),
        ({"agent": "ws://"}, "write ws://host:port/path"),
        ({"engine_port": 6100}, "--engine-port is for --agent"),
        ({"database_url": "postgresql://h/d"}, "our own agent has a scratch database"),
        ({"agent": "ws://x", "database_url": "mysql://h/d"}, "--database-url: DATABASE_URL must begin with"),
        ({"vapi": ("sideways",)}, "no variant"),
        ({"vapi": ("color=red",)}, "there is no knob 'color'"),
        ({"vapi": ("model_ms=soon",)}, "model_ms must be a number"),
    ],
)
def test_wishes_are_refused_in_one_line_when_they_make_no_sense(given: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=words) as refused:
        options_of(wishes(**given), {})
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--agent", "", "--agent is empty"),
        ("--agent-command", " ", "--agent-command is empty"),
        ("--agent-command", "run 'it", "close what is quoted"),
    ],
)
def test_agent_that_is_not_named_is_refused_and_ours_not_called_instead(option: str, value: str, words: str) -> None:
    app = typer.Typer()
    app.command()(run)
    told = CliRunner().invoke(app, ["a.yaml", option, value])
    assert told.exit_code == 2
    assert words in told.stderr


def test_reports_name_the_agent_without_its_secrets() -> None:
    given = wishes(agent="ws://me:hush@[::1]:8008/voice?token=hush")
    assert options_of(given, {}).how == "the agent at ws://[::1]:8008/voice, real time, heard by ear"


def test_knobs_come_from_variants_and_from_values() -> None:
    assert vapi_of(["enveloped", "model_ms=20", "redeliver=true"]) == {
        "envelope": "message", "model_ms": 20.0, "redeliver": True,
    }  # fmt: skip


def test_agents_of_others_get_the_environment_and_ours_does_not() -> None:
    environ = {"THEIR_KEY": "1"}
    assert options_of(wishes(agent_command=("run",)), environ).environ == environ
    assert options_of(wishes(), environ).environ == {}


def test_folders_are_searched_and_names_must_differ(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text(SIMPLE.format("b"))
    (tmp_path / "a.yaml").write_text(SIMPLE.format("a"))
    assert [scenario.name for scenario in scenarios_in([tmp_path])] == ["a", "b"]
    with pytest.raises(SettingsError, match="two scenarios are named 'a'"):
        scenarios_in([tmp_path, tmp_path / "a.yaml"])
    (tmp_path / "c.yaml").write_text("schema: 2\n")
    with pytest.raises(SettingsError, match=r"c\.yaml:1: "):
        scenarios_in([tmp_path])
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(SettingsError, match="there is no scenario in"):
        scenarios_in([empty])


SPOKEN = """schema: 1
name: new-words
caller:
  - say: "Hello, this sentence is new."
  - hang_up: true
agent:
  - say: "And so is this one."
"""


@pytest.fixture
def new_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A scenario that nobody has recorded, on a machine without flite."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "new-words.yaml").write_text(SPOKEN)
    return tmp_path / "new-words.yaml"


@pytest.mark.parametrize("given", [{}, {"virtual": True}, {"live": True}, {"agent": "ws://127.0.0.1:1/voice"}], ids=str)
def test_run_is_refused_before_any_call_when_a_line_cannot_be_spoken(new_words: Path, given: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=r"new-words\.yaml: no recording of 'Hello.*--scripted needs none"):
        run_conversations(wishes(scenarios=(new_words,), **given), {}, Console())


def test_demo_speaks_in_tones_when_a_line_cannot_be_spoken(new_words: Path) -> None:
    console = Console(record=True, width=200)
    voice = demo._voice_of(load_scenario(new_words), Screen(console))
    assert isinstance(voice, Tones)
    assert "tones stand for speech: no recording of 'Hello, this sentence is new.'" in console.export_text()
    shipped = demo._voice_of(load_scenario(Path("scenarios/freeze-card.yaml")), Screen(console))
    assert isinstance(shipped, Speech)


@pytest.mark.parametrize(
    ("expected", "words"),
    [
        ("rows: [{table: card, where: {card_id: 5}, set: {status: frozen}}]", "no table 'card': expected one of users"),
        ("rows: [{table: cards, where: {id: 5}, set: {status: frozen}}]", "table cards has no column 'id': expected"),
        ("unchanged: [user]", "no table 'user'"),
    ],
)
def test_run_is_refused_before_any_call_when_a_table_is_not_there(tmp_path: Path, expected: str, words: str) -> None:
    (tmp_path / "simple.yaml").write_text(SIMPLE.format("simple") + f"expect:\n  {expected}\n")
    with pytest.raises(SettingsError, match=f"simple.yaml: {words}"):
        run_conversations(wishes(scenarios=(tmp_path / "simple.yaml",), scripted=True), {}, Console())
