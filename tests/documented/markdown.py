"""What a document asks its reader to do, in order: commands to run and files to write.

A command is a line of a fenced block of `sh`, or a span of code in the text whose first word is a program of ours. A
file is a fenced block right after a line that ends in its path: "`path/of/file`:".
"""

import re
from collections.abc import Iterator, Sequence
from typing import Final

import attrs

PROGRAMS: Final = (
    "voice", "make", "python", "python3", "pytest", "hypercorn", "curl", "git", "ssh", "pip", "docker", "kubectl",
    "veris",
)  # fmt: skip
FENCE: Final = re.compile(r" {0,3}(`{3,}|~{3,})(\w*)\s*")
PATH: Final = re.compile(r"`([\w./-]+)`[^`]*:\s*")
SPAN: Final = re.compile(r"`([^`]+)`")


@attrs.frozen
class Command:
    """`block` is the line at which its block begins; 0 for one in the text."""

    text: str
    line: int
    block: int = 0


@attrs.frozen
class FileToWrite:
    path: str
    content: str
    line: int
    block: int = 0


Step = Command | FileToWrite


def steps_of(text: str) -> list[Step]:
    """In the order of the document. Raises ValueError for a fence that is never closed."""
    steps: list[Step] = []
    lines = text.splitlines()
    at, before = 0, ""
    while at < len(lines):
        fence = FENCE.fullmatch(lines[at])
        if fence is None:
            steps += _spans(lines[at], at + 1)
            before = lines[at] if lines[at].strip() else before
            at += 1
            continue
        end = next((n for n in range(at + 1, len(lines)) if lines[n].strip() == fence[1]), 0)
        if not end:
            raise ValueError(f"line {at + 1}: the block is never closed")
        body = lines[at + 1 : end]
        named = PATH.search(before.rstrip()) if before.rstrip().endswith(":") else None
        if fence[2] == "sh":
            steps += _commands(body, at + 1)
        elif named is not None:
            steps.append(FileToWrite(named[1], "\n".join(body) + "\n", at + 1, at + 1))
        at, before = end + 1, ""
    return steps


def _commands(body: Sequence[str], fence_line: int) -> Iterator[Command]:
    """One per line; a line that ends in a backslash goes on in the next."""
    whole, began = "", 0
    for line, text in enumerate(body, fence_line + 1):
        whole, began = f"{whole}{text.strip()}", began or line
        if whole.endswith("\\"):
            whole = whole[:-1]
        else:
            if (bare := without_comment(whole)) != "":
                yield Command(bare, began, fence_line)
            whole, began = "", 0


def without_comment(line: str) -> str:
    """A shell's comment begins with a `#` at the start of a word."""
    return re.sub(r"(^|\s)#\s.*$|^#.*$", "", line).strip()


def _spans(line: str, number: int) -> Iterator[Command]:
    for span in SPAN.findall(line):
        first, _, rest = span.strip().partition(" ")
        if rest and first.removeprefix(".venv/bin/") in PROGRAMS:
            yield Command(span.strip(), number)
