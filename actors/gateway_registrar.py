"""GatewayRegistrar tells HAProxy which pod holds which call. One per process, where HAPROXY_SOCKET is set."""

import re
from collections import Counter
from typing import Final, Literal

import attrs
import structlog
import trio

from runtime import limits
from runtime.gateway.options import CALLS_MAP
from runtime.supervisor import Started

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger(actor="GatewayRegistrar")
_CALL_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,100}")
_NOT_THERE: Final = ("entry not found", "key not found")


class GatewayAway(Exception):
    """HAProxy did not take the command: nobody listens, or nobody answered in time."""


@attrs.define(eq=False)
class GatewayRegistrar:
    """Keeps HAProxy's map of calls as it should be, through its runtime API (a unix socket).

    Without its entry a call's tools go to any pod or are refused, as the gateway was told; the call itself goes on. So
    errors are logged and counted, and the next round mends them. HAProxy loses the map when it restarts: every live
    call is written again each `every_seconds`. Source: HAProxy's management guide, "Unix Socket commands"; `add map`
    makes a second entry of a key that is there, so `set map` goes first. Call ids come from outside: one that could
    end a command never gets there.
    Ends: never.
    Restart: yes; it knows the live calls still.
    Cancelled: entries stay in the map; they lead here, and are for calls that are over.
    """

    socket_path: str
    pod_id: str
    every_seconds: float = limits.GATEWAY_REGISTER_SECONDS
    counts: Counter[str] = attrs.field(factory=Counter)
    _orders: dict[str, Literal["live", "over"]] = attrs.field(factory=dict)
    """Per call id, what HAProxy is still to be told; the newest counts. Mutable."""
    _live: set[str] = attrs.field(factory=set)
    _news: trio.Event = attrs.field(factory=trio.Event)
    _away: bool = False

    def note_live(self, vapi_call_id: str) -> None:
        """This process holds the call. Never waits."""
        if not _CALL_ID.fullmatch(vapi_call_id):
            self.counts["refused_ids"] += 1
            _log.warning("call_id_refused", call_id=vapi_call_id[:100])
        elif len(self._live) >= limits.GATEWAY_CALLS:
            self.counts["too_many_calls"] += 1
        else:
            self._live.add(vapi_call_id)
            self._order(vapi_call_id, "live")

    def note_over(self, vapi_call_id: str) -> None:
        """The call is over. Never waits; a call that was never noted is none."""
        if vapi_call_id in self._live:
            self._live.discard(vapi_call_id)
            self._order(vapi_call_id, "over")

    def _order(self, call_id: str, what: Literal["live", "over"]) -> None:
        self._orders.pop(call_id, None)
        self._orders[call_id] = what
        if len(self._orders) > 2 * limits.GATEWAY_CALLS:  # HAProxy is away, and will have forgotten them
            del self._orders[next(iter(self._orders))]
            self.counts["forgotten"] += 1
        self._news.set()

    async def run(self, task_status: Started) -> None:
        task_status.started()
        while True:
            again_at = trio.current_time() + self.every_seconds
            self._orders |= dict.fromkeys(sorted(self._live), "live")
            await self._work_off()
            while True:
                with trio.move_on_at(again_at) as waiting:
                    await self._news.wait()
                if waiting.cancelled_caught:
                    break
                await self._work_off()

    async def _work_off(self) -> None:
        """Tell HAProxy all it is to be told, or stop at the first command that it does not take."""
        self._news = trio.Event()
        while self._orders:
            call_id, what = next(iter(self._orders.items()))
            try:
                await (self._register(call_id) if what == "live" else self._remove(call_id))
            except GatewayAway as exc:
                self._is_away(exc)
                return
            if self._orders.get(call_id) == what:  # nobody has said something newer meanwhile
                del self._orders[call_id]
        if self._away:
            self._away = False
            _log.info("gateway_is_back")

    def _is_away(self, exc: GatewayAway) -> None:
        self.counts["commands_lost"] += 1
        if not self._away:
            _log.warning("gateway_is_away", error=str(exc), socket=self.socket_path)
        self._away = True

    async def _register(self, call_id: str) -> None:
        said = await self._command(f"set map {CALLS_MAP} {call_id} {self.pod_id}")
        if said.lower().startswith(_NOT_THERE):
            said = await self._command(f"add map {CALLS_MAP} {call_id} {self.pod_id}")
        self._count("registered", said)

    async def _remove(self, call_id: str) -> None:
        said = await self._command(f"del map {CALLS_MAP} {call_id}")
        self._count("removed", "" if said.lower().startswith(_NOT_THERE) else said)

    def _count(self, done: str, said: str) -> None:
        """A command that HAProxy carries out says nothing."""
        self.counts["refused" if said else done] += 1
        if said:
            _log.warning("gateway_refused", said=said.splitlines()[0][:200])

    async def _command(self, command: str) -> str:
        """One command on a connection of its own, and what HAProxy says to it. Raises GatewayAway."""
        reply = b""
        try:
            with trio.fail_after(limits.GATEWAY_COMMAND_SECONDS):
                async with await trio.open_unix_socket(self.socket_path) as stream:
                    await stream.send_all(command.encode("ascii") + b"\n")
                    while len(reply) < limits.GATEWAY_REPLY_BYTES:
                        piece = await stream.receive_some(limits.GATEWAY_REPLY_BYTES)
                        if not piece:
                            break
                        reply += piece
        except (OSError, trio.BrokenResourceError) as exc:
            raise GatewayAway(str(exc) or "it closed the connection") from exc
        except trio.TooSlowError as exc:
            raise GatewayAway(f"no reply within {limits.GATEWAY_COMMAND_SECONDS:g} s") from exc
        return reply.decode("utf-8", "replace").strip()
