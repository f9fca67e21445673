"""Vapi's WebSocket transport: audio both ways, and the texts of a conversation.

The assistant speaks in turns of 12 s: `started`, frames every 20 ms, `stopped`, 240 ms of nothing. So a bridge has
the odd text to read, and owes its caller a silent tail, as in a real call.
"""

import json
import ssl
import time
from typing import Any, Final

import attrs
from picows import (
    WSCloseCode,
    WSFrame,
    WSListener,
    WSMsgType,
    WSTransport,
    WSUpgradeRequest,
    ws_create_server,
)

from bench.load.calls import Exchange, VapiCall
from bench.load.pacer import Rhythm

TURN_TICKS: Final = 600
PAUSE_TICKS: Final = 12
_SPREAD: Final = 0.7548776662466927  # of the calls' turns over the 12 s


class VapiEnd(WSListener):  # type: ignore[misc, unused-ignore]
    """What picows tells of one call's socket at Vapi."""

    def __init__(self, call: VapiCall, exchange: Exchange) -> None:
        super().__init__()
        self._call = call
        self._exchange = exchange
        self._transport: WSTransport | None = None
        self._rhythm: Rhythm | None = None
        self._place = PAUSE_TICKS + int(call.seat * _SPREAD % 1.0 * (TURN_TICKS - PAUSE_TICKS))
        self._turn = 0

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._call.connected_at_ns = time.monotonic_ns()
        self._transport = transport
        self._say({"type": "status-update", "status": "in-progress"})
        self._speech("started")
        self._call.down.send(self._write, time.monotonic_ns())
        self._call.spoke_at_ns = time.monotonic_ns()
        self._rhythm = self._exchange.pacer.add(self._tick, 2 * self._call.seat + 1)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        now = time.monotonic_ns()
        kind = frame.msg_type
        if kind == WSMsgType.BINARY:
            audio = frame.get_payload_as_bytes()
            if self._call.caller is None:
                self._exchange.introduce(self._call, audio)
                if self._call.caller is None:
                    return
            self._call.caller.up.receive(audio, now)
        elif kind == WSMsgType.TEXT:
            if b'"end-call"' in frame.get_payload_as_bytes():
                self._call.end_seen_at_ns = self._call.end_seen_at_ns or now
        elif kind == WSMsgType.CLOSE:
            self._over(now)
            transport.send_close(WSCloseCode.OK)
            transport.disconnect()

    def on_ws_disconnected(self, _transport: WSTransport) -> None:
        self._over(time.monotonic_ns())

    def _over(self, now_ns: int) -> None:
        if self._rhythm is not None:
            self._rhythm.stop()
        self._call.closed_at_ns = self._call.closed_at_ns or now_ns

    def _tick(self, now_ns: int) -> None:
        self._place = (self._place + 1) % TURN_TICKS
        if self._place >= PAUSE_TICKS:
            if self._place == PAUSE_TICKS:
                self._turn += 1
                self._speech("started")
            self._call.down.send(self._write, now_ns)
        elif self._place == 0:
            self._speech("stopped")

    def _speech(self, status: str) -> None:
        self._say({"type": "speech-update", "status": status, "role": "assistant", "turn": self._turn})

    def _say(self, message: dict[str, Any]) -> None:
        assert self._transport is not None
        self._transport.send(WSMsgType.TEXT, json.dumps(message))

    def _write(self, frame: bytes) -> None:
        assert self._transport is not None
        self._transport.send(WSMsgType.BINARY, frame)


@attrs.frozen
class VapiSockets:
    """Where calls' sockets are dialled: a WebSocket server for one transport."""

    scheme: str
    port: int

    def url(self, call_id: str) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}/{call_id}/transport"


async def open_vapi_sockets(exchange: Exchange, tls: ssl.SSLContext | None) -> VapiSockets:
    """Open for as long as the process lives."""

    def answer(request: WSUpgradeRequest) -> VapiEnd | None:
        call = exchange.vapi_calls.get(request.path.decode("ascii", "replace").split("/")[1])
        return None if call is None or call.connected_at_ns else VapiEnd(call, exchange)

    server = await ws_create_server(answer, "127.0.0.1", 0, ssl=tls)
    return VapiSockets("ws" if tls is None else "wss", server.sockets[0].getsockname()[1])
