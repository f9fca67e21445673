"""The reader of documents himself: what he takes for a command, and that nothing gets past him."""

from pathlib import Path

import pytest

from tests.documented import rules
from tests.documented.every_command import DOCUMENTS, tasks
from tests.documented.machine import Machine
from tests.documented.markdown import Command, FileToWrite, steps_of
from tests.documented.reader import Reader, located
from tests.documented.rules import RULES, Rule, rule_of
from tests.house_rules import ROOT

DOCUMENT = """Begin with `make demo`, and not with `runs/`.

`a/file.txt`:

```text
one # line
```

```sh
first --url http://x/#part   # a comment
second \\
    --more
# nothing
```

Not `python`: it is a word.

```python
print("no command")
```
"""


def test_document_is_read_as_commands_and_files_in_its_order() -> None:
    assert steps_of(DOCUMENT) == [
        Command("make demo", 1),
        FileToWrite("a/file.txt", "one # line\n", 5, 5),
        Command("first --url http://x/#part", 10, 9),
        Command("second --more", 11, 9),
    ]


def test_document_is_refused_when_a_block_is_never_closed() -> None:
    with pytest.raises(ValueError, match="line 1"):
        steps_of("```sh\nmake demo\n")


@pytest.mark.parametrize(
    "block",
    [
        "```bash\nmake demo\n```\n",
        "```console\n$ make demo\n```\n",
        "```\nmake demo\n```\n",
        "```sh title\nmake demo\n```\n",
        "    make demo\n",
        "\tmake demo\n",
        "- a list:\n\n    ```sh\n    make demo\n    ```\n",
        "- ```sh\n  make demo\n  ```\n",
        "> ```sh\n> make demo\n> ```\n",
        "<pre>make demo</pre>\n",
    ],
)
def test_document_is_refused_when_a_block_could_hide_commands(block: str) -> None:
    with pytest.raises(ValueError, match=r"line \d: a block"):
        steps_of(f"Words.\n\n{block}")


@pytest.mark.parametrize(
    "span",
    ["TOOLS=visits A= voice serve", "sudo make demo", "env A=b .venv/bin/voice serve", "voice run\nscenarios"],
)
def test_span_is_a_command_whatever_stands_before_its_program(span: str) -> None:
    assert steps_of(f"Words,\nand `{span}`, and `A=b`.\n") == [Command(span.replace("\n", " "), 2)]


def test_program_is_found_when_variables_stand_before_it() -> None:
    assert located("A=b voice serve && sudo voice doctor") == "A=b .venv/bin/voice serve && sudo .venv/bin/voice doctor"


def test_command_that_another_document_has_is_run_in_each_with_its_own_files() -> None:
    doing = [document for document, steps in tasks() for step in steps if getattr(step, "text", "") == "make test"]
    assert doing == list(DOCUMENTS)
    plain, with_files = (rule_of("make test", {}, own_files)[0] for own_files in (False, True))
    assert plain != with_files
    assert rule_of("make demo", {}, own_files=True) == rule_of("make demo")


def test_every_rule_is_of_a_command_that_is_documented() -> None:
    texts = [
        step.text
        for document in DOCUMENTS
        for step in steps_of((ROOT / document).read_text(encoding="utf-8"))
        if isinstance(step, Command)
    ]
    used = [
        rule_of(text, exported, own)[0]
        for text in texts
        for exported in ({}, {"VAPI_API_KEY": "k"})
        for own in (False, True)
    ]
    assert [rule.pattern for rule in RULES if rule not in used] == [], "rules that are not needed any more"


@pytest.fixture
def reader(machine: Machine, tmp_path: Path) -> Reader:
    (tmp_path / "checkout").mkdir()
    return Reader(machine, tmp_path / "checkout")


def test_reader_keeps_what_was_exported_when_he_goes_on_in_the_same_terminal(reader: Reader) -> None:
    steps = steps_of("```sh\nexport A=b\nmkdir c && cd c\n```\n\n`d.txt`:\n\n```text\ne\n```\n")
    assert reader.follow(steps) == []
    assert reader.follow([Command('test "$A" = b && grep e d.txt', 9, 9)]) == []
    reader.open_terminal()
    assert reader.follow([Command('test "$A" = b', 9, 9)]) != []


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("false", "ended with 1, not with 0"),
        ("no-such-program", "ended with 127, not with 0"),
        ("voice frobnicate", "ended with 127, not with 0"),
        ("sleep 30", "needs a rule in rules.py"),
    ],
)
def test_reader_finds_fault_when_a_command_is_not_as_documented(
    command: str, says: str, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "UNKNOWN", Rule(pattern="", seconds=0.5))
    (fault,) = reader.follow([Command(command, 2, 1)])
    assert says in fault


SERVER = "sh -c 'trap \"exit 7\" INT; echo ready; while :; do sleep 0.05; done'"


@pytest.mark.parametrize(
    ("rule", "faults"),
    [
        (Rule(pattern="server", run=SERVER, ready="ready", stopped=(7,)), []),
        (Rule(pattern="server", run=SERVER, ready="ready"), ["Ctrl-C ended it with 7, not with 0"]),
        (Rule(pattern="server", run="echo gone", ready="ready"), ["never said 'ready'"]),
        (Rule(pattern="server", run="echo here", says=("there",)), ["did not say 'there'"]),
        (Rule(pattern="server", run="echo here", leaves=("runs/*",)), ["left no runs/*"]),
        (Rule(pattern="server", run=SERVER, ready="ready", stopped=(7,), then=("false",)), ["ended with 1, not with"]),
    ],
)
def test_reader_finds_fault_when_what_a_rule_asks_for_is_not_there(
    rule: Rule, faults: list[str], reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "RULES", (rule,))
    found = reader.follow([Command("server", 2, 1)])
    assert len(found) == len(faults)
    assert all(words in fault for words, fault in zip(faults, found, strict=True))
    assert reader.serving == []


def test_machine_has_nothing_but_itself_to_talk_to(reader: Reader) -> None:
    look = "ip -o -4 address show | grep -vc 'inet 127.0.0.1/8'"
    (fault,) = reader.follow([Command(look, 2, 1)])
    assert "ended with 1" in fault
    assert fault.endswith("it printed:\n0\n")
