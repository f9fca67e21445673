"""Vapi's REST API, as far as a bridge needs it: POST and GET /call, the control URL, DELETE. HTTP/1.1, kept alive."""

import asyncio
import json
import ssl
import time
import uuid
from collections.abc import Mapping
from typing import Any, cast

import h11

from bench.load.calls import Exchange
from bench.load.vapi_socket import VapiSockets


class RestConnection(asyncio.Protocol):
    """One connection of a bridge. A request is answered as soon as it is whole: nothing here takes time."""

    def __init__(self, exchange: Exchange, sockets: VapiSockets, base_url: str) -> None:
        self._exchange = exchange
        self._sockets = sockets
        self._base_url = base_url
        self._http = h11.Connection(h11.SERVER)
        self._request: h11.Request | None = None
        self._body = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are not subclasses of it

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        try:
            self._http.receive_data(data)
            while self._take(self._http.next_event()):
                pass
        except h11.RemoteProtocolError:
            self._transport.close()

    def _take(self, event: Any) -> bool:
        """Whether there may be more to take."""
        if isinstance(event, h11.Request):
            self._request, self._body = event, b""
        elif isinstance(event, h11.Data):
            self._body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            self._answer()
        else:
            return False  # NEED_DATA, PAUSED or the end of the connection
        return True

    def _answer(self) -> None:
        assert self._request is not None
        assert self._transport is not None
        asked_at = time.monotonic_ns()
        method, path = self._request.method.decode(), self._request.target.decode().partition("?")[0]
        call_id = path.removeprefix("/call").strip("/").partition("/")[0]
        if (method, call_id) == ("POST", ""):
            status, reply = self._create(asked_at)
        else:
            status, reply = self._known(method, path, call_id, asked_at)
        body = json.dumps(reply).encode()
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
        parts = (h11.Response(status_code=status, headers=headers), h11.Data(data=body), h11.EndOfMessage())
        self._transport.write(b"".join(self._http.send(part) or b"" for part in parts))
        if status == 201:
            self._exchange.vapi_calls[str(reply["id"])].answered_at_ns = time.monotonic_ns()
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
        else:
            self._transport.close()

    def _create(self, asked_at_ns: int) -> tuple[int, dict[str, Any]]:
        call_id = str(uuid.uuid4())
        self._exchange.new_vapi_call(call_id, _tool_server(json.loads(self._body)), asked_at_ns)
        transport = {"provider": "vapi.websocket", "websocketCallUrl": self._sockets.url(call_id)}
        return 201, {"id": call_id, "type": "vapi.websocketCall", "status": "queued", "transport": transport}

    def _known(self, method: str, path: str, call_id: str, now_ns: int) -> tuple[int, dict[str, Any]]:
        """A request about a call: to look at it, or to end it by its control URL or DELETE."""
        call = self._exchange.vapi_calls.get(call_id)
        if call is None:
            return 404, {"message": "there is no such call", "statusCode": 404}
        if method == "DELETE" or (method == "POST" and path.endswith("/control")):
            call.end_seen_at_ns = call.end_seen_at_ns or now_ns
        status = "ended" if call.closed_at_ns else "in-progress"
        monitor = {"controlUrl": f"{self._base_url}/call/{call_id}/control"}
        return 200, {"id": call_id, "status": status, "monitor": monitor}


def _tool_server(body: Any) -> Mapping[str, Any]:
    """The first tool's `server`, else the assistant's."""
    assistant = body.get("assistant", {})
    tools = assistant.get("model", {}).get("tools", [])
    server = (tools[0].get("server") if tools else None) or assistant.get("server") or {}
    return server if isinstance(server, dict) else {}


async def open_vapi_rest(exchange: Exchange, sockets: VapiSockets, tls: ssl.SSLContext | None) -> str:
    """Its base URL. Open for as long as the process lives."""
    scheme = "http" if tls is None else "https"
    base_url = ""
    server = await asyncio.get_running_loop().create_server(
        lambda: RestConnection(exchange, sockets, base_url), "127.0.0.1", 0, ssl=tls
    )
    base_url = f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    return base_url
