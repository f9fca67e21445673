"""CONTRIBUTING, SECURITY, CHANGELOG and docs/decisions.md name what there is, and what they show happens."""

import re
import tomllib
from typing import Any, Final

import pytest
import trio

from actors.control_message_watcher import ControlMessageWatcher
from runtime import limits
from runtime.leg import Passing
from tests.house_rules import ROOT, RULES, Module
from tests.virtual_time import run_in_virtual_time
from torture.run import open_rig, run_seed

PAPERS: Final = ("CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "docs/decisions.md", "docs/dependencies.md")
TO_BE_MADE: Final = {"dist/sbom.cdx.json", "actors/call_clock.py", "tests/actors/test_call_clock.py"}
ROOMS: Final = (
    r"(?:runtime|actors|console|tools|db|simulation|sandbox|stress|torture|fuzz|bench|tests|docs|deploy|scripts)"
)


def paper(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", paper("Makefile"), re.MULTILINE))


@pytest.mark.parametrize("name", PAPERS)
def test_paper_names_files_that_are_there(name: str) -> None:
    named = set(re.findall(rf"`({ROOMS}/[\w./@-]*[\w/])`", paper(name)))
    linked = {target for target in re.findall(r"\]\(([\w./-]+)\)", paper(name)) if "://" not in target}
    found = {path for path in named if (ROOT / path).exists()}
    assert sorted(named - found - TO_BE_MADE) == []
    assert [target for target in linked if not (ROOT / name).parent.joinpath(target).exists()] == []


@pytest.mark.parametrize("name", PAPERS)
def test_paper_names_targets_that_make_has(name: str) -> None:
    named = set(re.findall(r"(?:`|^    )make\s+([a-z-]+)", paper(name), re.MULTILINE))
    assert sorted(named - targets()) == []


def test_contributing_names_every_house_rule_and_every_step_of_ci() -> None:
    text = paper("CONTRIBUTING.md")
    rules = {rule.__name__ for rule in RULES}  # type: ignore[attr-defined]
    assert sorted(rule for rule in rules if f"`{rule}`" not in text) == []
    steps = re.findall(r"^(make [\w-]+)", paper(".ci/run"), re.MULTILINE)
    told = " ".join(text.partition("\n## CI\n")[2].partition("\n## ")[0].split())
    assert steps
    assert [step for step in steps if f"`{step}`" not in told] == []


def test_contributing_names_the_versions_that_are_pinned() -> None:
    found = tomllib.loads(paper("pyproject.toml"))["project"]
    asked = [*found["dependencies"], *found["optional-dependencies"]["sandbox"]]
    pinned = {line.replace("==", " ") for line in asked if "==" in line}
    told = set(re.findall(r"^\| ([\w-]+ [\d.]+) \|", paper("CONTRIBUTING.md"), re.MULTILINE))
    assert told == pinned


def test_changelog_tells_of_the_version_that_this_is() -> None:
    for file in ("pyproject.toml", "packages/simulation/pyproject.toml"):
        version = tomllib.loads(paper(file))["project"]["version"]
        assert re.search(
            rf"^## \[{re.escape(version)}\] - (Unreleased|\d{{4}}-\d\d-\d\d)$", paper("CHANGELOG.md"), re.M
        )
    assert f'image.version="{version}"' in paper("Dockerfile")
    kinds = set(re.findall(r"^### (.*)$", paper("CHANGELOG.md"), re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_actor_of_the_walk_through_keeps_the_rules_and_ends_as_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    (source,) = re.findall(r"`actors/call_clock.py`:\n\n```python\n(.*?)```", paper("CONTRIBUTING.md"), re.DOTALL)
    faults = [fault for rule in RULES for fault in rule(Module("actors/call_clock.py", source))]
    assert faults == []
    (seconds,) = re.findall(r"CALL_LENGTH_SECONDS: Final = ([\d.]+)", paper("CONTRIBUTING.md"))
    monkeypatch.setattr(limits, "CALL_LENGTH_SECONDS", float(seconds), raising=False)
    room: dict[str, Any] = {"__name__": "actors.call_clock"}
    exec(compile(source, "actors/call_clock.py", "exec"), room)

    async def main() -> None:
        ending = await room["CallClock"]().run(trio.TASK_STATUS_IGNORED)
        assert trio.current_time() == float(seconds)
        assert (ending.reason, ending.detail) == ("call_too_long", "the call lasted 1200 s")

    run_in_virtual_time(main)


def test_torture_says_what_contributing_shows_when_the_defect_is_planted(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = paper("CONTRIBUTING.md").partition("## Read a torture failure")[2]
    before, after = re.findall(r"^[-+]( +if .*)$", shown, re.MULTILINE)
    assert f"\n{before}\n" in paper("actors/control_message_watcher.py")
    assert after == before.replace("self._odd_byte or ", "")

    def simplified(self: ControlMessageWatcher, audio: Passing) -> bool:
        if audio.size_bytes % 2:
            return self._pass_on_aligned(audio)
        passed_on = self.agent_audio.offer(audio)
        if passed_on:
            self._count(audio.size_bytes)
        return passed_on

    (seed,) = set(re.findall(r"--seeds (\d+)\.\.\1 --trace`", shown))
    rule = re.search(r"^    ([a-z ]+): c-", shown, re.MULTILINE)
    assert rule is not None
    with open_rig() as rig:
        assert run_seed(int(seed), rig).breaches == ()
        monkeypatch.setattr(ControlMessageWatcher, "_pass_on", simplified)
        (breach,) = run_seed(int(seed), rig).breaches
    assert breach.startswith(f"{rule[1]}: ")
