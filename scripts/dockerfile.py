"""What a Dockerfile says: its stages and their instructions, as the tests and `make image-steps` read them.

Understood is what ours use: comments, continued lines, ARG before FROM, flags, and both forms of a command.
"""

import json
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import attrs

_FLAG: Final = re.compile(r"--([a-z-]+)=(\S+)\s+")


@attrs.frozen
class Instruction:
    """One instruction: `word` in capitals, its flags without the dashes, and the rest as it is written."""

    word: str
    text: str
    flags: Mapping[str, str]

    @property
    def pairs(self) -> dict[str, str]:
        """Of ENV and LABEL: name to value, quotes taken off."""
        return dict(part.split("=", 1) for part in shlex.split(self.text) if "=" in part)

    @property
    def command(self) -> list[str]:
        """Of RUN, CMD and HEALTHCHECK: the program and its arguments."""
        text = self.text.removeprefix("CMD ") if self.word == "HEALTHCHECK" else self.text
        return list(json.loads(text)) if text.startswith("[") else ["/bin/sh", "-c", text]

    @property
    def sources(self) -> list[str]:
        """Of COPY: what is copied."""
        return self.text.split()[:-1]

    @property
    def target(self) -> str:
        """Of COPY: to where."""
        return self.text.split()[-1]


@attrs.frozen
class Stage:
    """From one FROM to the next. `name` is empty where nobody copies of it."""

    base: str
    name: str
    instructions: tuple[Instruction, ...]

    def all_of(self, word: str) -> list[Instruction]:
        return [one for one in self.instructions if one.word == word]

    def last(self, word: str) -> Instruction:
        """The one that holds: a later one replaces it. Raises IndexError where there is none."""
        return self.all_of(word)[-1]

    def environment(self, base: Mapping[str, str]) -> dict[str, str]:
        """What its ENV lines make of `base`."""
        found = dict(base)
        for one in self.all_of("ENV"):
            expanded = {name: re.sub(r"\$(\w+)", lambda at: found[at[1]], value) for name, value in one.pairs.items()}
            found.update(expanded)
        return found


def read_dockerfile(path: Path, given: Mapping[str, str] | None = None) -> list[Stage]:
    """Its stages, from the first to the last. `given`: build arguments, which an ARG's default yields to."""
    arguments: dict[str, str] = {}
    stages: list[Stage] = []
    for one in _instructions(path.read_text(encoding="utf-8")):
        if one.word == "ARG" and not stages:
            name, _, default = one.text.partition("=")
            arguments[name] = (given or {}).get(name, default)
        elif one.word == "FROM":
            image, _, name = re.sub(r"\$\{(\w+)\}", lambda at: arguments[at[1]], one.text).partition(" AS ")
            stages.append(Stage(image, name, ()))
        else:
            stages[-1] = attrs.evolve(stages[-1], instructions=(*stages[-1].instructions, one))
    return stages


def _instructions(text: str) -> list[Instruction]:
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    found = []
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        if line.strip():
            word, _, rest = line.strip().partition(" ")
            flags = {}
            rest = rest.lstrip()
            while flag := _FLAG.match(rest):
                flags[flag[1]] = flag[2]
                rest = rest[flag.end() :]
            found.append(Instruction(word, " ".join(rest.split()), flags))
    return found
