"""Who a simulated Vapi talks to: a client on a call's socket, and a server for its tools."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import attrs
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection
from vapi_api import Api, call_body

from simulation.background import open_background
from simulation.http_server import HttpReply, HttpRequest, json_reply, serve_http_connection
from simulation.network import TrioSockets, port_of
from simulation.pcm import FRAME_SECONDS, bytes_for, frames_of
from simulation.vapi_call import SimulatedCall
from simulation.websockets import close_socket, open_client_socket


@attrs.define
class Client:
    """A client of one call's socket that keeps what it gets and sends silence or speech at 50 frames a second."""

    socket: WebSocketConnection
    texts: list[dict[str, Any]] = attrs.field(factory=list)
    audio: bytearray = attrs.field(factory=bytearray)
    chunks: list[tuple[float, int]] = attrs.field(factory=list)
    close_code: int | None = None

    async def receive(self) -> None:
        try:
            while True:
                message = await self.socket.get_message()
                if isinstance(message, bytes):
                    self.audio += message
                    self.chunks.append((trio.current_time(), len(message)))
                else:
                    self.texts.append(json.loads(message))
        except ConnectionClosed as closed:
            self.close_code = closed.reason.code if closed.reason else None

    async def say(self, pcm: bytes) -> None:
        start = trio.current_time()
        for number, frame in enumerate(frames_of(pcm)):
            await trio.sleep_until(start + number * FRAME_SECONDS)
            await self.socket.send_message(frame)

    async def be_silent(self, seconds: float) -> None:
        await self.say(bytes(bytes_for(seconds)))

    def seen(self, **wanted: str) -> list[dict[str, Any]]:
        return [text for text in self.texts if wanted.items() <= text.items()]


@asynccontextmanager
async def dialled(
    api: Api, body: dict[str, Any] | None = None, **assistant: Any
) -> AsyncIterator[tuple[Client, SimulatedCall]]:
    """A call of the cloud with a client on its socket; at the end everything is closed."""
    url = await api.transport(body or call_body(**assistant))
    async with open_client_socket(TrioSockets(), url) as socket, trio.open_nursery() as nursery:
        client = Client(socket)
        nursery.start_soon(client.receive)
        yield client, api.cloud.calls[-1]
        await close_socket(socket, 1000)
        nursery.cancel_scope.cancel()


async def until_over(call: SimulatedCall) -> None:
    with trio.fail_after(5):
        await call.over.wait()


@attrs.define
class Webhook:
    """A tool server that keeps the requests and answers with ``reply``."""

    reply: Callable[[HttpRequest], HttpReply | None]
    port: int = 0
    delay_seconds: float = 0.0
    requests: list[HttpRequest] = attrs.field(factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/tool"

    async def answer(self, request: HttpRequest) -> HttpReply | None:
        self.requests.append(request)
        await trio.sleep(self.delay_seconds)
        return self.reply(request)


def good_answer(request: HttpRequest) -> HttpReply:
    calls = json.loads(request.body)["message"]["toolCallList"]
    return json_reply(200, {"results": [{"toolCallId": call["id"], "name": "find", "result": "yes"} for call in calls]})


@asynccontextmanager
async def open_webhook(reply: Callable[[HttpRequest], HttpReply | None] = good_answer) -> AsyncIterator[Webhook]:
    listeners = await TrioSockets().listen("127.0.0.1", 0)
    webhook = Webhook(reply, port_of(listeners))
    async with open_background() as nursery:
        serve = partial(serve_http_connection, handler=webhook.answer)
        await nursery.start(partial(trio.serve_listeners, serve, list(listeners)))
        yield webhook
