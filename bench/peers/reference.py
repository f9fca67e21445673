"""The usual architecture for such a bridge, FastAPI on uvloop, written plainly: the peer to measure against.

FastAPI under uvicorn[standard], `websockets` to Vapi, httpx for REST; two asyncio tasks per call, one for each
direction; on the assistant's `stopped`, 1,700 ms of silence to the caller in one burst. Nothing is done cleverly,
nothing slowly: one httpx client and one TLS context for all calls, and every library as it comes.

`python -m bench.peers.reference --vapi-base-url URL` prints where it listens. The libraries honour SSL_CERT_FILE.
"""

import argparse
import asyncio
import json
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx  # noqa: ASYNC127  # the usual choice beside FastAPI
import uvicorn
import websockets
from fastapi import FastAPI, Request, WebSocket, WebSocketDisconnect
from websockets.asyncio.client import ClientConnection

TAIL: Final = bytes(int(1.7 * 24_000) * 2)
CARDS: Final[Mapping[str, Mapping[str, Any]]] = {
    "4242": {"card_id": 5, "kind": "debit", "status": "active", "full_name": "Dana Whitfield"}
}


def build_app(vapi_base_url: str, public_base_url: str) -> FastAPI:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.tls = ssl.create_default_context()
        async with httpx.AsyncClient(base_url=vapi_base_url, verify=app.state.tls) as app.state.vapi:
            yield

    app = FastAPI(lifespan=lifespan)

    @app.websocket("/voice")
    async def voice(caller: WebSocket) -> None:
        await caller.accept()
        try:
            reply = await app.state.vapi.post("/call", json=call_request(public_base_url))
            reply.raise_for_status()
            url = reply.json()["transport"]["websocketCallUrl"]
            tls = app.state.tls if url.startswith("wss:") else None
            async with websockets.connect(url, ssl=tls, max_size=None) as vapi:
                await bridge(caller, vapi)
        except (httpx.HTTPError, OSError, websockets.WebSocketException):
            await caller.close(1011, "callee_no_answer")

    @app.post("/tool")
    async def tool(request: Request) -> dict[str, Any]:
        message = (await request.json())["message"]
        return {"results": [answer(call) for call in message["toolCallList"]]}

    return app


async def bridge(caller: WebSocket, vapi: ClientConnection) -> None:
    """Carry audio both ways until one side is done."""
    pumps = {asyncio.create_task(caller_to_vapi(caller, vapi)), asyncio.create_task(vapi_to_caller(vapi, caller))}
    _, running = await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
    for pump in running:
        pump.cancel()
    await asyncio.gather(*pumps, return_exceptions=True)


async def caller_to_vapi(caller: WebSocket, vapi: ClientConnection) -> None:
    try:
        while True:
            await vapi.send(await caller.receive_bytes())
    except (WebSocketDisconnect, websockets.ConnectionClosed):
        pass


async def vapi_to_caller(vapi: ClientConnection, caller: WebSocket) -> None:
    try:
        async for message in vapi:
            if isinstance(message, bytes):
                await caller.send_bytes(message)
                continue
            event = json.loads(message)
            if event.get("type") == "speech-update" and event.get("role") == "assistant":
                if event.get("status") == "stopped":
                    await caller.send_bytes(TAIL)
            elif event.get("type") == "status-update" and event.get("status") == "ended":
                break
    except (WebSocketDisconnect, websockets.ConnectionClosed):
        return
    await caller.close()


def call_request(public_base_url: str) -> dict[str, Any]:
    """The body of POST /call: 24 kHz PCM16 both ways, and an inline assistant with one tool."""
    function = {
        "name": "display_card_info_by_last4",
        "description": "Look a card up by its last four digits.",
        "parameters": {"type": "object", "properties": {"last4": {"type": "string"}}, "required": ["last4"]},
    }
    server = {"url": f"{public_base_url}/tool", "timeoutSeconds": 20}
    return {
        "transport": {
            "provider": "vapi.websocket",
            "audioFormat": {"format": "pcm_s16le", "container": "raw", "sampleRate": 24_000},
        },
        "assistant": {
            "firstMessage": "Thanks for calling Acme Bank, this is Riley — how can I help?",
            "model": {
                "provider": "openai",
                "model": "gpt-4o-mini",
                "messages": [{"role": "system", "content": "You are Riley, card support at Acme Bank."}],
                "tools": [{"type": "function", "function": function, "server": server}],
            },
            "voice": {"provider": "openai", "voiceId": "alloy"},
            "transcriber": {"provider": "deepgram", "model": "nova-2", "language": "en"},
        },
    }


def answer(call: Mapping[str, Any]) -> dict[str, Any]:
    """The tool itself takes no time: a look into a dict, no database."""
    card = CARDS.get(call["function"]["arguments"].get("last4", ""))
    return {"toolCallId": call["id"], "result": json.dumps(card or {"error": "no such card"})}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--vapi-base-url", required=True)
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    with socket.create_server(("127.0.0.1", options.port)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        print(f"voice listening on ws://{address}/voice", flush=True)  # noqa: T201  # for whoever started it
        app = build_app(options.vapi_base_url, f"http://{address}")
        uvicorn.Server(uvicorn.Config(app)).run(sockets=[listener])


if __name__ == "__main__":
    main()
