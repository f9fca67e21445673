"""A relay of two picows sockets on uvloop: about the least a WebSocket bridge can cost. The practical floor.

It takes whole frames and sends them on, as picows does by itself: a caller's frame is unmasked in place by picows'
parser and masked anew by `send` (SIMD code, the mask from libc's rand()); one to the caller is copied once, with its
header. No actors, no limits, no tail, no backpressure; text is ignored.

`python -m bench.peers.picows_relay --vapi-base-url URL` prints where it listens.
"""

import argparse
import asyncio
import ssl
from typing import Final

import httpx  # noqa: ASYNC127  # as the reference, for the one request of a call
import uvloop
from picows import (
    WSCloseCode,
    WSFrame,
    WSHandshakeError,
    WSListener,
    WSMsgType,
    WSTransport,
    WSUpgradeRequest,
    ws_connect,
    ws_create_server,
)

REQUEST: Final = {"transport": {"provider": "vapi.websocket"}, "assistant": {}}


class Side(WSListener):  # type: ignore[misc, unused-ignore]
    """One socket of a call; what is binary goes to the other."""

    def __init__(self) -> None:
        super().__init__()
        self.transport: WSTransport | None = None
        self.other: WSTransport | None = None
        self.gone = False

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        kind = frame.msg_type
        if kind == WSMsgType.BINARY:
            if self.other is not None:
                self.other.send(WSMsgType.BINARY, frame.get_payload_as_memoryview())
        elif kind == WSMsgType.CLOSE:
            transport.send_close(WSCloseCode.OK)
            transport.disconnect()

    def on_ws_disconnected(self, _transport: WSTransport) -> None:
        self.gone = True
        self.hang_up_other()

    def hang_up_other(self) -> None:
        if self.other is not None:
            self.other.send_close(WSCloseCode.OK)
            self.other.disconnect()


class Relay:
    def __init__(self, vapi: httpx.AsyncClient, tls: ssl.SSLContext) -> None:
        self._vapi = vapi
        self._tls = tls
        self._calls: set[asyncio.Task[None]] = set()

    def answer(self, _request: WSUpgradeRequest) -> Side:
        caller = Side()
        call = asyncio.get_running_loop().create_task(self._connect(caller))
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)
        return caller

    async def _connect(self, caller: Side) -> None:
        """Create the call and join the two sockets."""
        vapi = Side()
        try:
            reply = await self._vapi.post("/call", json=REQUEST)
            vapi.other = caller.transport  # before it is connected: Vapi may speak in the same packet
            url = reply.json()["transport"]["websocketCallUrl"]
            caller.other, _ = await ws_connect(lambda: vapi, url, ssl_context=self._tls)
        except (httpx.HTTPError, OSError, WSHandshakeError):
            if caller.transport is not None:
                caller.transport.disconnect()
            return
        if caller.gone:
            caller.hang_up_other()


async def serve(vapi_base_url: str, port: int) -> None:
    tls = ssl.create_default_context()
    async with httpx.AsyncClient(base_url=vapi_base_url, verify=tls) as vapi:
        server = await ws_create_server(Relay(vapi, tls).answer, "127.0.0.1", port)
        port = server.sockets[0].getsockname()[1]
        print(f"voice listening on ws://127.0.0.1:{port}/voice", flush=True)  # noqa: T201  # for whoever started it
        await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--vapi-base-url", required=True)
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    uvloop.run(serve(options.vapi_base_url, options.port))


if __name__ == "__main__":
    main()
