"""The callers: each a WebSocket to the bridge, 50 frames a second from the moment it is open, as `voice_ws` says."""

import asyncio
import time
from typing import Final

from picows import WSCloseCode, WSFrame, WSHandshakeError, WSListener, WSMsgType, WSTransport, ws_connect

from bench.load.calls import CallerCall, Exchange
from bench.load.failure import LoadFailure
from bench.load.pacer import Rhythm

CLOSE_SECONDS: Final = 2.0


class CallerEnd(WSListener):  # type: ignore[misc, unused-ignore]
    """What picows tells of one caller's socket."""

    def __init__(self, call: CallerCall, exchange: Exchange) -> None:
        super().__init__()
        self.call = call
        self._exchange = exchange
        self._transport: WSTransport | None = None
        self._rhythm: Rhythm | None = None

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._transport = transport
        self._rhythm = self._exchange.pacer.add(self._tick, 2 * self.call.seat)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        now = time.monotonic_ns()
        kind = frame.msg_type
        if kind == WSMsgType.BINARY:
            audio = frame.get_payload_as_bytes()
            if self.call.vapi is None:
                self._exchange.introduce(self.call, audio)
                if self.call.vapi is None:
                    return  # silence, before any word of Vapi's
            self.call.vapi.down.receive(audio, now)
            if not self.call.heard_at_ns and self.call.vapi.down.arrived:
                self.call.heard_at_ns = now
        elif kind == WSMsgType.CLOSE:
            transport.send_close(WSCloseCode.OK)
            transport.disconnect()

    def on_ws_disconnected(self, _transport: WSTransport) -> None:
        self._stop_sending()
        self.call.gone = True

    def hang_up(self) -> None:
        self._stop_sending()
        self.call.hung_up_at_ns = time.monotonic_ns()
        if self._transport is not None:
            self._transport.send_close(WSCloseCode.OK)

    def drop(self) -> None:
        self._stop_sending()
        if self._transport is not None:
            self._transport.disconnect(graceful=False)

    async def wait_gone(self) -> None:
        """Until the bridge has closed too; by force after 2 s."""
        if self._transport is None:
            return
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._transport.wait_disconnected()
        except TimeoutError:
            self._transport.disconnect(graceful=False)

    def _stop_sending(self) -> None:
        if self._rhythm is not None:
            self._rhythm.stop()

    def _tick(self, now_ns: int) -> None:
        self.call.up.send(self._write, now_ns)

    def _write(self, frame: bytes) -> None:
        assert self._transport is not None
        self._transport.send(WSMsgType.BINARY, frame)


async def dial(url: str, exchange: Exchange) -> CallerEnd:
    """Connect one more caller. Raises LoadFailure."""
    end = CallerEnd(exchange.new_caller(), exchange)
    end.call.dialled_at_ns = time.monotonic_ns()
    try:
        await ws_connect(lambda: end, url)
    except (OSError, WSHandshakeError, TimeoutError) as exc:
        raise LoadFailure(f"a caller could not connect to {url}: {exc or type(exc).__name__}") from exc
    return end
