"""A small HTTP/1.1 server on h11, for the simulated cloud's REST side and the engine.

Not the product's HTTP stack on purpose: a misreading shared by both ends would pass every test. Each connection is
served inside a barrier: what goes wrong on one ends that one. Keep-alive works; every wait has a deadline.
"""

import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

import attrs
import h11
import trio

IDLE_SECONDS = 30.0
REQUEST_SECONDS = 10.0
SEND_SECONDS = 10.0
MAX_BODY_BYTES = 4 * 1024 * 1024
READ_BYTES = 64 * 1024

_log = logging.getLogger(__name__)


@attrs.frozen
class HttpRequest:
    """One request; header names in lower case, the last of doubled headers and query names wins."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes


@attrs.frozen
class HttpReply:
    """One answer; ``close`` asks the peer not to use the connection again."""

    status: int
    body: bytes = b""
    content_type: str = "application/json; charset=utf-8"
    close: bool = False


def json_reply(status: int, content: Any, *, close: bool = False) -> HttpReply:
    """An answer whose body is ``content`` as compact JSON."""
    return HttpReply(status, json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode(), close=close)


Handler = Callable[[HttpRequest], Awaitable[HttpReply | None]]
"""Answers one request; None drops the connection without an answer."""


async def serve_http_connection(stream: trio.abc.Stream, handler: Handler) -> None:
    """Serve requests on ``stream`` until the peer leaves, then close it. Raises nothing but Cancelled."""
    try:
        await _serve(stream, handler)
    except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError, h11.RemoteProtocolError):
        # The peer's doing: it left, stalled, or does not speak HTTP.
        _log.debug("an HTTP peer left", exc_info=True)
    except Exception:  # noqa: BLE001  # the connection's barrier
        _log.exception("an HTTP connection failed")
    finally:
        await trio.aclose_forcefully(stream)


async def _serve(stream: trio.abc.Stream, handler: Handler) -> None:
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=64 * 1024)
    while True:
        request = await _receive(stream, connection)
        if request is None:
            return
        reply = await handler(request)
        if reply is None:
            return
        await _answer(stream, connection, reply)
        if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
            return
        connection.start_next_cycle()


async def _receive(stream: trio.abc.Stream, connection: h11.Connection) -> HttpRequest | None:
    """The next request, or None when the peer has left between two."""
    with trio.fail_after(IDLE_SECONDS):
        head = await _next_event(stream, connection)
    if not isinstance(head, h11.Request):
        return None
    body = bytearray()
    with trio.fail_after(REQUEST_SECONDS):
        while not isinstance(event := await _next_event(stream, connection), h11.EndOfMessage):
            if not isinstance(event, h11.Data):
                return None
            body += event.data
            if len(body) > MAX_BODY_BYTES:
                await _answer(stream, connection, json_reply(413, {"message": "Payload Too Large"}, close=True))
                return None
    target = urlsplit(head.target.decode("ascii", "replace"))
    return HttpRequest(
        method=head.method.decode("ascii"),
        path=target.path,
        query={name: values[-1] for name, values in parse_qs(target.query).items()},
        headers={name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers},
        body=bytes(body),
    )


async def _next_event(stream: trio.abc.Stream, connection: h11.Connection) -> Any:
    while True:
        event = connection.next_event()
        if event is not h11.NEED_DATA:
            return event
        if connection.they_are_waiting_for_100_continue:
            await stream.send_all(connection.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")
        connection.receive_data(bytes(await stream.receive_some(READ_BYTES)))


async def _answer(stream: trio.abc.Stream, connection: h11.Connection, reply: HttpReply) -> None:
    headers = [("content-type", reply.content_type), ("content-length", str(len(reply.body)))]
    if reply.close:
        headers.append(("connection", "close"))
    data = connection.send(h11.Response(status_code=reply.status, headers=headers)) or b""
    data += connection.send(h11.Data(data=reply.body)) or b""
    data += connection.send(h11.EndOfMessage()) or b""
    with trio.fail_after(SEND_SECONDS):
        await stream.send_all(data)
