"""`voice` in processes of their own: started, listened to, frozen, and gone at the end of the block."""

import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import attrs
import trio

from simulation.background import open_background
from tests.house_rules import ROOT
from tests.wire.test_command_line import VOICE, environment

START_SECONDS = 40.0  # Python alone takes one on an idle machine, and initdb another


@attrs.define(eq=False)
class Program:
    """A running `voice`. Mutable: `output`, the lines it has printed, logged ones among them."""

    process: trio.Process
    output: list[str] = attrs.field(factory=list)
    _news: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot, repr=False)
    _silent: bool = False

    async def listen(self) -> None:
        """Collect what it prints, until it closes its output."""
        assert self.process.stdout is not None
        rest = b""
        async for chunk in self.process.stdout:
            *lines, rest = (rest + chunk).split(b"\n")
            self.output += [line.decode() for line in lines]
            self._news.unpark_all()
        self._silent = True
        self._news.unpark_all()

    async def says(self, words: str, within_seconds: float = 10.0) -> str:
        """The first line with these words, as soon as it is there."""
        with trio.fail_after(within_seconds):
            while not (found := [line for line in self.output if words in line]):
                assert not self._silent, self.everything
                await self._news.park()
        return found[0]

    async def ends(self, within_seconds: float = 20.0) -> int:
        """Its exit code, when all it printed has been read."""
        with trio.fail_after(within_seconds):
            code = await self.process.wait()
            while not self._silent:
                await self._news.park()
        return code

    @property
    def everything(self) -> str:
        return "\n".join(self.output)

    @property
    def said_to_the_user(self) -> list[str]:
        """The lines that are not of the log."""
        return [line for line in self.output if not line.startswith("{")]

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Stopped by SIGSTOP for the body: its kernel answers for it, and nobody reads."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)


@asynccontextmanager
async def open_program(*arguments: str, folder: Path | None = None, **environ: str) -> AsyncIterator[Program]:
    """Run `voice` with these arguments in `folder` (this one by default); killed on the way out."""
    settings = environment(VOICE_HOST="127.0.0.1", AGENT_DESC=str(ROOT / "agent_desc.txt"), **environ)
    process = await trio.lowlevel.open_process(
        [*VOICE, *arguments], env=settings, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    program = Program(process)
    try:
        async with open_background() as nursery:
            nursery.start_soon(program.listen)
            yield program
    finally:
        process.kill()
        with trio.move_on_after(5, shield=True):
            await process.wait()
            assert process.stdout is not None
            await process.stdout.aclose()


@attrs.frozen
class Bridge:
    """A `voice serve` that takes calls."""

    program: Program
    voice_url: str
    webhook_url: str


@asynccontextmanager
async def open_bridge(*, folder: Path | None = None, **environ: str) -> AsyncIterator[Bridge]:
    async with open_program("serve", folder=folder, **environ) as program:
        voice = await program.says("voice listening on ", START_SECONDS)
        webhook = await program.says("webhook listening on ")
        yield Bridge(program, voice.split()[-1], f"http://{webhook.split()[-1]}")


@asynccontextmanager
async def open_cloud_program(scenario: Path) -> AsyncIterator[tuple[Program, str]]:
    """A `voice simulate vapi`, and what VAPI_BASE_URL should be."""
    async with open_program("simulate", "vapi", "--port", "0", "--scenario", str(scenario)) as program:
        line = await program.says("vapi listening on ", START_SECONDS)
        yield program, line.split()[3]
