"""What a user sees when something is wrong: texts that the product itself has worded, and the page that lists them.

A symptom is produced by making the error happen: by the parser, class or function that words it. What varies in it is
replaced by a name in angle brackets; so it stands in docs/troubleshooting.md, on a line of a ```text block.
"""

import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import attrs
import pytest
import structlog
from structlog.testing import LogCapture

from tests.house_rules import ROOT
from tests.virtual_time import run_in_virtual_time

PAGE: Final = ROOT / "docs" / "troubleshooting.md"
E = TypeVar("E", bound=BaseException)
BLOCK: Final = re.compile(r"^```text\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@attrs.frozen
class Symptom:
    """`raw`: as the product said it. `shown`: as the page has it. `cause`: of a NoAnswer, or of a tunnel's trouble."""

    raw: str
    shown: str
    cause: str = ""


def seen(text: str, **varies: object) -> Symptom:
    """`varies`: by what name the page calls each part that is different every time. Each part must be there."""
    shown = text
    for name, value in varies.items():
        assert str(value) in shown, f"{value!r} is not in {shown!r}"
        shown = shown.replace(str(value), f"<{name.replace('_', ' ')}>")
    assert "\n" not in shown, f"more than a line: {shown!r}"
    return Symptom(text, shown)


def caused(trouble: Any, **varies: object) -> Symptom:
    """The line of a NoAnswer, or of a tunnel's trouble."""
    return attrs.evolve(seen(trouble.line, **varies), cause=getattr(trouble, "cause", ""))


def said(kind: type[BaseException], act: Callable[[], object]) -> str:
    """The line with which `act` fails."""
    with pytest.raises(kind) as raised:
        act()
    return str(raised.value)


async def raised_later(kind: type[E], act: Callable[[], Awaitable[object]]) -> E:
    with pytest.raises(kind) as raised:
        await act()
    return raised.value


async def said_later(kind: type[BaseException], act: Callable[[], Awaitable[object]]) -> str:
    return str(await raised_later(kind, act))


def in_virtual_time(produce: Callable[[list[Symptom]], Awaitable[None]]) -> list[Symptom]:
    """What `produce` puts into the list that it is given."""
    found: list[Symptom] = []
    run_in_virtual_time(lambda: produce(found))
    return found


@contextmanager
def log_lines() -> Iterator[list[Any]]:
    """All that is logged in the body, whatever was configured before."""
    before = structlog.get_config()
    structlog.reset_defaults()
    capture = LogCapture()
    filtering = structlog.make_filtering_bound_logger(0)
    structlog.configure(processors=[structlog.contextvars.merge_contextvars, capture], wrapper_class=filtering)
    try:
        yield capture.entries
    finally:
        structlog.configure(**before)


def logged(entries: list[Any], event: str, *fields: str, **literal: str) -> Symptom:
    """The line of `event` with these of its fields. `literal`: such a field is shown as it is, and must hold that."""
    entry = next(
        entry for entry in entries if entry["event"] == event and all(entry[k] == v for k, v in literal.items())
    )
    parts = [event, *(f"{name}=<{name}>" for name in fields if entry[name] is not None)]
    parts += [f"{name}={value}" for name, value in literal.items()]
    return Symptom(" ".join(map(str, entry.values())), " ".join(parts))


def sections_of(page: str) -> Mapping[str, list[str]]:
    """Per heading of the second level, the lines of its ```text blocks."""
    headings = re.split(r"^## (.+)$", page, flags=re.MULTILINE)
    pairs = zip(headings[1::2], headings[2::2], strict=True)
    return {title: [line for block in BLOCK.findall(text) for line in block.splitlines()] for title, text in pairs}
