"""A voice_ws agent with no bridge and no Vapi behind it: says its lines, one for each turn it hears.

It stands in for the product where only the caller is of interest, and can be told to break each rule of the channel.
"""

import base64
import json
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Literal

import attrs
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection

from simulation.background import open_background
from simulation.network import Network, TrioSockets, port_of
from simulation.pcm import FRAME_BYTES, FRAME_SECONDS, SILENT_FRAME, bytes_for
from simulation.speech import AGENT_VOICE, Tones, Voice
from simulation.voice_activity import VoiceActivity
from simulation.websockets import close_socket, read_handshake

TAIL_MS = 1_700.0

_log = logging.getLogger(__name__)


@attrs.frozen
class Manners:
    """How the loopback agent behaves. ``tail``: one burst of silence, real-time silence, or none.

    ``tail_ms``: its length. ``endpointing_ms``: silence that ends the caller's turn. ``text_frame``: sends one, against
    the rules of binary mode. ``odd_frame``: sends half a sample at the end of its first line. ``hang_up_after``: closes
    with ``close_code`` and ``close_reason`` once it has said that many lines; 0 closes before any. ``echo`` sends the
    caller's own audio back instead of lines.
    """

    protocol: Literal["binary", "json"] = "binary"
    tail: Literal["burst", "paced", "none"] = "burst"
    tail_ms: float = TAIL_MS
    endpointing_ms: float = 300.0
    text_frame: bool = False
    odd_frame: bool = False
    hang_up_after: int | None = None
    close_code: int = 1000
    close_reason: str | None = None
    echo: bool = False


@attrs.define(eq=False)
class Loopback:
    """The running agent. ``heard`` and ``spoken`` are the bytes of its last call, silence of tails left out."""

    port: int
    lines: Sequence[str]
    manners: Manners
    voice: Voice
    heard: bytearray = attrs.field(factory=bytearray, repr=False)
    spoken: bytearray = attrs.field(factory=bytearray, repr=False)

    @property
    def url(self) -> str:
        """Where to call it."""
        return f"ws://127.0.0.1:{self.port}/voice"

    async def serve(self, stream: trio.SocketStream) -> None:
        """One call, inside a barrier."""
        try:
            async with open_background() as nursery:
                connection = await (await read_handshake(nursery, stream)).accept()
                await self._converse(connection)
        except (ConnectionClosed, trio.TooSlowError):
            _log.debug("the caller left")
        except Exception:  # noqa: BLE001  # the connection's barrier
            _log.exception("a loopback call failed")
        finally:
            await trio.aclose_forcefully(stream)

    async def _converse(self, connection: WebSocketConnection) -> None:
        hearing = VoiceActivity()
        said = 0
        if self.manners.hang_up_after == 0:
            await close_socket(connection, self.manners.close_code, self.manners.close_reason)
            return
        await self._say(connection, self.lines[0])
        while True:
            pcm = self._decoded(await connection.get_message())
            self.heard += pcm
            hearing.feed(pcm)
            if self.manners.echo:
                await connection.send_message(self._encoded(pcm))
            elif hearing.silence_ms >= self.manners.endpointing_ms:
                hearing.forget()
                said += 1
                if said < len(self.lines):
                    await self._say(connection, self.lines[said])
            if self.manners.hang_up_after is not None and said + 1 >= self.manners.hang_up_after:
                await close_socket(connection, self.manners.close_code, self.manners.close_reason)
                return

    async def _say(self, connection: WebSocketConnection, text: str) -> None:
        """A line in real time, 20 ms a frame, and the tail."""
        pcm = self.voice.pcm(AGENT_VOICE, text)
        start = trio.current_time()
        for number, position in enumerate(range(0, len(pcm), FRAME_BYTES)):
            await trio.sleep_until(start + number * FRAME_SECONDS)
            frame = pcm[position : position + FRAME_BYTES]
            await connection.send_message(self._encoded(frame))
            self.spoken += frame
        if self.manners.odd_frame:
            await connection.send_message(self._encoded(b"\0"))
        if self.manners.text_frame:
            await connection.send_message("hello")
        await self._pay_tail(connection)

    async def _pay_tail(self, connection: WebSocketConnection) -> None:
        if self.manners.tail == "burst":
            await connection.send_message(self._encoded(bytes(bytes_for(self.manners.tail_ms / 1000))))
        elif self.manners.tail == "paced":
            for _ in range(round(self.manners.tail_ms / 1000 / FRAME_SECONDS)):
                await connection.send_message(self._encoded(SILENT_FRAME))
                await trio.sleep(FRAME_SECONDS)

    def _encoded(self, pcm: bytes) -> bytes | str:
        if self.manners.protocol == "binary":
            return pcm
        return json.dumps({"type": "audio", "audio": base64.b64encode(pcm).decode()})

    def _decoded(self, message: bytes | str) -> bytes:
        return message if isinstance(message, bytes) else base64.b64decode(json.loads(message)["audio"])


@asynccontextmanager
async def open_loopback(
    lines: Sequence[str],
    *,
    manners: Manners | None = None,
    speech: Voice | None = None,
    network: Network | None = None,
    port: int = 0,
) -> AsyncIterator[Loopback]:
    """Run the agent for the length of the block; ``lines[0]`` is its greeting.

    :raises OSError: the port is taken.
    """
    listeners = await (network or TrioSockets()).listen("127.0.0.1", port)
    agent = Loopback(port_of(listeners), lines, manners or Manners(), speech or Tones())
    async with open_background() as nursery:
        await nursery.start(partial(trio.serve_listeners, agent.serve, list(listeners)))
        yield agent
