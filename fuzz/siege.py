"""Calls that go on while their doors are under attack: what the attack adds to their frames' latency, and what is left
of it afterwards."""

import json
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urlsplit

import attrs
import trio

from bench.alternations import measure_window
from bench.bridges import Bridge
from bench.failure import BenchFailure
from bench.load_link import LoadLink, open_load
from bench.processes import ROOT, Cores, Program, open_program
from bench.usage import memory
from db.embedded import open_embedded_server
from fuzz.served import FLEET_SECRET, settings
from fuzz.siege_table import Assault, Calm

GRAIN_NS: Final = 1_000_000
SETTLE_SECONDS: Final = 2.0
WRONG_SECRET: Final = "0" * 32 + "." + "0" * 64
Tell = Callable[[str], None]


@attrs.frozen
class Planned:
    """`count` connections, kept up for as long as it lasts."""

    name: str
    attack: str
    door: Literal["webhook", "voice"]
    count: int
    secret: str = ""


PLAN: Final[tuple[Planned, ...]] = (
    Planned("slow heads", "slow_heads", "webhook", 600),
    Planned("slow bodies", "slow_bodies", "webhook", 600, FLEET_SECRET),
    Planned("10,000 silent connections", "silence", "webhook", 10_000),
    Planned("endless bodies", "endless_bodies", "webhook", 8, FLEET_SECRET),
    Planned("endless bodies of strangers", "endless_bodies", "webhook", 8, WRONG_SECRET),
    Planned("nested JSON", "nested_json", "webhook", 4, FLEET_SECRET),
    Planned("nested JSON of strangers", "nested_json", "webhook", 4, WRONG_SECRET),
    Planned("10,000 silent callers", "silence", "voice", 10_000),
    Planned("slow handshakes", "slow_handshakes", "voice", 600),
    Planned("requests that reset", "resets", "webhook", 50),
)


@attrs.frozen
class Length:
    """Of a siege. The short one shows that it works, and measures nothing."""

    calls: int = 3
    quiet_seconds: float = 4.0
    attack_seconds: float = 8.0
    most_connections: int = 10_000
    ramp_seconds: float = 2.0


@attrs.frozen
class Siege:
    load: LoadLink
    bridge: Bridge
    ports: dict[str, int]
    folder: Path
    length: Length
    _meters: list[int] = attrs.field(factory=lambda: [0])

    async def run(self, plan: Sequence[Planned], tell: Tell) -> tuple[list[Calm], list[Assault]]:
        calms, assaults = [], []
        await self._call()
        await trio.sleep(self.length.ramp_seconds)
        for planned in plan:
            calms.append(await self._calm())
            assaults.append(await self._assault(planned))
            tell(f"{calms[-1]}\n{assaults[-1]}")
        return calms, assaults

    async def _call(self) -> None:
        await self.load.ask(self.bridge, "call", url=self.bridge.voice_url, calls=self.length.calls)

    async def _calm(self) -> Calm:
        await self._meter()
        window = await measure_window(self.load, self.bridge, "plain", self.length.quiet_seconds, 0)
        return Calm(window.p99_ms, window.harmed, await self._meter())

    async def _assault(self, planned: Planned) -> Assault:
        rss_before = memory(self.bridge.program.pid).rss_mib
        seconds = self.length.attack_seconds
        async with self._attacker(planned, seconds + self.length.ramp_seconds + 2.0) as attacker:
            await trio.sleep(self.length.ramp_seconds)
            window = await measure_window(self.load, self.bridge, "plain", seconds, 0)
            rss_during = memory(self.bridge.program.pid).rss_mib
            dialled = await attacker.says("dialled ")
        meter = await self._meter()
        await trio.sleep(SETTLE_SECONDS)
        return Assault(
            planned.name, int(dialled), window.p99_ms, window.harmed, meter,
            rss_before, rss_during, memory(self.bridge.program.pid).rss_mib, await self._still_serves(),
        )  # fmt: skip

    @asynccontextmanager
    async def _attacker(self, planned: Planned, seconds: float) -> AsyncIterator[Program]:
        count = min(planned.count, self.length.most_connections)
        arguments = (planned.attack, str(self.ports[planned.door]), planned.secret, str(count), str(seconds))
        log = self.folder / "attack.log"
        with log.open("wb") as output:
            process = await trio.lowlevel.open_process(
                ["nice", "-n", "19", sys.executable, "-m", "fuzz.siege_attacks", *arguments],
                cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip
        try:
            yield Program("attack", process, log)
        finally:
            process.kill()
            with trio.move_on_after(5, shield=True):
                await process.wait()

    async def _still_serves(self) -> str:
        """What a new call and a tool POST came to: "" when both work."""
        try:
            await self.load.ask(self.bridge, "hang_up")
            await self._call()
            await self.load.ask(self.bridge, "tools", concurrent=1, posts=2)
        except BenchFailure as exc:
            await self.load.drop()
            await self._call()
            return str(exc)
        return ""

    async def _meter(self) -> dict[str, Any]:
        """What the server's loop has measured since the last time."""
        self._meters[0] += 1
        process = self.bridge.program.process
        assert process.stdin is not None
        await process.stdin.send_all(b"\n")
        said = await self.bridge.program.says(f"meter {self._meters[0]}:")
        taken: dict[str, Any] = json.loads(bytes.fromhex(said))
        return taken


@asynccontextmanager
async def open_siege(length: Length, *, look: bool = False) -> AsyncIterator[Siege]:
    """Raises BenchFailure when a part does not get ready."""
    cores = Cores.of_this_machine()
    with tempfile.TemporaryDirectory(prefix="siege-") as made:
        folder = Path(made)
        async with open_embedded_server() as database_url, open_load(folder, cores, GRAIN_NS) as load:
            environ = settings(load.vapi["plain"], "simulated-key", database_url) | {"TOOL_POLICY": "open"}
            module = ("fuzz.siege_server", *(["look"] if look else []))
            async with open_program(
                "serve", module, core=cores.bridge, folder=folder, environ=environ, stdin=subprocess.PIPE
            ) as program:
                voice_url = await program.says("voice listening on ")
                webhook = await program.says("webhook listening on ")
                ports = {"voice": urlsplit(voice_url).port or 0, "webhook": urlsplit(f"//{webhook}").port or 0}
                yield Siege(load, Bridge("ours", program, voice_url), ports, folder, length)
