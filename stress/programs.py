"""The processes of a run: each with its output in a file, and gone at the end of the block in any case."""

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import attrs
import trio

from stress.failure import StressFailure
from stress.sides import Options

READY_SECONDS: Final = 40.0
REPLY_SECONDS: Final = 60.0
POLL_SECONDS: Final = 0.02
READ_BYTES: Final = 64 * 1024
LAST_LINES: Final = 15
LINE_CHARACTERS: Final = 300
_INHERITED: Final = ("PATH", "HOME", "LANG", "TMPDIR", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "PYTHONPATH")


@attrs.frozen(eq=False)
class Program:
    """A running process. All that it says, but for a piped output, is in `log`."""

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
        """Raises StressFailure when it has ended."""
        if self.process.poll() is not None:
            raise StressFailure(f"{self.name} ended with code {self.process.returncode}", self.last_lines)

    async def says(self, words: str) -> str:
        """The last word of the first line with these words. Raises StressFailure when it ends before, or is silent."""
        with trio.move_on_after(READY_SECONDS):
            while True:
                said = self.log.read_text(errors="replace").splitlines(keepends=True)
                found = [line.split()[-1] for line in said if words in line and line.endswith("\n")]
                if found:
                    return found[0]
                self.check()
                await trio.sleep(POLL_SECONDS)
        raise StressFailure(f"{self.name} was not ready within {READY_SECONDS:g} s", self.last_lines)

    async def end(self, within_seconds: float) -> int | None:
        """Ask it to end (SIGTERM); its exit code, None when it did not in time."""
        self.process.terminate()
        with trio.move_on_after(within_seconds):
            return await self.process.wait()
        return None


@asynccontextmanager
async def open_program(
    name: str, module: Sequence[str], folder: Path, environ: Mapping[str, str], **options: Any
) -> AsyncIterator[Program]:
    """Run `python -m MODULE…` with these settings and no others of the user's.

    In a session of its own, so that Ctrl-C reaches us alone. Killed on the way out. `options` as for `Popen`.
    """
    log = folder / f"{name}.log"
    kept = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    with log.open("wb") as output:
        process = await trio.lowlevel.open_process(
            [sys.executable, "-m", *module],
            env={**kept, **environ},
            stderr=output,
            start_new_session=True,
            **{"stdin": subprocess.DEVNULL, "stdout": output, **options},
        )
    try:
        yield Program(name, process, log)
    finally:
        process.kill()
        with trio.move_on_after(5, shield=True):
            await process.wait()


@attrs.define(eq=False)
class Link:
    """A side of the load in a process of its own (stress/sides.py). Mutable: what was read and not used."""

    program: Program
    _read: bytes = b""
    _one_at_a_time: trio.Lock = attrs.field(factory=trio.Lock)

    async def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """See :class:`stress.sides.Side`. Raises StressFailure when it has ended, or does not answer."""
        assert self.program.process.stdin is not None
        async with self._one_at_a_time:
            try:
                with trio.fail_after(REPLY_SECONDS):
                    await self.program.process.stdin.send_all(json.dumps({"do": do, **arguments}).encode() + b"\n")
                    return await self.listen()
            except trio.TooSlowError:
                line = f"the {self.program.name} did not answer {do!r} within {REPLY_SECONDS:g} s"
                raise StressFailure(line, self.program.last_lines) from None
            except trio.BrokenResourceError:
                raise StressFailure(f"the {self.program.name} ended", self.program.last_lines) from None

    async def listen(self) -> dict[str, Any]:
        """Its next line."""
        assert self.program.process.stdout is not None
        while b"\n" not in self._read:
            chunk = await self.program.process.stdout.receive_some(READ_BYTES)
            if not chunk:
                raise StressFailure(f"the {self.program.name} ended", self.program.last_lines)
            self._read += chunk
        line, _, self._read = self._read.partition(b"\n")
        heard: dict[str, Any] = json.loads(line)
        return heard


@asynccontextmanager
async def open_side(role: str, options: Options, folder: Path) -> AsyncIterator[tuple[Link, dict[str, Any]]]:
    """The callers or the cloud as a process, and what it said when it was ready. Raises StressFailure."""
    module = ("stress", role, json.dumps(attrs.asdict(options)))
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    async with open_program(role, module, folder, {}, **pipes) as program:
        link, said = Link(program), None
        with trio.move_on_after(READY_SECONDS):
            said = await link.listen()
        if said is None:
            raise StressFailure(f"nothing was heard of the {role} within {READY_SECONDS:g} s", program.last_lines)
        yield link, said
