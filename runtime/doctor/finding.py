"""What a check has found, and what exit code that makes."""

from collections.abc import Iterable
from typing import Final, Literal

import attrs

Mark = Literal["ok", "warning", "wrong", "unreachable", "skipped"]
"""warning: calls work, something is worth knowing. wrong: to be mended here. unreachable: something outside does not
answer. skipped: could not be looked at, because of another finding."""

ALL_WELL: Final = 0
WRONG_HERE: Final = 2
NOT_REACHABLE: Final = 3


@attrs.frozen
class Finding:
    """One row: `found` is what is so, `advice` what to do where that is not well. One line each, no secret."""

    mark: Mark
    name: str
    found: str
    advice: str = ""


def exit_code(findings: Iterable[Finding]) -> int:
    """What is wrong here goes before what is not reachable outside; warnings do not count."""
    marks = {finding.mark for finding in findings}
    return WRONG_HERE if "wrong" in marks else NOT_REACHABLE if "unreachable" in marks else ALL_WELL


def one_line(text: object, characters: int = 300) -> str:
    return " ".join(str(text).split())[:characters]
