"""The engine that an agent reports its tool calls to, as the sandbox had it at ``http://localhost:6100``.

``POST /simulations/{id}/events`` takes exactly
``{"service": "agent", "event_type": "agent_tool_call", "data": {"name": …, "arguments": {…}, "result": …}}``;
anything else is answered 400 and kept among the rejected. ``GET`` on the same path lists what came, in order.
"""

import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any
from urllib.parse import unquote

import attrs
import trio

from simulation.background import open_background
from simulation.events import EventLog, OnEvent, mono_now, wall_now
from simulation.http_server import HttpReply, HttpRequest, json_reply, serve_http_connection
from simulation.network import Network, TrioSockets, port_of

MAX_EVENTS = 100_000
"""Kept per engine; what comes after is answered 507, so that a forgotten engine does not eat the machine."""


@attrs.frozen
class EngineEvent:
    """One reported tool call. ``received_at`` is ISO 8601 in UTC; ``mono`` is CLOCK_MONOTONIC seconds."""

    simulation_id: str
    body: Mapping[str, Any]
    received_at: str
    mono: float

    @property
    def name(self) -> str:
        """The tool's name."""
        return str(self.body["data"]["name"])

    @property
    def arguments(self) -> Mapping[str, Any]:
        """The tool's arguments."""
        arguments: Mapping[str, Any] = self.body["data"]["arguments"]
        return arguments

    @property
    def result(self) -> Any:
        """What the tool gave, before it was made a string."""
        return self.body["data"]["result"]


@attrs.define(eq=False)
class Engine:
    """The running engine. Mutable: ``received``, ``rejected``, and the faults ``delay_seconds`` and ``fail_status``."""

    host: str
    port: int
    log: EventLog
    received: list[EngineEvent] = attrs.field(factory=list)
    rejected: list[tuple[str, str, str]] = attrs.field(factory=list)
    """(simulation id, complaint, body) of what was not accepted."""
    delay_seconds: float = 0.0
    """Answer only after this long."""
    fail_status: int | None = None
    """Answer every POST with this status and keep nothing."""

    @property
    def base_url(self) -> str:
        """What ENGINE_URL should be."""
        return f"http://{self.host}:{self.port}"

    def events(self, simulation_id: str) -> list[EngineEvent]:
        """What one simulation reported, in order of arrival."""
        return [event for event in self.received if event.simulation_id == simulation_id]

    async def answer(self, request: HttpRequest) -> HttpReply:
        """The reply to one request."""
        parts = request.path.strip("/").split("/")
        if len(parts) != 3 or (parts[0], parts[2]) != ("simulations", "events"):
            return json_reply(404, {"error": f"no such path: {request.path}"})
        simulation_id = unquote(parts[1])
        if request.method == "GET":
            shown = [{**event.body, "received_at": event.received_at} for event in self.events(simulation_id)]
            return json_reply(200, shown)
        if request.method != "POST":
            return json_reply(405, {"error": "only GET and POST"})
        await trio.sleep(self.delay_seconds)
        if self.fail_status is not None:
            return json_reply(self.fail_status, {"error": "failing on purpose"})
        return self._take(simulation_id, request.body)

    def _take(self, simulation_id: str, raw: bytes) -> HttpReply:
        try:
            body = json.loads(raw)
        except ValueError as error:
            body, complaint = None, f"not JSON: {error}"
        else:
            complaint = complaint_about(body)
        if complaint:
            self.rejected.append((simulation_id, complaint, raw.decode("utf-8", "replace")))
            self.log.add("engine", "rejected", simulation=simulation_id, complaint=complaint)
            return json_reply(400, {"error": complaint})
        if len(self.received) >= MAX_EVENTS:
            return json_reply(507, {"error": f"{MAX_EVENTS} events are kept already"})
        received_at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(wall_now()))
        event = EngineEvent(simulation_id, body, received_at, mono_now())
        self.received.append(event)
        self.log.add("engine", "tool-call-reported", simulation=simulation_id, **body["data"])
        return json_reply(200, {"ok": True})


def complaint_about(body: Any) -> str:
    """Why ``body`` is not the report of a tool call; empty when it is."""
    if not isinstance(body, dict) or set(body) != {"service", "event_type", "data"}:
        return "the body must have exactly the keys service, event_type, data"
    if body["service"] != "agent":
        return "service must be 'agent'"
    if body["event_type"] != "agent_tool_call":
        return "event_type must be 'agent_tool_call'"
    data = body["data"]
    if not isinstance(data, dict) or set(data) != {"name", "arguments", "result"}:
        return "data must have exactly the keys name, arguments, result"
    if not isinstance(data["name"], str) or not data["name"]:
        return "data.name must be the tool's name"
    if not isinstance(data["arguments"], dict):
        return "data.arguments must be an object"
    return ""


@asynccontextmanager
async def open_engine(
    *, network: Network | None = None, host: str = "127.0.0.1", port: int = 0, on_event: OnEvent | None = None
) -> AsyncIterator[Engine]:
    """Run an engine for the length of the block.

    :raises OSError: the port is taken.
    """
    listeners = await (network or TrioSockets()).listen(host, port)
    engine = Engine(host, port_of(listeners), EventLog("engine", mono_now(), on_event))
    async with open_background() as nursery:
        serve = partial(serve_http_connection, handler=engine.answer)
        await nursery.start(partial(trio.serve_listeners, serve, list(listeners)))
        yield engine
