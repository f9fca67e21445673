"""The cloud under load: the simulated Vapi's REST API as it is, and call sockets that cost as little as the product's.

The assistants speak in turns of 12 s: `started`, a frame every 20 ms, `stopped`, 240 ms of nothing. So a bridge has
the odd text to read, and owes its caller a silent tail, as in a real call.
"""

import json
import logging
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

import attrs
import trio

from runtime.http_door import behind_the_barrier
from runtime.leg import Closed, LegClosed, LegStalled, Message, Passing, Text
from runtime.switchboard import Switchboard
from runtime.ws_handshake import Upgrade, receive_upgrade, tune
from runtime.ws_leg import WebSocketLeg
from simulation.background import open_background
from simulation.behaviour import Behaviour
from simulation.http_server import serve_http_connection
from simulation.network import TrioSockets, port_of
from simulation.speech import Tones
from simulation.vapi_account import VapiCloud
from simulation.vapi_call import SimulatedCall
from simulation.vapi_rest import Rest
from simulation.webhook_client import WebhookClient
from stress.asks import Asks
from stress.ends import End, Half
from stress.ledger import Ledger
from stress.tools import Tools

HOST: Final = "127.0.0.1"
API_KEY: Final = "simulated-key"
TURN_SECONDS: Final = 12.0
PAUSE_SECONDS: Final = 0.240
CLOSE_SECONDS: Final = 5.0
_GOLDEN: Final = 0.6180339887498949
_log = logging.getLogger(__name__)


class CloudWire:
    """Audio is bare; the one text that a bridge sends ends the call."""

    farewell: str | None = None

    def decode(self, message: Message) -> Passing | Closed:
        return Closed(1000, "end-call") if isinstance(message, Text) else message

    def encode(self, pcm: bytes) -> bytes | str:
        return pcm


@attrs.define(eq=False)
class CloudEnd(End):
    """Mutable: where in its turn the assistant is, in frames."""

    say: Callable[[str, int], None] = lambda _status, _turn: None
    _place: int = 0
    _turn: int = 0

    def begin(self, number: int) -> None:
        """The first turn is a part of one: assistants do not pause in step."""
        self._place = self._pause_frames + int(number * _GOLDEN % 1.0 * self._turn_frames / 2)
        self.say("started", self._turn)

    def tick(self) -> None:
        self._place += 1
        if self._place <= self._pause_frames:
            if self._place == self._pause_frames:  # said before the first frame, which is due a tick later
                self._turn += 1
                self.say("started", self._turn)
        elif self._place >= self._turn_frames:
            self._place = 0
            self.say("stopped", self._turn)
        else:
            super().tick()

    @property
    def _turn_frames(self) -> int:
        return round(TURN_SECONDS / self.half.frames.period_seconds)

    @property
    def _pause_frames(self) -> int:
        return -int(-PAUSE_SECONDS // self.half.frames.period_seconds)


@attrs.define(eq=False)
class Cloud:
    """The account, the ends of its calls, and what the process may be told. Mutable."""

    half: Half
    switchboard: Switchboard
    vapi: VapiCloud
    tools: Tools
    ends: list[CloudEnd] = attrs.field(factory=list)
    _open: int = 0
    """Sockets."""

    def status(self) -> dict[str, Any]:
        """Sockets that are open, and calls that are not over; what was measured since the last time."""
        return {
            "open": self._open,
            "active": self.vapi.active_calls,
            "tools": self.tools.status(),
            **self.half.status(end.ledger for end in self.ends),
        }

    def quiet(self) -> None:
        """Send and ask no more: what is on its way may arrive."""
        self.half.pacer.quiet = self.tools.quiet = True

    def account(self) -> dict[str, Any]:
        """What each end tells of itself."""
        return {"ends": [end.told() for end in self.ends]}

    async def serve(self, stream: trio.SocketStream) -> None:
        """One connection to the transport host. Raises nothing but Cancelled."""
        await behind_the_barrier(partial(self._serve, stream), stream)

    async def _serve(self, stream: trio.SocketStream) -> None:
        tune(stream)
        line = self.switchboard.line(stream.socket)
        try:
            async with open_background() as nursery:
                upgrade = await receive_upgrade(nursery, line)
                if upgrade is not None:
                    await self._admit(upgrade)
        finally:
            line.close()

    async def _admit(self, upgrade: Upgrade) -> None:
        call = self.vapi.find(upgrade.path.strip("/").partition("/")[0])
        if call is None or call.dialled:
            await upgrade.reject(404, "there is no such call")
            return
        call.dialled, call.status = True, "in-progress"
        self._open += 1
        try:
            await self._hold(call, await upgrade.accept(CloudWire()))
        finally:
            self._open -= 1
            call.end("customer-ended-call", by="client")
            call.over.set()

    async def _hold(self, call: SimulatedCall, leg: WebSocketLeg) -> None:
        """Until the bridge, or the account's REST API, ends it."""
        number = len(self.ends)
        ledger = Ledger(self.half.frames, self.half.latencies, from_the_first=True)
        async with open_background() as nursery:
            end = CloudEnd(2 * number + 1, self.half, ledger, say=partial(_say, nursery, leg))
            self.ends.append(end)
            await leg.send_text(json.dumps({"type": "status-update", "status": "in-progress"}))
            end.begin(number)
            nursery.start_soon(self.tools.keep_asking, call, number)
            nursery.start_soon(_listen, end, call, leg)
            await call.ending.wait()
            await leg.aclose(1000, "", CLOSE_SECONDS)


async def _listen(end: CloudEnd, call: SimulatedCall, leg: WebSocketLeg) -> None:
    await end.listen(leg)
    call.end("customer-ended-call", by="client")


def _say(nursery: trio.Nursery, leg: WebSocketLeg, status: str, turn: int) -> None:
    """Tell of the assistant's speech, from where nobody may wait."""
    text = json.dumps({"type": "speech-update", "status": status, "role": "assistant", "turn": turn})

    async def tell() -> None:
        try:
            await leg.send_text(text)
        except (LegClosed, LegStalled):
            _log.debug("a call was over before its assistant's turn")

    nursery.start_soon(tell)


@asynccontextmanager
async def open_cloud(
    half: Half, switchboard: Switchboard, asks: Asks, every_seconds: float, slots: int
) -> AsyncIterator[Cloud]:
    """A cloud for the body, on sockets as Trio makes them. `slots`: calls at once that its account has."""
    net, behaviour = TrioSockets(), Behaviour()
    rest_listeners, audio_listeners = await net.listen(HOST, 0), await net.listen(HOST, 0)
    vapi = VapiCloud(
        host=HOST,
        port=port_of(rest_listeners),
        transport_port=port_of(audio_listeners),
        api_key=API_KEY,
        slots=slots,
        behaviour=behaviour,
        agent=(),
        voice=Tones(),
        rng=random.Random(),
    )
    async with open_background() as nursery:
        tools = Tools(asks, every_seconds, WebhookClient(net), behaviour)
        cloud = Cloud(half, switchboard, vapi, tools)
        rest = Rest(vapi, lambda _call: None)
        serve_rest = partial(serve_http_connection, handler=rest.answer)
        await nursery.start(partial(trio.serve_listeners, serve_rest, list(rest_listeners)))
        await nursery.start(partial(trio.serve_listeners, cloud.serve, list(audio_listeners)))
        yield cloud
