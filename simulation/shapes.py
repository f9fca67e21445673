"""A small checker of JSON bodies that complains the way Vapi's NestJS server does.

A check takes a value and its dotted path and gives the complaints: ``assistant.property foo should not exist`` for an
unknown property (support thread 18819419 shows the wording at the top level; the dotted prefix is NestJS'),
``assistant.name must be …`` for a wrong value.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

Check = Callable[[Any, str], list[str]]


@attrs.frozen
class Shape:
    """An object with known properties, some of them required; unknown ones are complained about."""

    properties: Mapping[str, Check]
    required: tuple[str, ...] = ()

    def __call__(self, value: Any, path: str) -> list[str]:
        """The complaints about ``value`` at ``path`` ("" for the body itself)."""
        if not isinstance(value, dict):
            return [f"{path or 'body'} must be an object"]
        prefix = f"{path}." if path else ""
        found = [f"{prefix}property {name} should not exist" for name in value if name not in self.properties]
        for name, check in self.properties.items():
            if name in value:
                found += check(value[name], prefix + name)
            elif name in self.required:
                found.append(f"{prefix}{name} should not be null or undefined")
        return found


def anything(value: Any, path: str) -> list[str]:
    """No complaint: the property exists and is not looked into."""
    del value, path
    return []


def an_object(value: Any, path: str) -> list[str]:
    """Any object."""
    return [] if isinstance(value, dict) else [f"{path} must be an object"]


def a_flag(value: Any, path: str) -> list[str]:
    """True or false."""
    return [] if isinstance(value, bool) else [f"{path} must be a boolean value"]


def text(most: int | None = None, pattern: Callable[[str], object] | None = None) -> Check:
    """A string of at most ``most`` characters that ``pattern`` accepts."""

    def check(value: Any, path: str) -> list[str]:
        if not isinstance(value, str):
            return [f"{path} must be a string"]
        if most is not None and len(value) > most:
            return [f"{path} must be shorter than or equal to {most} characters"]
        if pattern is not None and not pattern(value):
            return [f"{path} must match the regular expression of OpenAPI's schema"]
        return []

    return check


def number(least: float, most: float) -> Check:
    """A number in a range; booleans are none."""

    def check(value: Any, path: str) -> list[str]:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return [f"{path} must be a number conforming to the specified constraints"]
        if value < least:
            return [f"{path} must not be less than {least:g}"]
        return [f"{path} must not be greater than {most:g}"] if value > most else []

    return check


def one_of(*allowed: str) -> Check:
    """One of the given strings."""

    def check(value: Any, path: str) -> list[str]:
        if isinstance(value, str) and value in allowed:
            return []
        return [f"{path} must be one of the following values: {', '.join(allowed)}"]

    return check


def list_of(item: Check) -> Check:
    """A list whose items all pass."""

    def check(value: Any, path: str) -> list[str]:
        if not isinstance(value, list):
            return [f"{path} must be an array"]
        return [complaint for index, entry in enumerate(value) for complaint in item(entry, f"{path}.{index}")]

    return check


def each_one_of(allowed: Sequence[str]) -> Check:
    """A list of enum values; NestJS complains once about the whole list."""

    def check(value: Any, path: str) -> list[str]:
        if not isinstance(value, list):
            return [f"{path} must be an array"]
        if all(isinstance(entry, str) and entry in allowed for entry in value):
            return []
        return [f"each value in {path} must be one of the following values: {', '.join(allowed)}"]

    return check


def map_of(item: Check) -> Check:
    """An object with free names whose values all pass."""

    def check(value: Any, path: str) -> list[str]:
        if not isinstance(value, dict):
            return [f"{path} must be an object"]
        return [complaint for name, entry in value.items() for complaint in item(entry, f"{path}.{name}")]

    return check


def any_properties(*names: str) -> dict[str, Check]:
    """Properties that are known to exist and not looked into."""
    return dict.fromkeys(names, anything)
