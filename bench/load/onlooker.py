"""Somebody who looks at a bridge's console: a page that shows a call, and its figures, read and thrown away."""

import asyncio
import json
import time
from typing import Any, Final

import attrs
import h11

from bench.load.failure import LoadFailure
from bench.load.http_request import request

SCRAPE_SECONDS: Final = 1.0
FIRST_SECONDS: Final = 10.0  # for the first state and the first figures
POLL_SECONDS: Final = 0.01
_ACCEPTS: Final = {"Accept": "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2"}
_STATE: Final = b"event: state\n"


@attrs.define(eq=False)
class Onlooker:
    """As a browser that shows a call, and as Prometheus, but for how often that one asks. Mutable.

    `url`: the console's, with a slash at its end.
    """

    url: str
    states: int = 0
    stream_bytes: int = 0
    scrapes: int = 0
    scrape_bytes: int = 0
    _began_at: float = attrs.field(factory=time.monotonic)
    _tail: bytes = b""
    """Of the stream, as much as may be the begin of the next state."""
    _tasks: list[asyncio.Task[None]] = attrs.field(factory=list)

    async def begin(self) -> None:
        """Return when a first state and the first figures have come. Raises LoadFailure."""
        try:
            async with asyncio.timeout(FIRST_SECONDS):
                call_id = await self._running_call()
                looks = (self._read_stream(call_id), self._scrape())
                self._tasks = [asyncio.create_task(look) for look in looks]
                while not (self.states and self.scrapes):
                    self._check()
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            raise LoadFailure(f"the console showed nothing in {FIRST_SECONDS:g} s") from None

    async def end(self) -> dict[str, Any]:
        """What was read, all in all. Raises LoadFailure when the looking had ended by itself."""
        try:
            self._check()
        finally:
            await self.stop()
        return {
            "seconds": time.monotonic() - self._began_at,
            "states": self.states, "stream_bytes": self.stream_bytes,
            "scrapes": self.scrapes, "scrape_bytes": self.scrape_bytes,
        }  # fmt: skip

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _check(self) -> None:
        for task in self._tasks:
            if task.done():
                task.result()

    async def _running_call(self) -> str:
        """One that is shown."""
        pieces: list[bytes] = []
        await self._get("calls", pieces)
        for row in json.loads(b"".join(pieces))["calls"]:
            if row["phase"] == "live":
                return str(row["id"])
        raise LoadFailure("the console shows no running call")

    async def _get(self, path: str, pieces: list[bytes]) -> None:
        try:
            status = await request("GET", f"{self.url}{path}", _ACCEPTS, b"", pieces.append)
        except (OSError, h11.ProtocolError) as exc:
            raise LoadFailure(f"the console did not answer /{path}: {exc or type(exc).__name__}") from exc
        if status != 200:
            raise LoadFailure(f"the console answered {status}: {b''.join(pieces)[:300].decode('utf-8', 'replace')}")

    async def _scrape(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            pieces: list[bytes] = []
            await self._get("metrics", pieces)
            self.scrapes += 1
            self.scrape_bytes += sum(map(len, pieces))
            due = max(due + SCRAPE_SECONDS, loop.time())
            await asyncio.sleep(due - loop.time())

    async def _read_stream(self, call_id: str) -> None:
        try:
            status = await request("GET", f"{self.url}events?call={call_id}", {}, b"", self._take)
        except (OSError, h11.ProtocolError) as exc:
            raise LoadFailure(f"the console's stream broke: {exc or type(exc).__name__}") from exc
        raise LoadFailure(f"the console's stream ended, its status was {status}")

    def _take(self, piece: bytes) -> None:
        self.stream_bytes += len(piece)
        seen = self._tail + piece
        self.states += seen.count(_STATE)
        self._tail = seen[1 - len(_STATE) :]
