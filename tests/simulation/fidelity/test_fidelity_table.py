"""Every behaviour of Vapi in docs/protocol.md is named by a test, and no test names one that is not there."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from test_fidelity_sdk import DIFFERENCES

from simulation.variants import VARIANTS

TESTS = Path("tests")
TABLE = Path("docs/protocol.md").read_text()
ID = re.compile(r"\bV-\d{3}\b")
CERTAINTIES = {"documented", "recorded live", "conflicting", "unknown"}
SOURCES = {"OpenAPI", "SDK", "docs", "live", "forum"}


def rows() -> list[list[str]]:
    """id, Vapi, the cloud, source, certainty."""
    return [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for line in TABLE.splitlines()
        if re.match(r"\| V-\d{3} \|", line)
    ]


def named_by_tests() -> Iterator[str]:
    """The ids in the docstrings of tests."""
    for file in TESTS.rglob("test_*.py"):
        text = file.read_text()
        if not ID.search(text):
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                yield from ID.findall(ast.get_docstring(node) or "")


def test_every_behaviour_in_the_table_is_named_by_a_test_and_no_other_is() -> None:
    ids = [row[0] for row in rows()]
    assert len(ids) == len(set(ids)) > 60
    assert ids == sorted(ids)
    named = set(named_by_tests())
    assert set(ids) - named == set(), "in docs/protocol.md, and in no test's docstring"
    assert named - set(ids) == set(), "in a test's docstring, and not in docs/protocol.md"
    assert set(DIFFERENCES) <= set(ids)


def test_every_behaviour_has_a_source_and_says_how_certain_it_is() -> None:
    for name, *_, sources, certainty in rows():
        assert set(sources.split(", ")) <= SOURCES, name
        assert certainty.rstrip(" |") in CERTAINTIES, name


def test_every_variant_is_in_the_table_and_no_other_is() -> None:
    mentioned = {
        word
        for row in rows()
        for some in re.findall(r"variants? (`[^.;]*`)", row[2])
        for word in re.findall(r"`([^`]+)`", some)
    }
    assert mentioned == set(VARIANTS)
