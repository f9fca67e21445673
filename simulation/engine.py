"""The engine that an agent reports its tool calls to, as the sandbox had it at ``http://localhost:6100``.

``POST /simulations/{id}/events`` takes exactly
``{"service": "agent", "event_type": "agent_tool_call", "data": {"name": …, "arguments": {…}, "result": …}}``;
anything else is answered 400 and kept among the rejected. ``GET`` on the same path lists what came, in order.

Ours, and no part of the hosted engine's contract:

- ``POST /simulations/{id}/turns`` takes, all or nothing,
  ``{"turns": [{"who": "caller" or "agent", "started": seconds, "ended": seconds, "text": string or null}]}``; seconds
  are of this machine's CLOCK_MONOTONIC, ``text`` is null where the words are not known.
- ``GET /simulations/{id}/trace``: turns and tool calls on that one clock, each in the form of a line of ``trace.jsonl``
  (:mod:`simulation.events`); a turn lies at its start, a tool call at its receipt, ``t`` counts from the first of them.
- ``GET /simulations`` counts what each simulation has: ``[{"id": …, "tool_calls": …, "turns": …}]``.
"""

import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

import attrs
import trio

from simulation.background import open_background
from simulation.engine_entries import (
    AudioTurn,
    EngineEvent,
    PostedTurns,
    complaint_about,
    complaint_about_turns,
    turns_of,
)
from simulation.engine_store import EngineStore, Entry, open_store
from simulation.events import Event, EventLog, OnEvent, mono_now, wall_now
from simulation.http_server import HttpReply, HttpRequest, json_reply, serve_http_connection
from simulation.network import Network, TrioSockets, port_of

__all__ = ["MAX_EVENTS", "Engine", "EngineEvent", "complaint_about", "open_engine"]

ALLOWED: Final = {"events": "GET and POST", "turns": "POST", "trace": "GET"}
"""The methods of each path below a simulation."""
MAX_EVENTS = 100_000
"""Tool calls and turns kept per engine; what comes after is answered 507, so that a forgotten engine does not eat the
machine."""


@attrs.define(eq=False)
class Engine:
    """The running engine. Mutable: ``received``, ``spoken``, ``rejected``, and the faults ``delay_seconds`` and
    ``fail_status``."""

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
    spoken: list[tuple[str, AudioTurn]] = attrs.field(factory=list)
    """(simulation id, turn) of what was posted."""
    store: EngineStore | None = None

    @property
    def base_url(self) -> str:
        """What ENGINE_URL should be."""
        return f"http://{self.host}:{self.port}"

    def events(self, simulation_id: str) -> list[EngineEvent]:
        """What one simulation reported, in order of arrival."""
        return [event for event in self.received if event.simulation_id == simulation_id]

    def turns(self, simulation_id: str) -> list[AudioTurn]:
        """Who spoke when in one simulation, in order of arrival."""
        return [turn for owner, turn in self.spoken if owner == simulation_id]

    def trace(self, simulation_id: str) -> list[Event]:
        """Turns and tool calls of one simulation on one clock, the earliest first."""
        found = [
            Event(
                0.0, turn.started, simulation_id, turn.who, "turn", {"ended": round(turn.ended, 6), "text": turn.text}
            )
            for turn in self.turns(simulation_id)
        ]
        for call in self.events(simulation_id):
            data = {**call.body["data"], "received_at": call.received_at}
            found.append(Event(0.0, call.mono, simulation_id, "tool", "tool-call", data))
        found.sort(key=lambda event: event.mono)
        return [event.since(found[0].mono) for event in found]

    def counts(self) -> list[dict[str, Any]]:
        """What each simulation has, in the order of their ids."""
        calls = Counter(event.simulation_id for event in self.received)
        turns = Counter(owner for owner, _ in self.spoken)
        return [{"id": name, "tool_calls": calls[name], "turns": turns[name]} for name in sorted({*calls, *turns})]

    async def answer(self, request: HttpRequest) -> HttpReply:
        """The reply to one request."""
        parts = [unquote(part) for part in request.path.strip("/").split("/")]
        allowed = ALLOWED.get(parts[-1], "") if len(parts) == 3 else "GET" if len(parts) == 1 else ""
        if parts[0] != "simulations" or not allowed:
            return json_reply(404, {"error": f"no such path: {request.path}"})
        if request.method not in allowed.split(" and "):
            return json_reply(405, {"error": f"only {allowed}"})
        if request.method == "GET":
            return self._show(*parts[1:])
        await trio.sleep(self.delay_seconds)
        if self.fail_status is not None:
            return json_reply(self.fail_status, {"error": "failing on purpose"})
        return self._take(parts[1], parts[2], request.body)

    def _show(self, simulation_id: str = "", what: str = "") -> HttpReply:
        if what == "events":
            shown = [{**event.body, "received_at": event.received_at} for event in self.events(simulation_id)]
            return json_reply(200, shown)
        if what == "trace":
            lines = [event.to_json() for event in self.trace(simulation_id)]
            return HttpReply(200, f"[{','.join(lines)}]".encode())
        return json_reply(200, self.counts())

    def _take(self, simulation_id: str, what: str, raw: bytes) -> HttpReply:
        try:
            body = parsed(raw)
        except (ValueError, RecursionError) as error:
            body, complaint = None, f"not JSON: {error}"
        else:
            complaint = complaint_about(body) if what == "events" else complaint_about_turns(body)
        if complaint:
            if len(self.rejected) < MAX_EVENTS:
                self.rejected.append((simulation_id, complaint, raw.decode("utf-8", "replace")))
            self.log.add("engine", "rejected", simulation=simulation_id, complaint=complaint)
            return json_reply(400, {"error": complaint})
        received_at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(wall_now()))
        if what == "events":
            return self._accept(EngineEvent(simulation_id, body, received_at, mono_now()))
        return self._accept(PostedTurns(simulation_id, turns_of(body), received_at, mono_now()))

    def _accept(self, entry: Entry) -> HttpReply:
        """Store it, keep it, tell of it; 507 when it does not fit."""
        count = 1 if isinstance(entry, EngineEvent) else len(entry.turns)
        if len(self.received) + len(self.spoken) + count > MAX_EVENTS:
            return json_reply(507, {"error": f"{MAX_EVENTS} events are kept already"})
        if self.store is not None and count:
            try:
                self.store.append(entry)
            except OSError as error:
                complaint = f"{self.store.path}: {error.strerror or error}"
                self.log.add("engine", "not-stored", simulation=entry.simulation_id, complaint=complaint)
                return json_reply(507, {"error": complaint})
        self.keep(entry)
        if isinstance(entry, EngineEvent):
            self.log.add("engine", "tool-call-reported", simulation=entry.simulation_id, **entry.body["data"])
        else:
            self.log.add("engine", "turns-posted", simulation=entry.simulation_id, turns=count)
        return json_reply(200, {"ok": True})

    def keep(self, entry: Entry) -> None:
        """Know of it, without a word to anybody."""
        if isinstance(entry, EngineEvent):
            self.received.append(entry)
        else:
            self.spoken += [(entry.simulation_id, turn) for turn in entry.turns]


def parsed(raw: bytes) -> Any:
    """The JSON that ``raw`` is.

    :raises ValueError: it is not JSON, or holds text that nobody could be shown: half of a surrogate pair.
    :raises RecursionError: it is nested too deeply.
    """
    body = json.loads(raw)
    json.dumps(body, ensure_ascii=False).encode()
    return body


@asynccontextmanager
async def open_engine(
    *,
    network: Network | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    on_event: OnEvent | None = None,
    store: Path | None = None,
) -> AsyncIterator[Engine]:
    """Run an engine for the length of the block.

    ``store``: a file that what is accepted is appended to, and that an engine begins with what is in; made when it is
    not there. None: nothing outlives the engine.

    :raises OSError: the port is taken, or the store cannot be read or written.
    :raises StoreError: the store is another engine's, or a line of it is broken.
    """
    with ExitStack() as files:
        # Before the port: whoever reaches this engine finds it knowing all it is going to know.
        opened = files.enter_context(open_store(store)) if store is not None else None
        listeners = await (network or TrioSockets()).listen(host, port)
        engine = Engine(host, port_of(listeners), EventLog("engine", mono_now(), on_event), store=opened)
        if opened is not None:
            _restore(engine, opened)
        async with open_background() as nursery:
            serve = partial(serve_http_connection, handler=engine.answer)
            await nursery.start(partial(trio.serve_listeners, serve, list(listeners)))
            yield engine


def _restore(engine: Engine, store: EngineStore) -> None:
    """Give an engine what its store held, and say so."""
    for entry in store.entries:
        engine.keep(entry)
    if store.set_aside:
        engine.log.add("engine", "store-mended", problem=store.set_aside)
    if store.entries:
        engine.log.add("engine", "store-read", tool_calls=len(engine.received), turns=len(engine.spoken))
    if any(entry.mono > engine.log.start_mono for entry in store.entries):
        problem = f"{store.path}: entries of an earlier start of this machine; a trace with both is out of order"
        engine.log.add("engine", "store-clock", problem=problem)
