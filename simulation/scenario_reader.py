"""YAML nodes to a Scenario. Nodes are walked, not plain values, because only nodes know their line."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import attrs
import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from simulation.scenario import (
    ENDINGS,
    FIXTURES,
    AgentTurn,
    BargeIn,
    CallerStep,
    Expectations,
    HangUp,
    PlayWav,
    Policy,
    RowExpectation,
    Say,
    Scenario,
    ScenarioError,
    ToolCall,
    Wait,
)

T = TypeVar("T")
MAX_WAIT_SECONDS = 600.0
TOP_KEYS = ("schema", "name", "policy", "fixture", "caller", "agent", "expect")
STEP_KEYS = ("say", "wav", "wait", "barge_in", "hang_up")


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


def read_scenario(path: Path) -> Scenario:
    """The whole file; see :func:`simulation.scenario.load_scenario`."""
    reader = Reader(path)
    top = reader.mapping(_compose(path), "the scenario", TOP_KEYS, ("schema", "name", "caller"))
    if top["schema"].value != "1":
        raise reader.fail(top["schema"], "schema must be 1; this version reads no other")
    caller = reader.sequence(top["caller"], "caller", lambda node: _step(reader, node))
    if not caller:
        raise reader.fail(top["caller"], "caller has no steps; give it at least '- hang_up: true'")
    policy: Policy = "verified"
    if "policy" in top and reader.one_of(top["policy"], "policy", ("verified", "open")) == "open":
        policy = "open"
    return Scenario(
        name=reader.text(top["name"], "name"),
        caller=caller,
        agent=reader.sequence(top["agent"], "agent", lambda node: _turn(reader, node)) if "agent" in top else (),
        expect=_expectations(reader, top["expect"]) if "expect" in top else Expectations(),
        policy=policy,
        fixture=reader.one_of(top["fixture"], "fixture", FIXTURES) if "fixture" in top else "bank",
        path=path,
    )


def _compose(path: Path) -> Node:
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


def _step(reader: Reader, node: Node) -> CallerStep:
    entries = reader.mapping(node, "a caller step", STEP_KEYS)
    if len(entries) != 1:
        raise reader.fail(node, f"a caller step has one key out of {', '.join(STEP_KEYS)}; split it into several")
    ((key, value),) = entries.items()
    if key == "say":
        return Say(reader.text(value, "say"))
    if key == "wav":
        return PlayWav(reader.path.parent / reader.text(value, "wav"))
    if key == "wait":
        return Wait(reader.number(value, "wait", MAX_WAIT_SECONDS))
    if key == "barge_in":
        return BargeIn(round(reader.number(value, "barge_in", MAX_WAIT_SECONDS * 1000)))
    if reader.plain(value) is not True:
        raise reader.fail(value, "hang_up must be true; leave the step out to stay on the line")
    return HangUp()


def _turn(reader: Reader, node: Node) -> AgentTurn:
    entries = reader.mapping(node, "an agent turn", ("say", "calls", "end_call"))
    if not entries:
        raise reader.fail(node, "an agent turn needs 'say' or 'calls'")
    end_call = reader.plain(entries["end_call"]) if "end_call" in entries else False
    if not isinstance(end_call, bool):
        raise reader.fail(entries["end_call"], "end_call must be true or false")
    return AgentTurn(
        say=reader.text(entries["say"], "say") if "say" in entries else "",
        calls=_calls(reader, entries["calls"], "calls") if "calls" in entries else (),
        end_call=end_call,
    )


def _calls(reader: Reader, node: Node, where: str) -> tuple[ToolCall, ...]:
    def read(item: Node) -> ToolCall:
        entries = reader.mapping(item, f"an entry of {where}", ("tool", "arguments"), ("tool",))
        arguments = reader.table(entries["arguments"], "arguments") if "arguments" in entries else {}
        return ToolCall(reader.text(entries["tool"], "tool"), arguments)

    return reader.sequence(node, where, read)


def _row(reader: Reader, node: Node) -> RowExpectation:
    entries = reader.mapping(node, "an entry of expect.rows", ("table", "where", "set"), ("table", "where", "set"))
    return RowExpectation(
        table=reader.text(entries["table"], "table"),
        where=reader.table(entries["where"], "where"),
        values=reader.table(entries["set"], "set"),
    )


def _expectations(reader: Reader, node: Node) -> Expectations:
    entries = reader.mapping(node, "expect", ("tools", "rows", "ending"))
    return Expectations(
        tools=_calls(reader, entries["tools"], "expect.tools") if "tools" in entries else (),
        rows=reader.sequence(entries["rows"], "expect.rows", lambda item: _row(reader, item))
        if "rows" in entries
        else (),
        ending=reader.one_of(entries["ending"], "ending", ENDINGS) if "ending" in entries else None,
    )
