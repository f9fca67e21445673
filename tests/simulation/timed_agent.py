"""An agent that speaks when a test says so and knows to the millisecond when it did: the truth to measure against."""

import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial

import attrs
import numpy as np
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection

from simulation.background import open_background
from simulation.network import TrioSockets, VirtualNetwork, port_of
from simulation.pcm import FRAME_SECONDS, SAMPLE_RATE_HZ, bytes_for
from simulation.websockets import read_handshake

TAIL = bytes(bytes_for(1.7))
APART_SECONDS = 0.1
LOUD = 1_000


def tone(seconds: float, dbfs: float = -20.0, hertz: float = 313.0) -> bytes:
    peak = 32_768 * 10 ** (dbfs / 20) * math.sqrt(2)
    at = np.arange(round(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    return (peak * np.sin(2 * np.pi * hertz * at)).astype("<i2").tobytes()


@attrs.define(eq=False)
class TimedAgent:
    """`spoken`: begin and end of each tone as it is sent; `heard`: the same of what came. Trio's time, both."""

    script: Callable[["TimedAgent"], Awaitable[None]]
    url: str = ""
    spoken: list[tuple[float, float]] = attrs.field(factory=list)
    heard: list[tuple[float, float]] = attrs.field(factory=list)
    received: bytearray = attrs.field(factory=bytearray)
    last_frame_at: float = 0.0
    _connection: WebSocketConnection | None = None
    _news: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot)

    async def say(self, seconds: float, *, stops_for_caller_after: float | None = None, tail: bool = True) -> None:
        """A tone in real time, 46 ms a message; it can be cut when the caller has been audible for so long."""
        pcm, began, stretches = tone(seconds), trio.current_time(), len(self.heard)
        size, sent = bytes_for(0.046), 0
        self.spoken.append((began, began + seconds))
        while sent < len(pcm):
            await trio.sleep_until(began + sent / 48_000)
            if stops_for_caller_after is not None and len(self.heard) > stretches:
                begun, ended = self.heard[-1]
                if ended - begun >= stops_for_caller_after:
                    break
            await self.send(pcm[sent : sent + size])
            sent = min(len(pcm), sent + size)
        self.spoken[-1] = (began, began + sent / 48_000)
        await trio.sleep_until(began + sent / 48_000)
        if tail:
            await self.send(TAIL)

    async def send(self, pcm: bytes) -> None:
        assert self._connection is not None
        await self._connection.send_message(pcm)

    async def caller_has_spoken(self, times: int) -> float:
        """When the caller's so-manieth stretch ended, once it has been quiet for a while."""
        while len(self.heard) < times or trio.current_time() - self.heard[times - 1][1] < 2 * APART_SECONDS:
            await self._news.park()
        return self.heard[times - 1][1]

    async def serve(self, stream: trio.SocketStream) -> None:
        async with open_background() as nursery:
            self._connection = await (await read_handshake(nursery, stream)).accept()
            nursery.start_soon(self._play)
            try:
                while True:
                    self._hear(await self._connection.get_message())
            except ConnectionClosed:
                nursery.cancel_scope.cancel()

    async def _play(self) -> None:
        with suppress(ConnectionClosed):
            await self.script(self)

    def _hear(self, frame: bytes) -> None:
        self.last_frame_at = now = trio.current_time()
        self.received += frame
        if np.abs(np.frombuffer(frame, "<i2").astype(np.int32)).max() >= LOUD:
            begun, ended = self.heard[-1] if self.heard else (0.0, -1.0)
            if now - ended > APART_SECONDS:
                self.heard.append((now, now + FRAME_SECONDS))
            else:
                self.heard[-1] = (begun, now + FRAME_SECONDS)
        self._news.unpark_all()


@asynccontextmanager
async def open_timed_agent(script: Callable[[TimedAgent], Awaitable[None]]) -> AsyncIterator[TimedAgent]:
    """The agent, in a network of its own with 10 ms one way."""
    with VirtualNetwork().installed():
        listeners = await TrioSockets().listen("127.0.0.1", 0)
        agent = TimedAgent(script, f"ws://127.0.0.1:{port_of(listeners)}/")
        async with open_background() as nursery:
            await nursery.start(partial(trio.serve_listeners, agent.serve, list(listeners)))
            yield agent
