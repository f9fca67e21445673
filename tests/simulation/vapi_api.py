"""Requests to a simulated Vapi, and speech short enough for tests."""

from typing import Any

import attrs
import httpx

from simulation.scenario import AgentTurn
from simulation.speech import Tones
from simulation.vapi_cloud import VapiCloud

QUICK = Tones(ms_per_word=80)
GREETING = AgentTurn("good day to you")


@attrs.frozen
class Api:
    """REST requests to a cloud, with the right key unless a test says otherwise."""

    cloud: VapiCloud
    http: httpx.AsyncClient

    async def create(self, body: Any = None, **headers: str) -> httpx.Response:
        body = call_body() if body is None else body
        return await self.http.post(f"{self.cloud.base_url}/call", json=body, headers=headers)

    async def get(self, path: str) -> httpx.Response:
        return await self.http.get(f"{self.cloud.base_url}{path}")

    async def transport(self, body: Any = None) -> str:
        """Create a call; the URL of its socket."""
        reply = await self.create(body)
        assert reply.status_code == 201, reply.text
        return str(reply.json()["transport"]["websocketCallUrl"])


def call_body(*, tool_url: str | None = None, **assistant: Any) -> dict[str, Any]:
    """A request the cloud accepts; ``assistant`` overrides or adds."""
    model: dict[str, Any] = {"provider": "openai", "model": "gpt-4o-mini"}
    if tool_url is not None:
        server = {"url": tool_url, "timeoutSeconds": 1, "headers": {"x-voice-secret": "s"}}
        model["tools"] = [{"type": "function", "function": {"name": "find"}, "server": server}]
    return {
        "transport": {
            "provider": "vapi.websocket",
            "audioFormat": {"format": "pcm_s16le", "container": "raw", "sampleRate": 24000},
        },
        "assistant": {"firstMessage": "Hello", "model": model, **assistant},
    }
