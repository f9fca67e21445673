"""An agent program as a child process: it is read as long as it lives, and does not outlive us, kill -9 included.

- A shell (watch.sh) stands between: it ends the agent when the pipe that only we hold is closed. PR_SET_PDEATHSIG
  would be shorter and is wrong: it fires when the *thread* that started the child ends, and Trio's threads end after
  ten idle seconds.
- The agent has a process group of its own, so that Ctrl-C leaves it up while calls wind down, and so that all of it can
  be stopped.
- Its output is drained also while it is being stopped; a program that cannot write does not end.
"""

import os
import signal
import subprocess
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

import attrs
import trio

from runtime import limits
from runtime.tunnels.engine import Command

WATCH: Final = Path(__file__).with_name("watch.sh")
NOT_RUNNABLE, NOT_FOUND = 126, 127  # what the shell returns for a program that it cannot start

# An agent needs no key of ours. PATH and HOME to find things, the rest to find its way out of this network.
INHERITED: Final = (
    "PATH", "HOME", "USER", "LOGNAME", "LANG", "TMPDIR", "XDG_CONFIG_HOME", "SSH_AUTH_SOCK", "SSL_CERT_FILE",
    "SSL_CERT_DIR", "http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY",
)  # fmt: skip


@attrs.define
class Lines:
    """Bytes in, lines out. Pure. What a line has beyond TUNNEL_LINE_BYTES is dropped."""

    _rest: bytes = b""

    def feed(self, data: bytes | bytearray) -> list[str]:
        *whole, last = bytes(data).split(b"\n")
        lines = []
        for piece in whole:
            lines.append((self._rest + piece)[: limits.TUNNEL_LINE_BYTES].decode(errors="replace").rstrip("\r"))
            self._rest = b""
        self._rest = (self._rest + last)[: limits.TUNNEL_LINE_BYTES]
        return lines

    def rest(self) -> list[str]:
        """The last line, if nothing ended it."""
        return self.feed(b"\n") if self._rest else []


@attrs.define(eq=False)
class Child:
    """Mutable: `lines`, the last ones it has printed; `code`, once it has `ended`."""

    process: trio.Process
    _take: Callable[[str], None]
    _hidden: tuple[str, ...] = attrs.field(repr=False)
    lines: deque[str] = attrs.field(factory=lambda: deque(maxlen=limits.TUNNEL_LINES), repr=False)
    code: int | None = None
    ended: trio.Event = attrs.field(factory=trio.Event, repr=False)
    _incoming: Lines = attrs.field(factory=Lines, repr=False)
    _silent: trio.Event = attrs.field(factory=trio.Event, repr=False)

    @property
    def could_not_run(self) -> bool:
        return self.code in (NOT_RUNNABLE, NOT_FOUND)

    @property
    def last_line(self) -> str:
        return next((line.strip() for line in reversed(self.lines) if line.strip()), "")

    async def read(self) -> None:
        """Until the end of its output."""
        assert self.process.stdout is not None
        while data := await self.process.stdout.receive_some(limits.TUNNEL_READ_BYTES):
            self._told(self._incoming.feed(data))
        self._told(self._incoming.rest())
        self._silent.set()

    def _told(self, lines: list[str]) -> None:
        for line in lines:
            for word in self._hidden:
                line = line.replace(word, "********")
            self.lines.append(line)
            self._take(line)

    async def wait(self) -> None:
        """Until it has ended, whatever its code, and its last lines are read."""
        code = await self.process.wait()
        with trio.move_on_after(limits.TUNNEL_EOF_SECONDS):
            await self._silent.wait()
        self.code = code
        self.ended.set()

    async def stop(self) -> None:
        """Bounded: TERM, then KILL, to all of its group. Nobody else may be reading it now."""
        for number, seconds in (
            (signal.SIGTERM, limits.TUNNEL_STOP_SECONDS),
            (signal.SIGKILL, limits.TUNNEL_KILL_SECONDS),
        ):
            if self.process.returncode is not None:
                break
            self._kill(number)
            with trio.move_on_after(seconds, shield=True):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self.read)
                    await self.process.wait()
                    nursery.cancel_scope.cancel()
        self._kill(signal.SIGKILL)  # whom the shell, if it was killed itself, has left behind
        for end in (self.process.stdin, self.process.stdout):
            if end is not None:
                await trio.aclose_forcefully(end)

    def _kill(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)


class CannotStart(Exception):
    """This machine does not start a program right now. One line."""


@asynccontextmanager
async def open_child(command: Command, take: Callable[[str], None]) -> AsyncIterator[Child]:
    """Run it for the body; `take` is given each line it prints. Stopped on the way out, within TUNNEL_END_SECONDS.

    Raises CannotStart, before the body.
    """
    kept = {name: os.environ[name] for name in INHERITED if name in os.environ}
    try:
        process = await trio.lowlevel.open_process(
            ["/bin/sh", str(WATCH), *command.argv],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**kept, **command.environment},
        )
    except OSError as exc:  # no descriptor left, no memory
        raise CannotStart(f"{command.argv[0]!r} cannot be started: {exc.strerror or exc}") from exc
    child = Child(process, take, command.hidden)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(child.read)
            nursery.start_soon(child.wait)
            yield child
            nursery.cancel_scope.cancel()
    finally:
        with trio.move_on_after(limits.TUNNEL_END_SECONDS, shield=True):
            await child.stop()
