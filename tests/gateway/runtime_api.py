"""HAProxy's runtime API as far as the registrar speaks it, on a unix socket; replies as HAProxy 2.6 words them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import trio

from runtime.gateway import CALLS_MAP
from simulation.background import open_background


@attrs.define(eq=False)
class RuntimeApi:
    """Mutable: `entries`, the map in order (a key may be there twice); `commands`; `silent`: it never replies;
    `wrong`: what it says to everything instead."""

    entries: list[tuple[str, str]] = attrs.field(factory=list)
    commands: list[str] = attrs.field(factory=list)
    silent: bool = False
    wrong: str = ""
    changed: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot)

    async def serve(self, stream: trio.abc.Stream) -> None:
        async with stream:
            line = b""
            while not line.endswith(b"\n"):
                line += await stream.receive_some()
            self.commands.append(line.decode().rstrip("\n"))
            if self.silent:
                await trio.sleep_forever()
            await stream.send_all(f"{self.wrong or self.reply(*self.commands[-1].split())}\n".encode())
        self.changed.unpark_all()

    def reply(self, verb: str, what: str, name: str, key: str, value: str = "") -> str:
        if (what, name) != ("map", CALLS_MAP):
            return "Unknown map identifier. Please use #<id> or <file>.\n"
        known = any(key == entry for entry, _ in self.entries)
        if verb == "add":
            self.entries.append((key, value))
        elif verb == "set" and known:
            self.entries = [(k, value if k == key else v) for k, v in self.entries]
        elif verb == "del" and known:
            self.entries = [(k, v) for k, v in self.entries if k != key]
        else:
            return "entry not found.\n" if verb == "set" else "Key not found.\n"
        return ""

    async def comes_to(self, *entries: tuple[str, str]) -> None:
        """Wait until these are the entries, in any order."""
        with trio.fail_after(5):
            while sorted(self.entries) != sorted(entries):
                await self.changed.park()


@asynccontextmanager
async def open_runtime_api(path: Path) -> AsyncIterator[RuntimeApi]:
    api = RuntimeApi()
    sock = trio.socket.socket(trio.socket.AF_UNIX)
    await sock.bind(str(path))
    sock.listen(16)
    async with open_background() as nursery:
        await nursery.start(trio.serve_listeners, api.serve, [trio.SocketListener(sock)])
        yield api
    await trio.Path(path).unlink()
