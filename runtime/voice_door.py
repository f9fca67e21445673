"""The voice door: callers' WebSockets at `/voice`, one call each."""

import secrets
from collections.abc import Mapping
from functools import partial
from typing import cast, get_args
from urllib.parse import parse_qs, urlsplit

import attrs
import structlog
import trio

from actors.call import run_call
from runtime import limits
from runtime.cross_site import page_may_call
from runtime.guests import Rate, SharedListener
from runtime.house import House
from runtime.http_door import behind_the_barrier, serve_connections
from runtime.record import Ending
from runtime.supervisor import Started
from runtime.switchboard import Switchboard
from runtime.voice_ws import VoiceProtocol, framing_for
from runtime.webhook_secret import bearer, same_secret
from runtime.ws_handshake import Upgrade, receive_upgrade, tune
from runtime.ws_leg import WebSocketLeg

TOO_MANY_CALLS = Ending("runtime", "too_many_calls", 1013)
INTERNAL_ERROR = Ending("runtime", "internal_error", 1011)
SHUTTING_DOWN = Ending("runtime", "shutting_down", 1001)


@attrs.define(eq=False)
class VoiceDoor:
    """Accepts callers and runs their calls. An actor.

    Ends: when `drain` was called and the last call is over; calls that last longer than `drain_seconds` are
    ended in order then, with 1001. While it drains, new callers are refused with 1013; on a port that is shared
    (VOICE_PORT_SHARED) it serves those who have connected, and leaves the rest to the other processes.
    Restart: never; its listeners are closed with it.
    Cancelled: every call is taken down in order, its caller told 1001.
    """

    house: House
    listeners: list[trio.SocketListener]
    switchboard: Switchboard
    _draining: trio.Event = attrs.field(factory=trio.Event)
    _idle: trio.Event = attrs.field(factory=trio.Event)
    _running: set[trio.CancelScope] = attrs.field(factory=set)
    _connected: int = 0  # with a call, or without one yet
    _ending: bool = False
    _setups: Rate = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        settings = self.house.settings
        self._setups = Rate(settings.setups_per_second, max(settings.max_calls, settings.setups_per_second))

    def drain(self) -> None:
        """Take no more calls; returns at once."""
        self.house.readiness.draining = True
        self._draining.set()

    def end_calls_now(self) -> None:
        self.drain()
        self._ending = True
        for scope in self._running:
            scope.cancel()

    async def run(self, task_status: Started) -> None:  # noqa: ASYNC128  # serve_connections calls started()
        async with trio.open_nursery() as nursery:
            most = self.house.settings.max_calls + limits.VOICE_SPARE_CONNECTIONS
            shared = [SharedListener(one) for one in self.listeners if self._port_is_shared]
            nursery.start_soon(serve_connections, self._connection, shared or self.listeners, most, task_status)
            await self._draining.wait()
            for listener in shared:
                await listener.leave()
            await self._wait_idle(self.house.settings.drain_seconds)
            self.end_calls_now()
            await self._wait_idle(limits.CALLS_END_SECONDS)
            nursery.cancel_scope.cancel()

    async def _wait_idle(self, seconds: float) -> None:
        with trio.move_on_after(seconds):
            while self._running or (self._connected and self._port_is_shared and not self._ending):
                await self._idle.wait()

    @property
    def _port_is_shared(self) -> bool:
        return self.house.settings.voice_port_shared

    def _look_again(self) -> None:
        """Whether anybody is left."""
        self._idle.set()
        self._idle = trio.Event()

    async def _connection(self, stream: trio.SocketStream) -> None:
        self._connected += 1
        try:
            await behind_the_barrier(partial(self._serve, stream), stream)
        finally:
            self._connected -= 1
            self._look_again()

    async def _serve(self, stream: trio.SocketStream) -> None:
        tune(stream)
        address = _address(stream)
        line = self.switchboard.line(stream.socket)
        try:
            async with trio.open_nursery() as nursery:
                upgrade = await receive_upgrade(nursery, line)
                if upgrade is not None:
                    await self._answer(upgrade, nursery, address)
                nursery.cancel_scope.cancel()
        finally:
            line.close()

    async def _answer(self, upgrade: Upgrade, nursery: trio.Nursery, address: str) -> None:
        try:
            target = urlsplit(upgrade.path)
        except ValueError:
            await upgrade.reject(400, "the target is not an address: callers connect to /voice")
            return
        asked = {name: values[-1] for name, values in parse_qs(target.query).items()}
        protocol = asked.get("protocol", self.house.settings.voice_protocol)
        refusal = self._refusal(target.path, protocol, asked.get("token", ""), upgrade.headers)
        if refusal is not None:
            self.house.counts[f"callers_refused_{refusal[0]}"] += 1
            await upgrade.reject(*refusal)
            return
        leg = await upgrade.accept(framing_for(cast(VoiceProtocol, protocol)))
        if not self._has_room():
            self.house.counts["calls_refused"] += 1
            await leg.aclose(TOO_MANY_CALLS.code, TOO_MANY_CALLS.reason)
            return
        await self._call(leg, nursery, address, protocol)

    def _refusal(self, path: str, protocol: str, token: str, headers: Mapping[str, str]) -> tuple[int, str] | None:
        """What is answered in place of the upgrade: an HTTP status, and one line."""
        settings = self.house.settings
        if path != "/voice":
            return 404, "callers connect to /voice"
        if not page_may_call(headers.get("origin"), settings.voice_origins):
            return 403, "pages of this origin may not call; VOICE_ORIGINS names those that may"
        if settings.voice_token is not None:
            shown = (bearer(headers.get("authorization", "")), token)
            if not any(same_secret(settings.voice_token, one) for one in shown):
                return 401, "show VOICE_TOKEN: Authorization: Bearer ..., or /voice?token=..."
        if protocol not in get_args(VoiceProtocol):
            return 400, "protocol is binary or json"
        return None

    def _has_room(self) -> bool:
        refusing = self._ending if self._port_is_shared else self._draining.is_set()
        if refusing or len(self._running) >= self.house.settings.max_calls:
            return False
        if not self._setups.allows_one_more():
            self.house.counts["calls_refused_by_rate"] += 1
            return False
        return True

    async def _call(self, leg: WebSocketLeg, nursery: trio.Nursery, address: str, protocol: str) -> None:
        record = self.house.begin_call(f"c-{secrets.token_hex(6)}", address, protocol)
        structlog.contextvars.bind_contextvars(call_id=record.id)  # this task's, and that of all that the call starts
        ending = SHUTTING_DOWN  # what stands when this task is cancelled from outside
        scope = trio.CancelScope()
        self._running.add(scope)
        try:
            with scope:
                ending = await run_call(leg, record, self.house, nursery)
        except Exception:
            ending = INTERNAL_ERROR
            raise
        finally:
            # Vapi's last words may still be in the socket's buffer, where a close by force would lose them.
            spoken = record.counts["downlink_bytes"] and not record.counts["playouts_cut"]
            last_words = ending.by == "vapi" and spoken
            seconds = limits.LAST_WORDS_SECONDS if last_words else limits.CLOSE_SECONDS
            with trio.move_on_after(seconds + limits.CLOSE_SECONDS * 2, shield=True):
                await leg.aclose(ending.code, ending.reason, seconds)
            self._running.discard(scope)
            self._look_again()
            self.house.end_call(record, ending)


def _address(stream: trio.SocketStream) -> str:
    """host:port of the caller's end."""
    try:
        host, port, *_ = stream.socket.getpeername()
    except OSError:
        return "gone already"
    return f"{host}:{port}"
