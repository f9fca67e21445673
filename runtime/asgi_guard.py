"""Between hypercorn and an app: what neither of them bounds."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

import attrs
import trio

from runtime import limits

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


@attrs.frozen
class Guard:
    """An ASGI app round another. A target that is no address gets a 400 (quart-trio would raise), and whatever Host was
    named, the app sees the same one: nothing depends on it, and werkzeug raises on some. Of bodies that are longer than
    a tool call needs, LARGE_BODIES are received at once; the others wait, and their senders with them."""

    app: App
    large_bodies: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(limits.LARGE_BODIES))

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket") and not _is_address(scope["path"]):
            await _refuse(scope["type"], send)
            return
        if "headers" in scope:
            named = [(name, value) for name, value in scope["headers"] if name.lower() != b"host"]
            scope = {**scope, "headers": [*named, (b"host", b"webhook")]}
        body = _Body(self.large_bodies, receive)
        try:
            await self.app(scope, body.receive, send)
        finally:
            body.done()


@attrs.define(eq=False)
class _Body:
    """One request's body. Mutable: `_size_bytes`, and `_admitted` once it is one of the large ones."""

    _large: trio.CapacityLimiter
    _receive: Receive
    _size_bytes: int = 0
    _admitted: bool = False

    async def receive(self) -> Message:
        message = await self._receive()
        self._size_bytes += len(message.get("body", b""))
        if self._size_bytes > limits.SMALL_BODY_BYTES and not self._admitted:
            await self._large.acquire_on_behalf_of(self)
            self._admitted = True
        return message

    def done(self) -> None:
        if self._admitted:
            self._large.release_on_behalf_of(self)


def _is_address(target: str) -> bool:
    try:
        urlsplit(target)
    except ValueError:
        return False
    return True


async def _refuse(kind: str, send: Send) -> None:
    if kind == "websocket":
        await send({"type": "websocket.close", "code": 1000})
        return
    body = b'{"error":"the target is not an address"}'
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 400, "headers": headers})
    await send({"type": "http.response.body", "body": body})
