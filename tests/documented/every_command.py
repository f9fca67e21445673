"""Every command of README.md and docs/your-agent.md, run on a copy of the repository: `make documented`.

Each document is followed from its first line to its last, on a machine with a network of its own, a test for each
block. How a command is led to something that can be reached here: rules.py. Not collected by a plain `pytest`: minutes.
"""

import copy
import json
import re
import subprocess
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import yaml

from tests.documented.checkout import open_checkout
from tests.documented.machine import Machine
from tests.documented.markdown import Command, FileToWrite, Step, steps_of
from tests.documented.reader import Reader
from tests.documented.rules import rule_of
from tests.house_rules import ROOT
from tests.programs import need

GUIDE = "docs/your-agent.md"
DOCUMENTS = ("README.md", GUIDE)
PACKAGES = {GUIDE: [("flite", "flite"), ("curl", "curl")], "README.md": [("curl", "curl"), ("nginx", "nginx-light")]}
PLANTED = "the copy runs its own code"


def tasks() -> Iterator[tuple[str, list[Step]]]:
    """Document, and what is done in one go: a block with the files before it, or a command of the text.

    A command of the text that a block of the same document has is left to that; another document's runs elsewhere.
    """
    for document in DOCUMENTS:
        steps = steps_of((ROOT / document).read_text(encoding="utf-8"))
        in_blocks = [step.text.split() for step in steps if isinstance(step, Command) and step.block]
        made: list[list[Step]] = []
        for step in steps:
            last = made[-1] if made else []
            if isinstance(step, Command) and not step.block:
                if rule_of(step.text)[0].follows and last:
                    last.append(step)
                elif not any(contains(block, step.text.split()) for block in in_blocks):
                    made.append([step])
            elif last and (isinstance(last[-1], FileToWrite) or last[-1].block == step.block):
                last.append(step)
            else:
                made.append([step])
        yield from ((document, steps) for steps in made)


def contains(block: Sequence[str], span: Sequence[str]) -> bool:
    """The span names a command of a block, or part of it: each of its words is there, in this order."""
    rest = iter(word.removeprefix(".venv/bin/") for word in block)
    return all(word in rest for word in span)


def named(task: object) -> str:
    return f"line-{task[0].line}" if isinstance(task, list) else str(task)


@pytest.fixture(scope="module")
def reader(request: pytest.FixtureRequest, machine: Machine) -> Iterator[Reader]:
    """Of one document, in a copy of his own."""
    for program, package in PACKAGES[request.param]:
        need(program, package)
    with open_checkout() as checkout:
        yield Reader(machine, checkout)


@pytest.mark.parametrize(("reader", "steps"), list(tasks()), ids=named, indirect=["reader"], scope="module")
def test_reader_gets_what_the_document_says_when_he_does_it(
    request: pytest.FixtureRequest, reader: Reader, steps: list[Step], record_property: Callable[[str, object], None]
) -> None:
    document = request.node.callspec.params["reader"]
    if document != GUIDE:
        reader.open_terminal()
    faults = reader.follow(steps)
    for line, text in reader.told:
        record_property("documented", f"{document}:{line:<4} {text}")
    assert not faults, "\n\n".join(faults)


@pytest.mark.parametrize("reader", [GUIDE], indirect=True, scope="module")
def test_guide_has_led_to_an_agent_whose_new_tool_changes_its_table(reader: Reader) -> None:
    """Held anew, and read from what it leaves; then with another row expected, and without the tool."""
    reader.open_terminal()
    scenario = yaml.safe_load((reader.checkout / reader.scenario).read_text())
    wanted = [tool["tool"] for tool in scenario["expect"]["tools"]]
    (table,) = {row["table"] for row in scenario["expect"]["rows"]}
    (tool_file,) = [path for path in reader.written if path.startswith("tools/")]
    assert not [path for path in reader.written if (ROOT / path).exists()], "the guide writes new files only"

    assert held(reader, scenario, "--jobs 1") == 0
    summary = json.loads((reader.checkout / "runs/proof" / scenario["name"] / "summary.json").read_text())
    assert [tool["name"] for tool in summary["tools"]] == wanted
    assert set(wanted) <= set(re.findall(r'"(\w+)"', (reader.checkout / tool_file).read_text()))
    rows = [check for check in summary["checks"] if check["name"].startswith(f"{table} where")]
    assert [check["passed"] and check["checked"] for check in rows] == [True] * len(scenario["expect"]["rows"])

    other = copy.deepcopy(scenario)
    column, value = next(iter(other["expect"]["rows"][0]["set"].items()))
    other["expect"]["rows"][0]["set"][column] = f"not {value}"
    assert held(reader, other, "--virtual --json runs/proof.json") == 1
    (told,) = json.loads((reader.checkout / "runs/proof.json").read_text())["conversations"]
    failed = [check["name"] for check in told["checks"] if check["result"] == "failed"]
    assert [name.startswith(f"{table} where") for name in failed] == [True], failed
    (reader.checkout / tool_file).rename(reader.checkout / "taken-away.py")
    assert held(reader, scenario, "--virtual") == 1


def held(reader: Reader, scenario: dict[str, Any], how: str) -> int | None:
    """The exit code of `voice run`."""
    (reader.checkout / "runs" / "proof.yaml").write_text(yaml.safe_dump(scenario))
    return reader.tries(f".venv/bin/voice run runs/proof.yaml --scripted --runs runs/proof {how}", 90)


def test_copy_runs_its_own_code_whatever_a_process_inherits() -> None:
    with open_checkout() as checkout:
        (checkout / "runtime" / "__init__.py").write_text(f'raise SystemExit("{PLANTED}")\n')
        voice, python = checkout / ".venv" / "bin" / "voice", checkout / ".venv" / "bin" / "python"
        for command in ((voice, "--help"), (python, "-m", "runtime.cli")):
            ran = subprocess.run(command, cwd="/", env={}, capture_output=True, text=True, check=False, timeout=30)
            assert PLANTED in ran.stderr
