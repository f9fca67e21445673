"""The smallest bridge that can hold a call: enough to run the simulated parties against each other in these tests.

It is not the product and imports nothing of it. ``Faults`` break the audio the way real bridges do.
"""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import attrs
import httpx
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection

from simulation.background import open_background
from simulation.http_server import HttpReply, HttpRequest, json_reply, serve_http_connection
from simulation.network import TrioSockets, port_of
from simulation.websockets import close_socket, open_client_socket, read_handshake

TAIL = bytes(2 * 24 * 1_700)
TOOL_NAMES = ("display_card_info_by_last4", "request_card_replacement")
Tool = Callable[[str, dict[str, Any]], str]


@attrs.define(eq=False)
class Bridge:
    """Caller's socket in, Vapi's socket out, the webhook between."""

    vapi_url: str
    engine_url: str
    tool: Tool
    voice_port: int = 0
    webhook_port: int = 0
    pays_tail: bool = True
    drop_frame: int | None = None
    """Lose the caller's frame of that number."""
    client_messages: tuple[str, ...] = ("status-update", "speech-update", "user-interrupted")

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.voice_port}/voice"

    def call_body(self) -> dict[str, Any]:
        server = {"url": f"http://127.0.0.1:{self.webhook_port}/tool", "timeoutSeconds": 20, "headers": {"x-key": "k"}}
        tools = [{"type": "function", "function": {"name": name}, "server": server} for name in TOOL_NAMES]
        return {
            "name": "naive",
            "transport": {
                "provider": "vapi.websocket",
                "audioFormat": {"format": "pcm_s16le", "container": "raw", "sampleRate": 24000},
            },
            "assistant": {
                "firstMessage": "Hello",
                "model": {"provider": "openai", "model": "gpt-4o-mini", "tools": tools},
                "clientMessages": list(self.client_messages),
            },
        }

    async def serve_voice(self, http: httpx.AsyncClient, stream: trio.SocketStream) -> None:
        try:
            async with open_background() as nursery:
                caller = await (await read_handshake(nursery, stream)).accept()
                headers = {"authorization": "Bearer simulated-key"}
                reply = await http.post(f"{self.vapi_url}/call", json=self.call_body(), headers=headers)
                if reply.status_code != 201:
                    await close_socket(caller, 1011, "callee_no_answer: vapi_rejected")
                    return
                async with open_client_socket(TrioSockets(), reply.json()["transport"]["websocketCallUrl"]) as vapi:
                    await self._pump(caller, vapi)
        except ConnectionClosed:
            pass
        finally:
            await trio.aclose_forcefully(stream)

    async def _pump(self, caller: WebSocketConnection, vapi: WebSocketConnection) -> None:
        async with trio.open_nursery() as nursery:

            async def uplink() -> None:
                number = 0
                try:
                    while True:
                        frame = await caller.get_message()
                        if number != self.drop_frame:
                            await vapi.send_message(frame)
                        number += 1
                except ConnectionClosed:
                    nursery.cancel_scope.cancel()

            nursery.start_soon(uplink)
            try:
                await self._downlink(caller, vapi)
            except ConnectionClosed:
                nursery.cancel_scope.cancel()
        await close_socket(vapi, 1000)
        await close_socket(caller, 1000)

    async def _downlink(self, caller: WebSocketConnection, vapi: WebSocketConnection) -> None:
        carry = b""
        while True:
            message = await vapi.get_message()
            if isinstance(message, bytes):
                data = carry + message
                whole = len(data) - len(data) % 2
                carry = data[whole:]
                await caller.send_message(data[:whole])
                continue
            content = json.loads(message)
            kind = (content["type"], content.get("status"), content.get("role"))
            if kind == ("speech-update", "stopped", "assistant") and self.pays_tail:
                await caller.send_message(TAIL)

    async def answer(self, http: httpx.AsyncClient, request: HttpRequest) -> HttpReply:
        message = json.loads(request.body)["message"]
        results = []
        for entry in message["toolCallList"]:
            name, arguments = entry["function"]["name"], entry["function"]["arguments"]
            result = self.tool(name, arguments)
            results.append({"toolCallId": entry["id"], "name": name, "result": result})
            report = {"name": name, "arguments": arguments, "result": result}
            event = {"service": "agent", "event_type": "agent_tool_call", "data": report}
            await http.post(f"{self.engine_url}/simulations/s1/events", json=event)
        return json_reply(200, {"results": results})


@asynccontextmanager
async def open_bridge(vapi_url: str, engine_url: str, tool: Tool, **settings: Any) -> AsyncIterator[Bridge]:
    """Run the bridge for the length of the block."""
    bridge = Bridge(vapi_url, engine_url, tool, **settings)
    voice = await TrioSockets().listen("127.0.0.1", 0)
    webhook = await TrioSockets().listen("127.0.0.1", 0)
    bridge.voice_port, bridge.webhook_port = port_of(voice), port_of(webhook)
    async with httpx.AsyncClient(trust_env=False) as http, open_background() as nursery:
        serve_webhook = partial(serve_http_connection, handler=partial(bridge.answer, http))
        await nursery.start(partial(trio.serve_listeners, partial(bridge.serve_voice, http), list(voice)))
        await nursery.start(partial(trio.serve_listeners, serve_webhook, list(webhook)))
        yield bridge
