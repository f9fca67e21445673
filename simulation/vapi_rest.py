"""The cloud's REST side: ``/call`` and each call's ``controlUrl``.

Order of the checks on a request, outermost first, as a client meets them: the gateway (User-Agent), the key, the
body's shape, the call's own rules, the account's slots.
"""

import json
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs
import trio

from simulation.events import mono_now, wall_now
from simulation.http_server import HttpReply, HttpRequest, json_reply
from simulation.shapes import Shape, list_of, text
from simulation.vapi_account import VapiCloud
from simulation.vapi_call import SimulatedCall
from simulation.vapi_listing import listed
from simulation.vapi_names import CLIENT_INBOUND_MESSAGES
from simulation.vapi_requests import complaints_about

UPDATE_CALL = Shape({"name": text(40)})
DELETE_CALL = Shape({"ids": list_of(text())})
LIMIT_REACHED = "call.start.error-subscription-concurrency-limit-reached"
INVALID_KEY = "Invalid Key. Hot tip, you may be using the private key instead of the public key, or vice versa."
OVER_LIMIT = "Over Concurrency Limit. Check Out Our Docs To Raise It."
PHRASES: Final = {
    400: "Bad Request",
    401: "Unauthorized",
    402: "Payment Required",
    404: "Not Found",
    413: "Payload Too Large",
    429: "Too Many Requests",
    500: "Internal Server Error",
    503: "Service Unavailable",
}
HTML_PAGE = "<html><head><title>{status}</title></head><body><center><h1>{status}</h1></center></body></html>"


def nest_error(status: int, message: str | list[str]) -> HttpReply:
    """An error as NestJS words it; ``message`` may be a string or a list, and clients must take both."""
    return json_reply(status, {"message": message, "error": PHRASES.get(status, "Error"), "statusCode": status})


@attrs.frozen(eq=False)
class Rest:
    """Answers the cloud's REST requests. ``expire`` starts the watch over a call that nobody dials.

    Mutable: ``deleted`` (ids of calls whose data is gone; the cloud's own record of them stays).
    """

    cloud: VapiCloud
    expire: Callable[[SimulatedCall], None]
    deleted: set[str] = attrs.field(factory=set)

    async def answer(self, request: HttpRequest) -> HttpReply | None:
        """The reply to ``request``; None drops the connection. Cancelled: a call that was made stays made."""
        reply = await self._route(request)
        self.cloud.requests.append((request.method, request.path, reply.status if reply else 0))
        return reply

    async def _route(self, request: HttpRequest) -> HttpReply | None:
        if not request.headers.get("user-agent"):
            # Cloudflare's answer, in front of everything; it looks like a matter of keys and is not.
            return HttpReply(403, b"error code: 1010", "text/plain; charset=UTF-8")
        parts = request.path.strip("/").split("/")
        if len(parts) == 2 and parts[1] == "control" and request.method == "POST":
            return self._control(parts[0], request.body)
        if parts[0] != "call" or len(parts) > 2:
            return nest_error(404, f"Cannot {request.method} {request.path}")
        if request.headers.get("authorization") != f"Bearer {self.cloud.api_key}":
            return nest_error(401, INVALID_KEY)
        if request.method == "POST" and len(parts) == 1:
            return await self._create(request.body)
        if request.method == "GET" and len(parts) == 1:
            return self._list(request.query)
        if len(parts) == 2 and request.method in ("GET", "PATCH", "DELETE"):
            return self._one(request.method, parts[1], request.body)
        return nest_error(404, f"Cannot {request.method} {request.path}")

    async def _create(self, body: bytes) -> HttpReply | None:
        behaviour = self.cloud.behaviour
        if behaviour.html_error is not None:
            page = HTML_PAGE.format(status=behaviour.html_error).encode()
            await trio.sleep(behaviour.post_delay_seconds)
            return HttpReply(behaviour.html_error, page, "text/html")
        if behaviour.reject_status is not None:
            await trio.sleep(behaviour.post_delay_seconds)
            return nest_error(behaviour.reject_status, "Rejected By The Simulation")
        try:
            request = json.loads(body)
        except ValueError as error:
            return nest_error(400, f"Unexpected token in JSON: {error}")
        complaints = complaints_about(request, strict_parameters=behaviour.strict_parameters)
        if complaints:
            return nest_error(400, complaints)
        full = self.cloud.active_calls >= self.cloud.slots
        if full and behaviour.over_limit == "refused":
            return nest_error(400, OVER_LIMIT)
        call = self.cloud.new_call(str(uuid.UUID(int=self.cloud.rng.getrandbits(128), version=4)), request)
        self.expire(call)
        # As it is now: a slow reply must not tell of an end that came while it was under way.
        created = self._created(call)
        if full:
            call.end(LIMIT_REACHED, by="vapi")
            call.over.set()
        await trio.sleep(behaviour.post_delay_seconds)
        return None if behaviour.lose_reply else created

    def _created(self, call: SimulatedCall) -> HttpReply:
        """201 with the transport's URL and no ``monitor``, which is absent from this reply on the live service."""
        remaining = self.cloud.slots - self.cloud.active_calls
        transport = {**call.request["transport"], "websocketCallUrl": self.cloud.transport_url(call)}
        limits = {
            "concurrencyBlocked": remaining <= 0,
            "concurrencyLimit": self.cloud.slots,
            "remainingConcurrentCalls": max(0, remaining),
        }
        return json_reply(201, call.as_json() | {"transport": transport, "subscriptionLimits": limits})

    def _one(self, method: str, call_id: str, body: bytes) -> HttpReply:
        """GET, PATCH (of the name, nothing else) or DELETE (of the data; the call itself goes on) of one call."""
        call = self.cloud.find(call_id)
        if call is None or call_id in self.deleted:
            return nest_error(404, f"Couldn't Find Call. `{call_id}` Does Not Exist.")
        if method == "GET":
            return json_reply(200, self._shown(call))
        try:
            asked = json.loads(body)
        except ValueError as error:
            return nest_error(400, f"Unexpected token in JSON: {error}")
        complaints = (UPDATE_CALL if method == "PATCH" else DELETE_CALL)(asked, "")
        if complaints:
            return nest_error(400, complaints)
        if method == "PATCH":
            call.request, call.updated_at = {**call.request, **asked}, wall_now()
        else:
            self.deleted.update(asked.get("ids") or [call_id])
        return json_reply(200, self._shown(call))

    def _shown(self, call: SimulatedCall) -> dict[str, Any]:
        transport = {**call.request["transport"], "websocketCallUrl": self.cloud.transport_url(call)}
        ripe = mono_now() - call.log.start_mono >= self.cloud.behaviour.monitor_after_seconds
        monitor = {
            "listenUrl": self.cloud.transport_url(call).replace("/transport", "/listen"),
            "controlUrl": self.cloud.control_url(call),
        }
        return call.as_json(monitor if ripe else None) | {"transport": transport}

    def _list(self, query: Mapping[str, str]) -> HttpReply:
        found, complaints = listed([call for call in self.cloud.calls if call.id not in self.deleted], query)
        return nest_error(400, complaints) if complaints else json_reply(200, [self._shown(call) for call in found])

    def _control(self, call_id: str, body: bytes) -> HttpReply:
        """A controlUrl: no key by default; 200 means accepted, no more; the connection closes (both measured)."""
        call = self.cloud.find(call_id)
        if call is None or call.status == "ended":
            return nest_error(404, "Call Not Found")
        try:
            message = json.loads(body)
        except ValueError:
            message = None
        kind = message.get("type") if isinstance(message, dict) else None
        if kind not in CLIENT_INBOUND_MESSAGES:
            return nest_error(400, "Invalid Control Message")
        call.controls.append(message)
        if kind == "end-call":
            call.end("manually-canceled", by="control")
            if not call.dialled:
                call.over.set()
        return json_reply(200, {"success": True}, close=True)
