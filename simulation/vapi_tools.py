"""The assistant's tool calls: numbered, announced on the socket, delivered to the webhook, judged and recorded."""

import itertools
import json
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import attrs
import trio

from simulation.behaviour import Behaviour
from simulation.events import mono_now, wall_now
from simulation.scenario import ToolCall
from simulation.tool_messages import FUNCTION_CALL, ToolMessage
from simulation.vapi_call import SimulatedCall
from simulation.webhook_client import (
    DEFAULT_TIMEOUT_SECONDS,
    Answer,
    NumberedCall,
    ToolRequest,
    WebhookClient,
    WebhookExchange,
    judge,
)

REDELIVERY_SECONDS = 0.05


@attrs.frozen(eq=False)
class ToolCaller:
    """Calls the tools of one call, as its request defines them."""

    record: SimulatedCall
    behaviour: Callable[[], Behaviour]
    webhooks: WebhookClient
    tell: Callable[[Mapping[str, Any]], Awaitable[None]]
    rng: random.Random

    async def call(self, calls: Sequence[ToolCall]) -> None:
        """The turn's calls, one POST after the other, or all in one when ``calls_together`` and of one server."""
        behaviour = self.behaviour()
        numbered = [(f"call_{self.rng.getrandbits(96):024x}", call.tool, call.arguments) for call in calls]
        batches = [[entry] for entry in numbered]
        if behaviour.calls_together and behaviour.shape != FUNCTION_CALL:
            batches = [list(group) for _, group in itertools.groupby(numbered, lambda entry: self._server(entry[1])[0])]
        for batch in batches:
            await self._notify(batch)
            await self._deliver(batch)

    def _server(self, tool: str) -> tuple[str, Mapping[str, Any]]:
        server = (self.record.tools.get(tool) or {}).get("server") or self.record.assistant.get("server") or {}
        return server.get("url", ""), server

    async def _notify(self, batch: Sequence[NumberedCall]) -> None:
        entries = [
            {"id": call_id, "type": "function", "function": {"name": name, "arguments": dict(arguments)}}
            for call_id, name, arguments in batch
        ]
        with_tools = [
            {**self.record.tools.get(entry[1], {}), "toolCall": item}
            for entry, item in zip(batch, entries, strict=True)
        ]
        await self.tell({"type": "tool-calls", "toolCallList": entries, "toolWithToolCallList": with_tools})

    async def _deliver(self, batch: Sequence[NumberedCall]) -> None:
        """POST a batch, again as its server's backoffPlan says, and twice over when ``redeliver`` is set."""
        request = self._request(batch)
        async with trio.open_nursery() as waiting:
            waiting.start_soon(self._hang)
            async with trio.open_nursery() as nursery:
                if self.behaviour().redeliver:
                    nursery.start_soon(self._post_again, request)
                await self._post_with_retries(request)
            waiting.cancel_scope.cancel()

    async def _hang(self) -> None:
        """Say that the assistant is delayed, once, if the answer takes that long."""
        after = self.behaviour().hang_after_seconds
        if after is not None:
            await trio.sleep(after)
            await self.tell({"type": "hang"})

    def _request(self, batch: Sequence[NumberedCall]) -> ToolRequest:
        behaviour = self.behaviour()
        url, server = self._server(batch[0][1])
        message = ToolMessage(self.record.as_json(), batch, self.record.tools, int(wall_now() * 1000))
        timeout = behaviour.tool_timeout_seconds or server.get("timeoutSeconds") or DEFAULT_TIMEOUT_SECONDS
        headers = {"x-call-id": self.record.id} if behaviour.call_id_in_header else {}
        if behaviour.blank_secret:
            headers["x-vapi-secret"] = ""
        headers |= server.get("headers") or {}
        return ToolRequest(url, headers, message.as_json(behaviour), tuple(batch), float(timeout))

    async def _post_with_retries(self, request: ToolRequest) -> None:
        plan = self._server(request.calls[0][1])[1].get("backoffPlan") or {}
        for attempt in range(1, int(plan.get("maxRetries", 0)) + 2):
            exchange = await self._post(request, attempt=attempt)
            if exchange.status is not None and 200 <= exchange.status < 300:
                return
            if exchange.status in plan.get("excludedStatusCodes", ()):
                return
            factor = 2 ** (attempt - 1) if plan.get("type") == "exponential" else 1
            if attempt <= plan.get("maxRetries", 0):
                await trio.sleep(float(plan["baseDelaySeconds"]) * factor)

    async def _post_again(self, request: ToolRequest) -> None:
        await trio.sleep(REDELIVERY_SECONDS)
        await self._post(request, redelivered=True)

    async def _post(self, request: ToolRequest, *, attempt: int = 1, redelivered: bool = False) -> WebhookExchange:
        names = [name for _, name, _ in request.calls]
        self.record.log.add("tool", "posted", tools=names, ids=[call_id for call_id, _, _ in request.calls])
        started = mono_now()
        answer = await self.webhooks.post(request)
        exchange = _exchange(request, answer, started, attempt=attempt, redelivered=redelivered)
        self.record.exchanges.append(exchange)
        for verdict in exchange.verdicts:
            self.record.log.add(
                "tool",
                "answered",
                tool=verdict.tool,
                id=verdict.tool_call_id,
                accepted=verdict.accepted,
                heard=verdict.heard,
                problem=verdict.problem,
                seconds=round(exchange.seconds, 4),
            )
        return exchange


def _exchange(
    request: ToolRequest, answer: Answer, started: float, *, attempt: int, redelivered: bool
) -> WebhookExchange:
    return WebhookExchange(
        url=request.url,
        tools=tuple((name, arguments) for _, name, arguments in request.calls),
        # Through JSON and back: what was sent, not what may change later.
        request=json.loads(json.dumps(request.body)),
        request_headers=dict(request.headers),
        status=answer.status,
        response=answer.body.decode("utf-8", "replace"),
        response_headers=answer.headers,
        seconds=answer.seconds,
        verdicts=judge(answer, request.calls, function_call=request.body["message"]["type"] == FUNCTION_CALL),
        started_mono=started,
        attempt=attempt,
        redelivered=redelivered,
        failure=answer.failure,
    )
