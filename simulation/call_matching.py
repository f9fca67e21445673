"""Which call of a tool is the one that a scenario means."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import attrs

from simulation.check import shown
from simulation.scenario import ToolExpectation

Fits = Callable[[ToolExpectation, "ToolUse"], bool]
Pairs = list[tuple[ToolExpectation, "ToolUse"]]


@attrs.frozen
class ToolUse:
    """One call of a tool as a witness saw it. ``heard``: what the model got, None when it got no answer that counts;
    ``refused``: whether that was an error."""

    tool: str
    arguments: Mapping[str, Any]
    heard: str | None = None
    refused: bool = False

    def __str__(self) -> str:
        return f"{self.tool}({_written({name: _json(value) for name, value in self.arguments.items()})})"


def _json(value: Any) -> str:
    """In JSON "4242" and 4242 can be told apart."""
    return shown(json.dumps(value, ensure_ascii=False, default=str))


def _written(arguments: Mapping[str, str]) -> str:
    return ", ".join(f"{name}: {text}" for name, text in arguments.items())


def wanted_arguments(expected: ToolExpectation) -> dict[str, str]:
    """The arguments as text; a pattern stands between slashes."""
    exact = {name: _json(value) for name, value in expected.arguments.items() if name not in expected.matching}
    return {**exact, **{name: f"/{pattern}/" for name, pattern in expected.matching.items()}}


def wanted_text(expected: ToolExpectation) -> str:
    """As a use is written."""
    return f"{expected.tool}({_written(wanted_arguments(expected))})"


def is_the_call(expected: ToolExpectation, use: ToolUse) -> bool:
    """The same tool, with the arguments that are wanted and no others."""
    return expected.tool == use.tool and not wrong_arguments(expected, use)


def wrong_arguments(expected: ToolExpectation, use: ToolUse) -> list[str]:
    """The names of those that are missing, not wanted, or of another value."""
    names = dict.fromkeys((*expected.arguments, *expected.matching, *use.arguments))
    return [name for name in names if not _right(expected, name, use.arguments)]


def _right(expected: ToolExpectation, name: str, got: Mapping[str, Any]) -> bool:
    if name not in got:
        return False
    if name in expected.matching:
        return re.fullmatch(expected.matching[name], str(got[name])) is not None
    return name in expected.arguments and bool(expected.arguments[name] == got[name])


def answer_problem(expected: ToolExpectation, use: ToolUse) -> str:
    """Why the answer is not the one wanted; empty when it is."""
    if expected.answer is None and expected.refused is None:
        return ""
    if use.heard is None:
        return "got no answer"
    if expected.refused is not None and expected.refused != use.refused:
        return f"{'was refused' if use.refused else 'was not refused'}: {shown(use.heard)}"
    if expected.answer is not None and not re.search(expected.answer, use.heard):
        return f"wanted /{expected.answer}/, heard {shown(use.heard)}"
    return ""


def pair(expected: Sequence[ToolExpectation], uses: Sequence[ToolUse], order: Literal["same", "any"]) -> Pairs | None:
    """Each expectation with its call; None when they are not the calls that are wanted, no more and no fewer.

    In any order, calls that differ only in their answers go to whom the answer fits.
    """
    if len(expected) != len(uses):
        return None
    if order == "same":
        found = list(zip(expected, uses, strict=True))
        return found if all(is_the_call(*both) for both in found) else None
    return _assign(expected, uses, lambda one, use: is_the_call(one, use) and not answer_problem(one, use)) or _assign(
        expected, uses, is_the_call
    )


def _assign(expected: Sequence[ToolExpectation], uses: Sequence[ToolUse], fits: Fits) -> Pairs | None:
    """Each expectation with a use of its own that fits, by augmenting paths; None when there is no such choice."""
    owner: dict[int, int] = {}

    def place(index: int, seen: set[int]) -> bool:
        for number, use in enumerate(uses):
            if number in seen or not fits(expected[index], use):
                continue
            seen.add(number)
            if number not in owner or place(owner[number], seen):
                owner[number] = index
                return True
        return False

    if not all(place(index, set()) for index in range(len(expected))):
        return None
    chosen = {index: uses[number] for number, index in owner.items()}
    return [(one, chosen[index]) for index, one in enumerate(expected)]


def difference(expected: Sequence[ToolExpectation], uses: Sequence[ToolUse], order: Literal["same", "any"]) -> str:
    """Wanted and got, on one line: only the arguments that differ where the tools are the same ones."""
    if order == "same" and [one.tool for one in expected] == [use.tool for use in uses]:
        wrong = [_argument_difference(*both) for both in zip(expected, uses, strict=True) if not is_the_call(*both)]
        return "; ".join(wrong)
    left = list(uses)
    missing = []
    for one in expected:
        found = next((use for use in left if is_the_call(one, use)), None)
        if found is None:
            missing.append(one)
        else:
            left.remove(found)
    if not missing and not left:
        return f"in another order: {', '.join(use.tool for use in uses)}"
    return f"wanted {', '.join(map(wanted_text, missing)) or 'no more'}; got {', '.join(map(str, left)) or 'none'}"


def _argument_difference(expected: ToolExpectation, use: ToolUse) -> str:
    names = wrong_arguments(expected, use)
    wanted = {name: text for name, text in wanted_arguments(expected).items() if name in names}
    got = {name: _json(value) for name, value in use.arguments.items() if name in names}
    if not wanted:
        return f"{use.tool}: got {_written(got)}, which no `arguments` and no `matching` of the scenario names"
    return f"{use.tool}: wanted {_written(wanted)}; got {_written(got) or 'nothing'}"
