"""EngineReporter tells the simulation's engine of every tool call. One per process."""

from collections import Counter
from typing import Any

import attrs
import stamina
import structlog
import trio

from runtime import limits
from runtime.http_client import HttpClient, Unreachable
from runtime.supervisor import Started

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger(actor="EngineReporter")


class EngineAway(Exception):
    """The engine did not take the report: it may be sent again."""


@attrs.define
class Undeliverable(Exception):
    """Another try would change nothing (`refused`), or could report twice (`unconfirmed`)."""

    cause: str
    line: str

    def __str__(self) -> str:
        return self.line


@attrs.define(eq=False)
class EngineReporter:
    """POSTs tool calls to `{ENGINE_URL}/simulations/{SIMULATION_ID}/events`, in order, never in the way.

    Source: the Veris documentation of the voice channel; a tool call that the engine does not see, the
    grader calls fabricated. So a report waits in a bounded queue while the engine is away. What does not
    fit, what the engine refuses, and what is left after the flush is dropped and counted; so is a report whose
    answer was lost, because it may have arrived, and nothing may be reported twice.
    Ends: when `close` was called and the queue is flushed, within REPORT_FLUSH_SECONDS.
    Restart: yes; the queue stays.
    Cancelled: the report in hand may have arrived; the queue stays.
    """

    http: HttpClient
    engine_url: str
    simulation_id: str | None
    counts: Counter[str] = attrs.field(factory=Counter)
    peak_queued: int = 0
    _delivering: bool = False
    _queue: tuple["trio.MemorySendChannel[dict[str, Any]]", "trio.MemoryReceiveChannel[dict[str, Any]]"] = attrs.field(
        factory=lambda: trio.open_memory_channel[dict[str, Any]](limits.REPORTS_ITEMS)
    )

    def report(self, name: str, arguments: dict[str, Any], result: Any) -> None:
        """Queue one tool call. Never waits. `result` is the object, before it was made a string."""
        if self.simulation_id is None:
            return
        data = {"name": name, "arguments": arguments, "result": result}
        try:
            self._queue[0].send_nowait({"service": "agent", "event_type": "agent_tool_call", "data": data})
            self.peak_queued = max(self.queued, self.peak_queued)
        except (trio.WouldBlock, trio.ClosedResourceError):
            self._drop("queue_full", name)

    @property
    def queued(self) -> int:
        return self._queue[0].statistics().current_buffer_used

    @property
    def idle(self) -> bool:
        """All that was reported has been delivered or dropped."""
        return not (self.queued or self._delivering)

    def close(self) -> None:
        """No more reports: `run` ends when the queue is empty."""
        self._queue[0].close()

    async def run(self, task_status: Started) -> None:
        task_status.started()
        async for event in self._queue[1]:
            await self._deliver(event)

    def drop_rest(self) -> None:
        """After the flush: count what is still queued as dropped."""
        while True:
            try:
                event = self._queue[1].receive_nowait()
            except (trio.WouldBlock, trio.EndOfChannel, trio.ClosedResourceError):
                return
            self._drop("not_flushed", event["data"]["name"])

    async def _deliver(self, event: dict[str, Any]) -> None:
        outcome, self._delivering = "cancelled", True
        try:
            async for attempt in stamina.retry_context(
                on=EngineAway, attempts=None, timeout=None, wait_initial=0.2, wait_max=5.0
            ):
                with attempt:
                    await self._post(event)
            outcome = "reported"
        except Undeliverable as exc:
            _log.warning("report_not_delivered", cause=exc.cause, error=exc.line)
            outcome = exc.cause
        finally:
            self._delivering = False
            if outcome == "reported":
                self.counts["reported"] += 1
            else:
                self._drop(outcome, event["data"]["name"])

    async def _post(self, event: dict[str, Any]) -> None:
        url = f"{self.engine_url}/simulations/{self.simulation_id}/events"
        try:
            reply = await self.http.request("POST", url, seconds=limits.REPORT_SECONDS, json=event)
        except Unreachable as exc:
            if exc.sent:  # a second copy would look like a second action
                raise Undeliverable("unconfirmed", f"the engine may have it: {exc}") from exc
            raise EngineAway(str(exc)) from exc
        if reply.status >= 500:
            raise EngineAway(f"the engine answered {reply.status}")
        if not 200 <= reply.status < 300:
            raise Undeliverable("refused", f"the engine answered {reply.status}")

    def _drop(self, cause: str, tool: str) -> None:
        self.counts["dropped"] += 1
        self.counts[f"dropped_{cause}"] += 1
        _log.warning("report_dropped", cause=cause, tool=tool)
