"""The assistants' tool calls: one POST of a call at a time, through the real door, every few seconds."""

import uuid
from collections.abc import Mapping
from typing import Any, Final

import attrs
import trio

from simulation.behaviour import Behaviour
from simulation.events import wall_now
from simulation.tool_messages import ToolMessage
from simulation.vapi_call import SimulatedCall
from simulation.webhook_client import DEFAULT_TIMEOUT_SECONDS, ToolRequest, WebhookClient, judge
from stress.asks import Ask, Asks
from stress.histogram import Histogram

_GOLDEN: Final = 0.6180339887498949
SHOWN_COMPLAINTS: Final = 5


@attrs.define(eq=False)
class Tools:
    """Mutable: `quiet`, yours: nothing more is asked; the counts; `latencies`, of each POST to its whole answer, yours
    to take."""

    asks: Asks
    every_seconds: float
    webhooks: WebhookClient
    behaviour: Behaviour
    quiet: bool = False
    asked: int = 0
    answered: int = 0
    """As they must be."""
    failed: int = 0
    """Answered otherwise, or not at all."""
    refused: int = 0
    """Answered with an error, which was allowed."""
    complaints: list[str] = attrs.field(factory=list)
    """The first of those that were not answered as they must be."""
    latencies: Histogram = attrs.field(factory=Histogram)

    def status(self) -> dict[str, Any]:
        """The counts, and the latencies since the last time."""
        return {
            "asked": self.asked, "answered": self.answered, "failed": self.failed, "refused": self.refused,
            "complaints": self.complaints, "latencies": self.latencies.take().as_json(),
        }  # fmt: skip

    async def keep_asking(self, call: SimulatedCall, number: int) -> None:
        """Until cancelled, from a moment of its own on: calls do not ask in step."""
        due, turn = trio.current_time() + self.every_seconds * (number * _GOLDEN % 1.0), 0
        while True:
            await trio.sleep_until(due)
            due = max(due + self.every_seconds, trio.current_time())
            if not self.quiet:
                await self._ask(call, self.asks.ask(number, turn))
                turn += 1

    async def _ask(self, call: SimulatedCall, ask: Ask) -> None:
        request = self._request(call, ask)
        self.asked += 1
        answer = await self.webhooks.post(request)
        self.latencies.add(round(answer.seconds * 1e9))
        (verdict,) = judge(answer, request.calls)
        if complaint := ask.complaint(verdict):
            self.failed += 1
            if len(self.complaints) < SHOWN_COMPLAINTS:
                self.complaints.append(complaint)
            return
        self.answered += 1
        self.refused += verdict.is_error

    def _request(self, call: SimulatedCall, ask: Ask) -> ToolRequest:
        """As the simulated cloud makes it."""
        numbered = (f"call_{uuid.uuid4().hex[:24]}", ask.tool, ask.arguments)
        definition: Mapping[str, Any] = call.tools.get(ask.tool) or {}
        server = definition.get("server") or call.assistant.get("server") or {}
        message = ToolMessage(call.as_json(), [numbered], call.tools, int(wall_now() * 1000))
        headers = {"x-call-id": call.id, **(server.get("headers") or {})}
        timeout_seconds = float(server.get("timeoutSeconds") or DEFAULT_TIMEOUT_SECONDS)
        return ToolRequest(
            server.get("url", ""), headers, message.as_json(self.behaviour), (numbered,), timeout_seconds
        )
