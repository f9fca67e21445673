"""What a document asks its reader to do, in order: commands to run and files to write.

A command is a line of a fenced block of `sh`, or a span of code in the text that begins with a program of ours, after
assignments and sudo. A file is a fenced block right after a line that ends in its path: "`path/of/file`:". A block that
could hold commands of which nobody would know is refused: of another language, indented, in a list or a quotation.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Final

import attrs

PROGRAMS: Final = (
    "voice", "make", "python", "python3", "pytest", "hypercorn", "curl", "git", "ssh", "pip", "docker", "kubectl",
    "veris",
)  # fmt: skip
LANGUAGES: Final = ("sh", "text", "python", "yaml", "diff")
FENCE: Final = re.compile(r"(`{3,}|~{3,})([^`]*)")
HIDDEN: Final = re.compile(r"( {4}|\t| {1,3}\t)\s*\S|.*(```|~~~|<pre|<code)")
PATH: Final = re.compile(r"`([\w./-]+)`[^`]*:\s*")
SPAN: Final = re.compile(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)", re.DOTALL)
BEFORE: Final = re.compile(r"(\w+=\S*|sudo|env|exec|time)(\s+|$)")


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
    """In the order of the document. Raises ValueError, with the line, for a block that it cannot read."""
    steps: list[Step] = []
    lines = text.splitlines()
    at, paragraph = 0, 0
    before = ""
    while at < len(lines):
        fence = FENCE.fullmatch(lines[at])
        if fence is None and HIDDEN.match(lines[at]):
            raise ValueError(f"line {at + 1}: a block that nobody follows; begin one with ```sh, not indented")
        if fence is None and lines[at].strip():
            before = lines[at]
            at += 1
            continue
        steps += _spans(lines[paragraph:at], paragraph + 1)
        if fence is not None:
            at, more = _block(lines, at, fence, before)
            steps += more
            before = ""
        at += 1
        paragraph = at
    return [*steps, *_spans(lines[paragraph:], paragraph + 1)]


def _block(lines: Sequence[str], at: int, fence: re.Match[str], before: str) -> tuple[int, list[Step]]:
    """The index of its last line, and what it asks for. `before`: the last line of the text above it."""
    language, end = fence[2].strip(), at + 1
    if language not in LANGUAGES:
        raise ValueError(f"line {at + 1}: a block of {language or 'no language'}; they are of {', '.join(LANGUAGES)}")
    while end < len(lines) and not re.fullmatch(rf"{fence[1]}{fence[1][0]}*\s*", lines[end]):
        end += 1
    if end == len(lines):
        raise ValueError(f"line {at + 1}: the block is never closed")
    body = lines[at + 1 : end]
    named = PATH.search(before.rstrip()) if before.rstrip().endswith(":") else None
    if language == "sh":
        return end, list(_commands(body, at + 1))
    if named is None or language == "diff":
        return end, []
    return end, [FileToWrite(named[1], "\n".join(body) + "\n", at + 1, at + 1)]


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


def _spans(paragraph: Sequence[str], first_line: int) -> Iterator[Command]:
    """A span may go on in the next line."""
    text = "\n".join(paragraph)
    for span in SPAN.finditer(text):
        words = bare = " ".join(span[2].split())
        while found := BEFORE.match(bare):
            bare = bare[found.end() :]
        program, _, rest = bare.partition(" ")
        if rest and program.removeprefix(".venv/bin/") in PROGRAMS:
            yield Command(words, first_line + text.count("\n", 0, span.start()))
