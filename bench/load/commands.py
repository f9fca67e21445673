"""What the load process does when told: a command is one line of JSON, and so is its reply."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Final

import attrs

from bench.load.callers import CallerEnd, dial
from bench.load.calls import Exchange
from bench.load.failure import LoadFailure, all_of
from bench.load.onlooker import Onlooker
from bench.load.tools import post_steadily, post_tools
from bench.load.window import check_alive, measure

DIALS: Final = 8  # callers that are being connected at any time
OPEN_SECONDS: Final = 60.0  # for all of them to hear and be heard
CLOSED_SECONDS: Final = 5.0  # for Vapi's sockets to be closed behind them
TALK_SECONDS: Final = 0.1  # between a caller's first audio and his hang-up, where only the two ends are of interest
POLL_SECONDS: Final = 0.005


@attrs.define(eq=False)
class Load:
    """The calls of this process, and what may be asked of them. Mutable. Everything raises LoadFailure."""

    exchange: Exchange
    _ends: list[CallerEnd] = attrs.field(factory=list)
    _onlooker: Onlooker | None = None

    async def run(self, command: dict[str, Any]) -> dict[str, Any]:
        """`do` names a method, the rest are its arguments. A failure is a reply too."""
        asked = dict(command)
        methods: dict[str, Callable[..., Awaitable[dict[str, Any]]]] = {
            "call": self.call, "measure": self.measure, "measure_all": self.measure_all, "hang_up": self.hang_up,
            "one_by_one": self.one_by_one, "tools": self.tools, "look": self.look, "look_away": self.look_away,
            "drop": self.drop,
        }  # fmt: skip
        try:
            return await methods[asked.pop("do")](**asked)
        except LoadFailure as exc:
            return {"error": str(exc)}

    async def call(self, url: str, calls: int) -> dict[str, Any]:
        """Connect callers until there are `calls`; return when each hears Vapi and is heard there."""
        began, gate = time.monotonic(), asyncio.Semaphore(DIALS)

        async def connect() -> None:
            async with gate:
                end = await dial(url, self.exchange)
                self._ends.append(end)
                while not end.call.live:
                    check_alive(self.exchange)
                    await asyncio.sleep(POLL_SECONDS)

        try:
            async with asyncio.timeout(OPEN_SECONDS):
                await all_of([connect() for _ in range(calls - len(self._ends))])
        except TimeoutError:
            live = sum(end.call.live for end in self._ends)
            raise LoadFailure(f"only {live} of {calls} calls were up after {OPEN_SECONDS:g} s") from None
        return {"calls": len(self._ends), "seconds": time.monotonic() - began}

    async def measure(self, pid: int, seconds: float) -> dict[str, Any]:
        return await self.measure_all([pid], seconds)

    async def measure_all(
        self, pids: list[int], seconds: float, beside: Sequence[int] = (), tool_every_seconds: float = 0.0
    ) -> dict[str, Any]:
        """A bridge of several processes, and what is `beside` it; each call asks for a tool that often, 0 for never."""
        jobs: list[Coroutine[Any, Any, Any]] = [measure(self.exchange, pids, seconds, beside)]
        if tool_every_seconds:
            jobs.append(post_steadily(self.exchange, tool_every_seconds, seconds))
        try:
            reply, *posts = await all_of(jobs)
        except ProcessLookupError as exc:
            raise LoadFailure("the bridge has died") from exc
        return {**reply, "posts": len(posts[0]) if posts else 0}

    async def tools(self, concurrent: int, posts: int) -> dict[str, Any]:
        return {"posts": await post_tools(self.exchange, concurrent, posts)}

    async def look(self, url: str) -> dict[str, Any]:
        """At the console there, from now on; return when there was something to see."""
        self._onlooker = Onlooker(url)
        await self._onlooker.begin()
        return {}

    async def look_away(self) -> dict[str, Any]:
        onlooker, self._onlooker = self._onlooker, None
        if onlooker is None:
            raise LoadFailure("nobody looks")
        return await onlooker.end()

    async def hang_up(self) -> dict[str, Any]:
        """All callers at once; return when both ends of every call are closed."""
        began = time.monotonic()
        for end in self._ends:
            end.hang_up()
        await asyncio.gather(*(end.wait_gone() for end in self._ends))
        calls = list(self.exchange.vapi_calls.values())
        while any(call.connected_at_ns and not call.closed_at_ns for call in calls):
            if time.monotonic() - began > CLOSED_SECONDS:
                raise LoadFailure("the bridge left calls at Vapi open")
            await asyncio.sleep(POLL_SECONDS)
        self._forget()
        return {"seconds": time.monotonic() - began}

    async def drop(self) -> dict[str, Any]:
        """End all calls by force, without waiting for the bridge."""
        for end in self._ends:
            end.drop()
        if self._onlooker is not None:
            await self._onlooker.stop()
            self._onlooker = None
        self._forget()
        return {}

    def _forget(self) -> None:
        self._ends.clear()
        self.exchange.forget()

    async def one_by_one(self, url: str, calls: int) -> dict[str, Any]:
        """One short call after the other. Per call, in ms: set-up without Vapi's part, and from the hang-up until
        Vapi's socket is closed, and until the end was told (null when it never was)."""
        setups, closes, ends = [], [], []
        for _ in range(calls):
            await self.call(url, 1)
            caller = self._ends[0].call
            call = caller.vapi
            assert call is not None
            await asyncio.sleep(TALK_SECONDS)
            await self.hang_up()
            setups.append((caller.heard_at_ns - caller.dialled_at_ns - call.vapi_took_ns) / 1e6)
            closes.append((call.closed_at_ns - caller.hung_up_at_ns) / 1e6)
            ends.append((call.end_seen_at_ns - caller.hung_up_at_ns) / 1e6 if call.end_seen_at_ns else None)
        return {"setup_ms": setups, "closed_ms": closes, "end_seen_ms": ends}
