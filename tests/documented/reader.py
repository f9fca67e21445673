"""The reader of a document: does what it says, in order, and notes what came of each step.

What a block exports, and where it goes by `cd`, holds for what he does next, as in a terminal that stays open.
"""

import os
import re
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import attrs

from tests.documented.machine import Machine, Running
from tests.documented.markdown import Command, FileToWrite, Step
from tests.documented.rules import COMPANIONS, FIRST_SCENARIO, Rule, rule_of

READY_SECONDS: Final = 40.0
KEPT: Final = ("HOME", "LANG", "TERM", "TMPDIR", "USER")
TOLD_CHARACTERS: Final = 3000
PROGRAM: Final = re.compile(r"(^|&& |; do )((?:\w+=\S* |sudo )*)(voice|python|hypercorn)\b")
BARE: Final = re.compile(r"(\w+=\S* )*(voice|python|hypercorn)\b")


def located(command: str) -> str:
    """With the folder of our programs; the text of a document leaves it out, a block must not."""
    return PROGRAM.sub(r"\1\2.venv/bin/\3", command)


def environment_in(checkout: Path) -> dict[str, str]:
    """Of a new terminal: nothing of ours, neither settings nor the environment in which this test runs."""
    ours = str(Path(sys.prefix) / "bin")
    path = [entry for entry in os.environ["PATH"].split(":") if entry != ours]
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    # A cache of his own: what this machine has kept must not stand in for what a document forgot.
    cache = str(checkout.parent / "cache")
    return {**kept, "XDG_CACHE_HOME": cache, "PATH": ":".join([*path, "/usr/sbin", "/sbin"]), "PWD": str(checkout)}


@attrs.define(eq=False)
class Serving:
    command: str
    rule: Rule
    running: Running


@attrs.define(eq=False)
class Reader:
    """Mutable: `environ`, what is exported; `serving`, what runs now, in order; of what was followed last, `told`, the
    line and a text for each step, and `faults`, what is wrong, in words; `written`, all files, and `scenario`, the last
    of them that is one."""

    machine: Machine
    checkout: Path
    told: list[tuple[int, str]] = attrs.field(factory=list)
    environ: dict[str, str] = attrs.field(
        default=attrs.Factory(lambda self: environment_in(self.checkout), takes_self=True), repr=False
    )
    serving: list[Serving] = attrs.field(factory=list)
    faults: list[str] = attrs.field(factory=list)
    written: list[str] = attrs.field(factory=list)
    scenario: str = FIRST_SCENARIO
    _outputs: int = 0

    def open_terminal(self) -> None:
        """A new one, in the copy's folder: nothing is exported."""
        self.environ = environment_in(self.checkout)

    def follow(self, steps: list[Step]) -> list[str]:
        """One block, or one command of the text. What serves is stopped at its end. The faults of it."""
        self.faults.clear()
        self.told.clear()
        try:
            for step in steps:
                if isinstance(step, FileToWrite):
                    self._write(step)
                else:
                    self._obey(step)
            while self.serving:
                self._stop(self.serving.pop())
        finally:
            for serving in self.serving:
                serving.running.kill()
            self.serving.clear()
        return list(self.faults)

    def _write(self, file: FileToWrite) -> None:
        path = Path(self.environ["PWD"], file.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(file.content, encoding="utf-8")
        if file.path.startswith("scenarios/"):
            self.scenario = file.path
        self.written.append(file.path)
        self._tell(file, "", f"{file.path} written")

    def _obey(self, command: Command) -> None:
        rule, run = rule_of(command.text, self.environ, bool(self.written))
        if command.block == 0 or (rule.run and not BARE.match(command.text)):
            run = located(run)
        if rule.never:
            self._tell(command, "not run", f"{command.text} ({rule.why})")
            return
        begun, before = time.monotonic(), len(self.faults)
        for name in rule.companions:
            self._accompany(name)
        if rule.ready:
            self._serve(command, rule, run)
        else:
            self._run(command.text, rule, run)
        seconds = time.monotonic() - begun
        led = f" - run as: {run}" if run.replace(".venv/bin/", "") != command.text.replace(".venv/bin/", "") else ""
        why = f" ({rule.why})" if rule.why else ""
        failed = "  FAILED" if len(self.faults) > before else ""
        self._tell(command, f"{seconds:.1f} s", f"{command.text}{led}{why}{failed}")

    def _tell(self, step: Step, seconds: str, text: str) -> None:
        self.told.append((step.line, f"{seconds:>8}  {text}"))

    def _accompany(self, name: str) -> None:
        companion = COMPANIONS[name]
        if any(serving.command == companion.command for serving in self.serving):
            return
        rule = Rule(pattern="", ready=companion.ready, stopped=(0, 130))
        self._serve(Command(companion.command, 0), rule, self._meant(companion.command))

    def _meant(self, command: str) -> str:
        return located(command.replace("{scenario}", self.scenario))

    def _serve(self, command: Command, rule: Rule, run: str) -> None:
        running = self._start(f"exec env {run}", rule)  # env, as a command may begin with variables
        if not running.says(rule.ready, READY_SECONDS):
            running.kill()
            self._wrong(command.text, f"never said {rule.ready!r}", running)
            return
        serving = Serving(command.text, rule, running)
        self.serving.append(serving)
        for then in rule.then:
            self._run(then, Rule(pattern=""), self._meant(then))
        if rule.brief:
            self.serving.remove(serving)
            self._stop(serving)

    def _stop(self, serving: Serving) -> None:
        code = serving.running.interrupt()
        if code not in serving.rule.stopped:
            wanted = " or ".join(map(str, serving.rule.stopped))
            self._wrong(serving.command, f"Ctrl-C ended it with {code}, not with {wanted}", serving.running)
        serving.running.kill()  # what is left of its group

    def _run(self, command: str, rule: Rule, run: str) -> None:
        running = self._start(f"{run}\n{self._remember}", rule)
        code = running.ends(rule.seconds)
        if code is None:
            what = f"did not end in {rule.seconds:g} s: one that serves or takes long needs a rule in rules.py"
            self._wrong(command, what, running)
        elif code != rule.code:
            self._wrong(command, f"ended with {code}, not with {rule.code}", running)
        running.kill()
        self._recall(rule.environ)
        if code is not None:
            for words in rule.says:
                if not re.search(words, running.said):
                    self._wrong(command, f"did not say {words!r}", running)
            for files in rule.leaves:
                if not any(self.checkout.glob(files)):
                    self._wrong(command, f"left no {files}", running)

    def tries(self, command: str, seconds: float) -> int | None:
        """Its exit code, whatever it is; None when it does not end."""
        return self._start(command, Rule(pattern="")).ends(seconds)

    def _start(self, script: str, rule: Rule) -> Running:
        self._outputs += 1
        environ = {**self.environ, **rule.environ}
        folder, output = Path(environ["PWD"]), self.checkout.parent / f"output-{self._outputs}.txt"
        return self.machine.start(script, folder=folder, environ=environ, output=output)

    @property
    def _state(self) -> Path:
        return self.checkout.parent / "environment"

    @property
    def _remember(self) -> str:
        return f"(code=$?; env -0 > {self._state}; exit $code)"

    def _recall(self, led: Mapping[str, str]) -> None:
        """What the command has exported; not what the rule led it by."""
        if self._state.exists():
            entries = self._state.read_text().split("\0")
            self._state.unlink()
            left = dict(entry.split("=", 1) for entry in entries if "=" in entry)
            self.environ = {name: value for name, value in left.items() if led.get(name) != value}

    def _wrong(self, command: str, what: str, running: Running) -> None:
        self.faults.append(f"{command}\n{what}; it printed:\n{running.said[-TOLD_CHARACTERS:]}")
