"""The load process, seen from the bench: started, told what to do, listened to."""

import json
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import attrs
import trio

from bench.bridges import Bridge
from bench.failure import BenchFailure
from bench.processes import Cores, Program, open_program

REPLY_SECONDS: Final = 120.0  # beyond what the command itself is meant to take
READ_BYTES: Final = 64 * 1024


@attrs.define(eq=False)
class LoadLink:
    """One command at a time. Mutable: what has been read and not used."""

    program: Program
    vapi: dict[str, str] = attrs.field(factory=dict)
    """Vapi's REST API, by transport."""
    _read: bytes = b""

    async def listen(self) -> dict[str, Any]:
        """The next line of the load. Raises BenchFailure when it has ended."""
        assert self.program.process.stdout is not None
        while b"\n" not in self._read:
            chunk = await self.program.process.stdout.receive_some(READ_BYTES)
            if not chunk:
                raise BenchFailure("the load process ended", self.program.last_lines)
            self._read += chunk
        line, _, self._read = self._read.partition(b"\n")
        heard: dict[str, Any] = json.loads(line)
        return heard

    async def ask(self, bridge: Bridge, do: str, *, takes_seconds: float = 0.0, **arguments: Any) -> dict[str, Any]:
        """Have the load do something to `bridge`; it may take that long by design. Raises BenchFailure."""
        bridge.program.check()
        reply = await self._exchange(takes_seconds + REPLY_SECONDS, {"do": do, **arguments})
        bridge.program.check()
        if "error" in reply:
            raise BenchFailure(f"{bridge.kind}: {reply['error']}", bridge.program.last_lines)
        return reply

    async def drop(self) -> None:
        """End all calls on our side, whatever the bridge does."""
        await self._exchange(REPLY_SECONDS, {"do": "drop"})

    async def _exchange(self, seconds: float, command: dict[str, Any]) -> dict[str, Any]:
        assert self.program.process.stdin is not None
        self.program.check()
        with trio.move_on_after(seconds):
            await self.program.process.stdin.send_all(json.dumps(command).encode() + b"\n")
            return await self.listen()
        raise BenchFailure(f"the load process did not do {command['do']!r} in {seconds:g} s", self.program.last_lines)


@asynccontextmanager
async def open_load(folder: Path, cores: Cores, grain_ns: int) -> AsyncIterator[LoadLink]:
    async with open_program(
        "load", ("bench.load", str(folder), str(grain_ns)), core=cores.load, folder=folder, environ={},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as program:  # fmt: skip
        link = LoadLink(program)
        with trio.move_on_after(REPLY_SECONDS):
            link.vapi = (await link.listen())["vapi"]
        if not link.vapi:
            raise BenchFailure("the load process was not ready in time", program.last_lines)
        yield link
