"""The ``faults`` of a scenario: each a knob that exists, with a value of its type."""

import types
import typing
from typing import Any, Final, Literal, get_args, get_origin

import attrs
from yaml.nodes import Node

from simulation.behaviour import Behaviour
from simulation.scenario import Faults
from simulation.scenario_nodes import Reader

ENGINE_KNOBS: Final[dict[str, Any]] = {"delay_seconds": float, "fail_status": int}


def vapi_knobs() -> dict[str, Any]:
    """Name to type of every knob of the simulated cloud."""
    hints = typing.get_type_hints(Behaviour)
    return {field.name: hints[field.name] for field in attrs.fields(Behaviour)}


def read_faults(reader: Reader, node: Node) -> Faults:
    """The mapping ``{vapi: {…}, engine: {…}}``."""
    entries = reader.mapping(node, "faults", ("vapi", "engine"))
    return Faults(
        vapi=_knobs(reader, entries["vapi"], "faults.vapi", vapi_knobs()) if "vapi" in entries else {},
        engine=_knobs(reader, entries["engine"], "faults.engine", ENGINE_KNOBS) if "engine" in entries else {},
    )


def _knobs(reader: Reader, node: Node, where: str, allowed: dict[str, Any]) -> dict[str, Any]:
    entries = reader.mapping(node, where, tuple(allowed))
    return {name: _value(reader, value, f"{where}.{name}", allowed[name]) for name, value in entries.items()}


def _value(reader: Reader, node: Node, where: str, kind: Any) -> Any:
    value = reader.plain(node)
    found = coerced(value, kind)
    if found is NOT_OF_KIND:
        raise reader.fail(node, f"{where} is {value!r}; it must be {described(kind)}")
    return found


NOT_OF_KIND = object()


def coerced(value: Any, kind: Any) -> Any:
    """``value`` as ``kind`` (bool, int, float, str, Literal, a union of them, frozenset of str), or NOT_OF_KIND."""
    if get_origin(kind) is Literal:
        return value if value in get_args(kind) else NOT_OF_KIND
    if get_origin(kind) in (types.UnionType, typing.Union):
        tried = (coerced(value, one) for one in get_args(kind))
        return next((found for found in tried if found is not NOT_OF_KIND), NOT_OF_KIND)
    if get_origin(kind) is frozenset:
        whole = isinstance(value, list) and all(isinstance(item, str) for item in value)
        return frozenset(value) if whole else NOT_OF_KIND
    if kind is float:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return float(value) if number else NOT_OF_KIND
    if kind is type(None):
        return value if value is None else NOT_OF_KIND
    return value if type(value) is kind else NOT_OF_KIND


def described(kind: Any) -> str:
    """For the error's line."""
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(str(choice) for choice in get_args(kind))
    if get_origin(kind) in (types.UnionType, typing.Union):
        return " or ".join(described(one) for one in get_args(kind))
    if get_origin(kind) is frozenset:
        return "a list of texts"
    return {bool: "true or false", int: "a whole number", float: "a number", str: "text", type(None): "null"}[kind]
