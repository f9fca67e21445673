"""VapiCalls creates and ends the calls at Vapi. One per process: it outlives the callers' calls.

Vapi bills a call that runs, and POST /call has no idempotency key. So creating one is never cancelled
and never repeated, and from the moment the request may have been taken, every way out ends the call here.
"""

import ssl
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import attrs
import structlog
import trio

from runtime import limits
from runtime.errors import NoAnswer
from runtime.http_client import Unreachable
from runtime.leg import Leg, LegClosed, LegStalled
from runtime.record import CallRecord
from runtime.supervisor import Started
from runtime.switchboard import Switchboard
from runtime.vapi_api import CreatedCall, VapiApi
from runtime.vapi_slots import VapiSlots
from runtime.ws_handshake import dial_vapi

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger(actor="VapiCalls")
END_CALL = '{"type":"end-call"}'


@attrs.define(eq=False)
class _Order:
    """One POST /call. Mutable: `outcome`, set once with `done`; `abandoned`, when its caller has left."""

    record: CallRecord
    body: dict[str, Any] = attrs.field(repr=False)  # it holds the call's secret
    done: trio.Event = attrs.field(factory=trio.Event)
    outcome: CreatedCall | NoAnswer | None = None
    abandoned: bool = False


@attrs.define(eq=False)
class VapiCalls:
    """Ends: when `close` was called and every call is ended or given up.

    Restart: never; it holds the only knowledge of calls that must be ended.
    Cancelled: calls that were still being created or ended are counted as possibly billed.
    """

    api: VapiApi
    ssl_context: ssl.SSLContext
    switchboard: Switchboard
    slots: VapiSlots = attrs.field(factory=lambda: VapiSlots(limits.VAPI_SLOTS))
    on_created: Callable[[CallRecord], None] = lambda _record: None
    counts: Counter[str] = attrs.field(factory=Counter)
    _work: trio.Nursery | None = None
    _at_stake: set[str] = attrs.field(factory=set)
    """Calls that may exist and are not known to be ended, by our name for them; mutable."""
    _closing: trio.Event = attrs.field(factory=trio.Event)

    async def run(self, task_status: Started) -> None:
        try:
            async with trio.open_nursery() as self._work:
                task_status.started()
                await self._closing.wait()
        finally:
            for vapi_call in sorted(self._at_stake):
                self._possibly_billed(vapi_call, "this process stopped before it was ended")

    def close(self) -> None:
        self._closing.set()

    @asynccontextmanager
    async def call(self, record: CallRecord, body: dict[str, Any], nursery: trio.Nursery) -> AsyncIterator[Leg]:
        """A call at Vapi with its socket open; ended on the way out, whatever the way. Waits for its turn before.

        Raises NoAnswer. Cancelled while the POST is in flight: it goes on here, and what it makes is ended.
        """
        async with self.slots.one_for(record.call_key):
            created = await self._created(record, body)
            async with self._dialled(created, record, nursery) as leg:
                yield leg

    @asynccontextmanager
    async def _dialled(self, created: CreatedCall, record: CallRecord, nursery: trio.Nursery) -> AsyncIterator[Leg]:
        said_goodbye = dialled = False
        try:
            async with dial_vapi(created.websocket_url, self.ssl_context, nursery, self.switchboard) as leg:
                dialled = True
                record.event("vapi", "socket-opened")
                try:
                    yield leg
                finally:
                    with trio.move_on_after(limits.CLOSE_SECONDS * 3, shield=True):
                        said_goodbye = await _say_goodbye(leg, record)
        finally:
            if not (said_goodbye or record.vapi_said_goodbye):
                self._start(created.id, record, self._end_orphan, created, not dialled)

    async def _created(self, record: CallRecord, body: dict[str, Any]) -> CreatedCall:
        """Raises NoAnswer. That Vapi has no slot is no end yet: somebody else may use the account too."""
        give_up_at = trio.current_time() + limits.VAPI_SLOT_SECONDS
        while True:
            try:
                return await self._ordered(record, body)
            except NoAnswer as exc:
                if exc.cause != "vapi_no_slot" or trio.current_time() + limits.VAPI_SLOT_RETRY_SECONDS > give_up_at:
                    raise
            self.counts["vapi_slot_retries"] += 1
            await trio.sleep(limits.VAPI_SLOT_RETRY_SECONDS)  # in front of the others: they wait for our slot

    async def _ordered(self, record: CallRecord, body: dict[str, Any]) -> CreatedCall:
        order = _Order(record, body)
        self._start(f"voice-{record.ledger_id}", record, self._create, order)
        heard = False
        try:
            await order.done.wait()
            heard = True
        finally:
            order.abandoned = not heard
            if not heard and isinstance(order.outcome, CreatedCall):  # the reply came in the same moment
                self._start(order.outcome.id, record, self._end_orphan, order.outcome, True)
        if isinstance(order.outcome, CreatedCall):
            return order.outcome
        raise order.outcome or NoAnswer("vapi_down", "the call could not be created")

    def _start(self, name: str, record: CallRecord, task: Callable[..., Awaitable[None]], *arguments: Any) -> None:
        assert self._work is not None, "VapiCalls must run before the first call"
        self.slots.hold(record.call_key)
        self._work.start_soon(self._guarded, name, record, task, *arguments)

    async def _guarded(
        self, name: str, record: CallRecord, task: Callable[..., Awaitable[None]], *arguments: Any
    ) -> None:
        """An actor barrier round the work on one call, so that its failure ends no other's."""
        structlog.contextvars.bind_contextvars(call_id=record.id)
        self._at_stake.add(name)
        try:
            await task(*arguments)
        except Exception as exc:  # noqa: BLE001  # an actor barrier
            _log.exception("vapi_call_failed", vapi_call=name)
            self._possibly_billed(name, f"{type(exc).__name__} while it was created or ended")
        finally:
            self.slots.let_go(record.call_key)
        self._at_stake.discard(name)  # not reached when cancelled: then it is still at stake

    async def _create(self, order: _Order) -> None:
        try:
            await self._create_or_search(order)
        finally:
            order.done.set()

    async def _create_or_search(self, order: _Order) -> None:
        try:
            created = await self.api.create(order.body)
        except NoAnswer as exc:
            order.outcome = exc
            return
        except Unreachable as exc:
            order.outcome = NoAnswer("vapi_down", f"Vapi's reply to POST /call was lost: {exc}")
            order.done.set()
            await self._search(order)
            return
        order.record.known_at_vapi_as(created.id)
        self.on_created(order.record)
        if created.account_slots is not None:
            self.slots.account_has(created.account_slots)
        order.record.event("vapi", "call-created", id=created.id)
        order.outcome = created
        order.done.set()
        if order.abandoned:
            await self._end_orphan(created, True)

    async def _search(self, order: _Order) -> None:
        """The reply was lost: look for the call by its tag, and end it."""
        tag = order.record.ledger_id
        found: CreatedCall | None = None
        with trio.move_on_after(limits.LOST_REPLY_SECONDS):
            while found is None:
                with suppress(Unreachable):
                    found = await self.api.find(tag)
                if found is None:
                    await trio.sleep(limits.LOST_REPLY_POLL_SECONDS)
        if found is not None:
            await self._end_orphan(found, bool(found.websocket_url))
        else:
            self._possibly_billed(f"voice-{tag}", "its reply was lost and it was not found")

    async def _end_orphan(self, created: CreatedCall, dial: bool) -> None:
        """End a call that nobody is on: by its socket where that was never dialled, else by its control URL."""
        ended = False
        with trio.move_on_after(limits.ORPHAN_SECONDS):
            ended = (dial and await self._end_by_socket(created)) or await self._end_by_control(created)
        if ended:
            self.counts["orphans_ended"] += 1
            _log.info("orphan_ended", vapi_call_id=created.id)
        else:
            self._possibly_billed(created.id, f"it could not be ended within {limits.ORPHAN_SECONDS:g} s")

    async def _end_by_socket(self, created: CreatedCall) -> bool:
        try:
            async with trio.open_nursery() as nursery:
                async with dial_vapi(created.websocket_url, self.ssl_context, nursery, self.switchboard) as leg:
                    await leg.send_text(END_CALL)
                    ended = await leg.aclose(1000, "call_ended")
                nursery.cancel_scope.cancel()
        except* (NoAnswer, LegClosed, LegStalled):
            ended = False
        return ended

    async def _end_by_control(self, created: CreatedCall) -> bool:
        while True:
            try:
                status, control_url = await self.api.control_url(created.id)
                if status in ("ended", "not-found", "deletion-failed"):
                    return True
                if control_url is not None and await self.api.end_by_control(control_url):
                    return True
            except Unreachable as exc:
                _log.info("vapi_unreachable", vapi_call_id=created.id, error=str(exc))
            await trio.sleep(limits.CONTROL_POLL_SECONDS)

    def _possibly_billed(self, vapi_call: str, why: str) -> None:
        self.counts["possibly_billed"] += 1
        _log.error("possibly_billed", vapi_call=vapi_call, why=f"{why}; end it in Vapi's dashboard")


async def _say_goodbye(leg: Leg, record: CallRecord) -> bool:
    """End the call on its own socket, in bounded time. False: it must be ended another way."""
    said = record.vapi_said_goodbye
    if not said:
        with trio.move_on_after(limits.CLOSE_SECONDS, shield=True), suppress(LegClosed, LegStalled):
            await leg.send_text(END_CALL)
            said = True
    return await leg.aclose(1000, "call_ended", limits.CLOSE_SECONDS if said else 0.0)
