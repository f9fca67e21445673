"""YAML nodes to plain values. Nodes are walked, not plain values, because only nodes know their line."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import attrs
import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from simulation.scenario import ScenarioError

T = TypeVar("T")


@attrs.frozen
class Reader:
    """Checks one file's nodes; every error names the line and what would be right."""

    path: Path

    def fail(self, node: Node, problem: str) -> ScenarioError:
        """The error for ``node``, to be raised by whoever asked."""
        return ScenarioError(self.path, node.start_mark.line + 1, problem)

    def mapping(self, node: Node, where: str, allowed: Sequence[str], required: Sequence[str] = ()) -> dict[str, Node]:
        """The entries of a mapping; unknown, doubled and missing keys are refused."""
        if not isinstance(node, MappingNode):
            raise self.fail(node, f"{where} must be a mapping with the keys {', '.join(allowed)}")
        entries: dict[str, Node] = {}
        for key, value in node.value:
            if key.value not in allowed:
                raise self.fail(key, f"unknown key {key.value!r} in {where}; use one of {', '.join(allowed)}")
            if key.value in entries:
                raise self.fail(key, f"key {key.value!r} stands twice in {where}; keep one")
            entries[key.value] = value
        for name in required:
            if name not in entries:
                raise self.fail(node, f"{where} lacks the key {name!r}; add it")
        return entries

    def sequence(self, node: Node, where: str, read: Callable[[Node], T]) -> tuple[T, ...]:
        """Each item of a list, read by ``read``."""
        if not isinstance(node, SequenceNode):
            raise self.fail(node, f"{where} must be a list; begin each entry with '- '")
        return tuple(read(item) for item in node.value)

    def text(self, node: Node, where: str) -> str:
        """A string. A bare number is refused: 0042 would lose its zeros without quotes."""
        if not isinstance(node, ScalarNode) or node.tag != "tag:yaml.org,2002:str":
            raise self.fail(node, f"{where} must be text; put it in quotes")
        if not node.value.strip():
            raise self.fail(node, f"{where} is empty; write something or leave the key out")
        return str(node.value)

    def number(self, node: Node, where: str, most: float) -> float:
        """A number from 0 to ``most``."""
        value = self.plain(node)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
            raise self.fail(node, f"{where} must be a number from 0 to {most:g}")
        return float(value)

    def plain(self, node: Node) -> Any:
        """The plain value below ``node``, as YAML's safe loader makes it."""
        try:
            return yaml.constructor.SafeConstructor().construct_document(node)
        except yaml.MarkedYAMLError as error:
            raise self.fail(node, f"this value cannot be read: {error.problem}; write it plainly") from error
        except (ValueError, KeyError, AttributeError) as error:  # PyYAML's, of `!!int x`, `!!bool x`, `!!timestamp x`
            problem = "this value cannot be read: it is no such thing as its tag, or its look, says; write it plainly"
            raise self.fail(node, problem) from error

    def table(self, node: Node, where: str) -> dict[str, Any]:
        """A mapping of names to plain values."""
        value = self.plain(node)
        if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
            raise self.fail(node, f"{where} must be a mapping of names to values")
        return value

    def one_of(self, node: Node, where: str, allowed: Sequence[str]) -> str:
        """A text out of ``allowed``."""
        value = self.text(node, where)
        if value not in allowed:
            raise self.fail(node, f"{where} is {value!r}; use one of {', '.join(allowed)}")
        return value

    def whole(self, node: Node, where: str, least: int, most: int) -> int:
        """A whole number within bounds."""
        value = self.plain(node)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise self.fail(node, f"{where} must be a whole number from {least} to {most}")
        return value

    def truth(self, node: Node, where: str) -> bool:
        """true or false."""
        value = self.plain(node)
        if not isinstance(value, bool):
            raise self.fail(node, f"{where} must be true or false")
        return value

    def pattern(self, node: Node, where: str) -> str:
        """A regular expression."""
        text = self.text(node, where)
        try:
            re.compile(text)
        except re.error as error:
            raise self.fail(node, f"{where} is no regular expression: {error}; mend it") from error
        return text

    def texts(self, node: Node, where: str) -> tuple[str, ...]:
        """A list of texts."""
        return self.sequence(node, where, lambda item: self.text(item, f"an entry of {where}"))


def compose(path: Path) -> Node:
    """The root node of a file.

    :raises ScenarioError: it cannot be read, or is not YAML.
    """
    try:
        node = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except OSError as error:
        raise ScenarioError(path, 1, f"cannot be read: {error.strerror or error}; check the path") from error
    except UnicodeDecodeError as error:
        raise ScenarioError(path, 1, "is not UTF-8 text; save it as UTF-8") from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ScenarioError(path, line, f"is not YAML: {error.problem}; mend the line") from error
    except yaml.YAMLError as error:
        raise ScenarioError(path, 1, f"is not YAML: {' '.join(str(error).split())}; mend it") from error
    if node is None:
        raise ScenarioError(path, 1, "is empty; begin with 'schema: 1'")
    return node
