"""Processes under measurement: each on its core, its output in a file, gone at the end of the block in any case."""

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

import attrs
import trio

from bench.failure import BenchFailure

ROOT: Final = Path(__file__).parent.parent
READY_SECONDS: Final = 40.0
POLL_SECONDS: Final = 0.02
LAST_LINES: Final = 15
LINE_CHARACTERS: Final = 300
_INHERITED: Final = ("PATH", "HOME", "LANG", "TMPDIR", "LD_LIBRARY_PATH", "VIRTUAL_ENV")


@attrs.frozen
class Cores:
    """Who runs where: the bridge has a core of its own, all the rest of us another. None: not pinned."""

    bridge: int | None
    load: int | None

    @classmethod
    def of_this_machine(cls) -> "Cores":
        """Not pinned with one core only, or where the system cannot."""
        if sys.platform != "linux":
            return cls(None, None)
        allowed = sorted(os.sched_getaffinity(0))
        return cls(allowed[0], allowed[-1]) if len(allowed) > 1 else cls(None, None)


@attrs.frozen(eq=False)
class Program:
    """A running process. Everything it prints but a piped output is in `log`."""

    name: str
    process: trio.Process
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def last_lines(self) -> list[str]:
        lines = self.log.read_text(errors="replace").splitlines()[-LAST_LINES:]
        return [line if len(line) <= LINE_CHARACTERS else f"{line[:LINE_CHARACTERS]} …" for line in lines]

    def check(self) -> None:
        """Raises BenchFailure when it has ended."""
        if self.process.poll() is not None:
            raise BenchFailure(f"{self.name} ended with code {self.process.returncode}", self.last_lines)

    async def says(self, words: str) -> str:
        """The last word of the first line with these words. Raises BenchFailure when it ends before, or is silent."""
        with trio.move_on_after(READY_SECONDS):
            while True:
                said = self.log.read_text(errors="replace").splitlines(keepends=True)
                found = [line.split()[-1] for line in said if words in line and line.endswith("\n")]
                if found:
                    return found[0]
                self.check()
                await trio.sleep(POLL_SECONDS)
        raise BenchFailure(f"{self.name} was not ready within {READY_SECONDS:g} s", self.last_lines)


@asynccontextmanager
async def open_program(
    name: str, module: Sequence[str], *, core: int | None, folder: Path, environ: Mapping[str, str], **options: Any
) -> AsyncIterator[Program]:
    """Run `python -m MODULE…` from the root of this project, with these settings and no others of the user's.

    In a session of its own, so that Ctrl-C reaches us alone. Killed on the way out. `options` as for `Popen`.
    """
    log = folder / f"{name}.log"
    kept = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    with log.open("wb") as output:
        options = {"stdin": subprocess.DEVNULL, "stdout": output, **options}
        process = await trio.lowlevel.open_process(
            [sys.executable, "-m", *module],
            cwd=ROOT, env={**kept, **environ}, stderr=output, start_new_session=True, **options,
        )  # fmt: skip
    try:
        if core is not None:
            with suppress(ProcessLookupError):
                os.sched_setaffinity(process.pid, {core})
        yield Program(name, process, log)
    finally:
        process.kill()
        with trio.move_on_after(5, shield=True):
            await process.wait()
