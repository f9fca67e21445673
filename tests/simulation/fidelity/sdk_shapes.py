"""What a JSON value lacks or has too much of to be of one of the official SDK's types.

Stricter than the SDK, which takes unknown properties and any word for an enum's: it is written to outlive its server,
a simulated server is not.
"""

import functools
import types
import typing
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import pydantic

PLAIN: dict[Any, tuple[type, ...]] = {str: (str,), float: (int, float), int: (int,), bool: (bool,), dict: (dict,)}


def complaints(kind: Any, value: Any, path: str = "") -> Iterator[str]:
    """Each as "path: what"; places in a list are all written `[]`."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if hasattr(kind, "__metadata__"):
        yield from complaints(arguments[0], value, path)
    elif kind is Any:
        return
    elif origin in (typing.Union, types.UnionType):
        yield from _of_union(arguments, value, path)
    elif origin is typing.Literal:
        if value not in arguments:
            yield f"{path}: not in the enum: {value}"
    elif origin in (list, Sequence) and isinstance(value, list):
        for item in value:
            yield from complaints(arguments[0], item, f"{path}[]")
    elif origin is dict and isinstance(value, dict):
        for item in value.values():
            yield from complaints(arguments[1], item, f"{path}.*")
    elif isinstance(kind, type) and issubclass(kind, pydantic.BaseModel) and isinstance(value, dict):
        yield from _of_model(kind, value, path)
    elif kind is datetime and isinstance(value, str):
        if datetime.fromisoformat(value).tzinfo is None:
            yield f"{path}: no time zone"
    elif not isinstance(value, PLAIN.get(kind, ())) or (isinstance(value, bool) and kind is not bool):
        yield f"{path}: not of the type"


def _of_union(kinds: tuple[Any, ...], value: Any, path: str) -> Iterator[str]:
    """Of the member that fits best. An enum is written as a union with Any: that is let go."""
    if value is None and type(None) in kinds:
        return
    chosen = [kind for kind in kinds if kind not in (Any, type(None))] or [Any]
    chosen = [kind for kind in chosen if _is_named_by(kind, value)] or chosen
    yield from min(([*complaints(kind, value, path)] for kind in chosen), key=len)


def _is_named_by(kind: Any, value: Any) -> bool:
    """The value's `provider`, `type` or the like is the one word that this model allows."""
    if not (isinstance(kind, type) and issubclass(kind, pydantic.BaseModel) and isinstance(value, dict)):
        return False
    kinds = _kinds_of_fields(kind).items()
    words = {name: typing.get_args(item) for name, item in kinds if typing.get_origin(item) is typing.Literal}
    return bool(words) and all(value.get(name) in allowed for name, allowed in words.items())


def _of_model(kind: type[pydantic.BaseModel], value: dict[str, Any], path: str) -> Iterator[str]:
    fields = {field.alias or name: (name, field.is_required()) for name, field in kind.model_fields.items()}
    for name, item in value.items():
        here = f"{path}.{name}".lstrip(".")
        if name in fields:
            yield from complaints(_kinds_of_fields(kind)[fields[name][0]], item, here)
        else:
            yield f"{here}: not in the schema"
    for name, (_, required) in fields.items():
        if required and name not in value:
            yield f"{path}.{name}: missing".lstrip(".")


@functools.cache
def _kinds_of_fields(kind: type[pydantic.BaseModel]) -> dict[str, Any]:
    """By the field's name; a model that was not built yet names some of them only."""
    return typing.get_type_hints(kind, include_extras=True)
