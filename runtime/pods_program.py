"""One program of `voice pods`, a `voice serve` or nginx: read as long as it lives, and started again when it dies.

It has a session of its own, so that Ctrl-C reaches us and not it, and so that all of it can be stopped.
"""

import os
import signal
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final

import attrs
import structlog
import trio

from runtime import limits
from runtime.errors import StartError
from runtime.guests import Rate
from runtime.logs import LossyStderr
from runtime.tunnels.child import INHERITED, Lines

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger(actor="Pods")
VOICE: Final = "voice listening on "
WEBHOOK: Final = "webhook listening on "
COMPLAINT: Final = "voice: "


@attrs.define(eq=False)
class Program:
    """One life. Mutable. `voice_url`: once it takes callers; `last_words`: its last line; `code`: once it has `ended`,
    negative for a signal."""

    name: str
    process: trio.Process
    voice_url: str = ""
    last_words: str = "it said nothing"
    code: int | None = None
    takes_callers: trio.Event = attrs.field(factory=trio.Event, repr=False)
    ended: trio.Event = attrs.field(factory=trio.Event, repr=False)

    @property
    def end(self) -> str:
        """How it came to its end, in words."""
        if self.code is None:
            return f"not ready: {self.last_words}"
        if self.code < 0:
            return f"ended by {signal.Signals(-self.code).name}"
        return f"exit code {self.code}: {self.last_words}"

    async def mind(self) -> None:
        """Read it until it has ended."""
        assert self.process.stdout is not None
        incoming = Lines()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._wait, nursery.cancel_scope)
            while data := await self.process.stdout.receive_some(limits.POD_READ_BYTES):
                self._told(incoming.feed(data))
            self._told(incoming.rest())
        self.ended.set()

    async def _wait(self, reading: trio.CancelScope) -> None:
        self.code = await self.process.wait()
        reading.deadline = trio.current_time() + limits.TUNNEL_EOF_SECONDS  # somebody else may hold its output open

    def _told(self, lines: list[str]) -> None:
        for line in (line for line in lines if line.strip()):
            if line.startswith(VOICE):
                self.voice_url = line.removeprefix(VOICE)
                self.takes_callers.set()
                continue
            if not line.startswith((WEBHOOK, COMPLAINT)):  # its owner tells what a pod has complained of
                # A pod's log has its name in each line.
                LossyStderr().write(f"{line}\n" if line.startswith("{") else f"{self.name}: {line}\n")
            self.last_words = line.strip().removeprefix(COMPLAINT)


@asynccontextmanager
async def open_program(name: str, command: Sequence[str], settings: Mapping[str, str] | None) -> AsyncIterator[Program]:
    """Run it for the body. `settings` are added to our own environment; None: it gets the little of that which every
    program needs, and no key.

    Killed on the way out, with all that it has left behind. Raises StartError when this machine cannot start it.
    """
    little = {name: os.environ[name] for name in INHERITED if name in os.environ}
    try:
        process = await trio.lowlevel.open_process(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=little if settings is None else os.environ | settings,
            start_new_session=True,
        )
    except OSError as exc:  # no descriptor left, no memory
        raise StartError(f"{name} cannot be started: {exc.strerror or exc}") from exc
    program = Program(name, process)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(program.mind)
            yield program
            nursery.cancel_scope.cancel()
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # nginx's master may be gone, and its worker hold the port
        with trio.move_on_after(limits.PODS_KILL_SECONDS, shield=True):
            await process.wait()
            assert process.stdout is not None
            await trio.aclose_forcefully(process.stdout)


@attrs.define(eq=False)
class Kept:
    """A program in all its lives. Mutable. `why`: what became of its last one; `leaving`: set, it gets no other.

    Ends: when it was told to leave and has ended; at once when it does not get ready the first time.
    Restart: it restarts the program itself, RESTARTS times in RESTART_PERIOD_SECONDS and then as often as that allows.
    Cancelled: the program is killed.
    """

    name: str
    command: Sequence[str]
    settings: Mapping[str, str] | None = attrs.field(repr=False)
    until_ready: Callable[[Program], Awaitable[None]] = attrs.field(repr=False)
    announce: Callable[[str], None] = attrs.field(repr=False)
    """Is told `NAME PID` of each life, `leaving PID` when it is told to leave, and `gone PID` behind it."""
    program: Program | None = None
    why: str = ""
    leaving: trio.Event = attrs.field(factory=trio.Event, repr=False)
    over: trio.Event = attrs.field(factory=trio.Event, repr=False)

    def leave(self, how: signal.Signals = signal.SIGTERM) -> None:
        """A pod then drains, and ends its calls when it is told once more."""
        self.leaving.set()
        if self.program is not None:
            with suppress(ProcessLookupError):
                self.program.process.send_signal(how)
            self.announce(f"leaving {self.program.process.pid}")

    async def run(self, task_status: trio.TaskStatus[bool]) -> None:
        """Until it has left. Given by `started`: whether it got ready; if not, it is not started again."""
        restarts = Rate(limits.RESTARTS / limits.RESTART_PERIOD_SECONDS, limits.RESTARTS)
        got_ready = await self._keep(task_status)
        while got_ready and not self.leaving.is_set():
            _log.error("pods_program_died", program=self.name, why=self.why)
            while not restarts.allows_one_more():
                with trio.move_on_after(limits.PODS_RESTART_POLL_SECONDS):
                    await self.leaving.wait()
                    break
            if not self.leaving.is_set():
                await self._keep(trio.TASK_STATUS_IGNORED)
        if not got_ready:
            task_status.started(False)
        self.over.set()

    async def _keep(self, task_status: trio.TaskStatus[bool]) -> bool:
        """One life; whether it got ready."""
        ready = False
        try:
            async with open_program(self.name, self.command, self.settings) as program:
                self.program = program
                self.announce(f"{self.name} {program.process.pid}")
                _log.info("pods_program_started", program=self.name, pid=program.process.pid)
                if self.leaving.is_set():
                    self.leave()  # it was told to, while it was being started
                ready = await self._gets_ready(program)
                if ready:
                    task_status.started(True)
                    await program.ended.wait()
                self.why = program.end
                self.program = None
            self.announce(f"gone {program.process.pid}")
        except StartError as exc:
            self.why = str(exc)
        return ready

    async def _gets_ready(self, program: Program) -> bool:
        ready = False

        async def look(looking: trio.CancelScope) -> None:
            nonlocal ready
            await self.until_ready(program)
            ready = True
            looking.cancel()

        with trio.move_on_after(limits.POD_START_SECONDS):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(look, nursery.cancel_scope)
                await program.ended.wait()
                nursery.cancel_scope.cancel()
        return ready
