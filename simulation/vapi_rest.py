"""The cloud's REST side: ``/call`` and each call's ``controlUrl``.

Order of the checks on a request, outermost first, as a client meets them: the gateway (User-Agent), the key, the
body's shape, the call's own rules, the account's slots.
"""

import json
import uuid
from collections.abc import Callable
from typing import Any, Final

import attrs
import trio

from simulation.events import mono_now
from simulation.http_server import HttpReply, HttpRequest, json_reply
from simulation.vapi_account import VapiCloud
from simulation.vapi_call import SimulatedCall
from simulation.vapi_names import CLIENT_INBOUND_MESSAGES
from simulation.vapi_requests import complaints_about

MAX_LISTED = 1_000
DEFAULT_LISTED = 100
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
    """Answers the cloud's REST requests. ``expire`` starts the watch over a call that nobody dials."""

    cloud: VapiCloud
    expire: Callable[[SimulatedCall], None]

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
        if request.method == "GET":
            return self._get(parts[1]) if len(parts) == 2 else self._list(request.query.get("limit"))
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
        if self.cloud.active_calls >= self.cloud.slots:
            return nest_error(400, OVER_LIMIT)
        call = self.cloud.new_call(str(uuid.UUID(int=self.cloud.rng.getrandbits(128), version=4)), request)
        self.expire(call)
        # As it is now: a slow reply must not tell of an end that came while it was under way.
        created = self._created(call)
        await trio.sleep(behaviour.post_delay_seconds)
        return None if behaviour.lose_reply else created

    def _created(self, call: SimulatedCall) -> HttpReply:
        """201 with the transport's URL and no ``monitor``, which is absent from this reply on the live service."""
        remaining = self.cloud.slots - self.cloud.active_calls
        transport = {**call.request["transport"], "websocketCallUrl": self.cloud.transport_url(call)}
        limits = {
            "concurrencyBlocked": remaining <= 0,
            "concurrencyLimit": self.cloud.slots,
            "remainingConcurrentCalls": remaining,
        }
        return json_reply(201, call.as_json() | {"transport": transport, "subscriptionLimits": limits})

    def _get(self, call_id: str) -> HttpReply:
        call = self.cloud.find(call_id)
        if call is None:
            return nest_error(404, f"Couldn't Find Call. `{call_id}` Does Not Exist.")
        return json_reply(200, self._shown(call))

    def _shown(self, call: SimulatedCall) -> dict[str, Any]:
        transport = {**call.request["transport"], "websocketCallUrl": self.cloud.transport_url(call)}
        ripe = mono_now() - call.log.start_mono >= self.cloud.behaviour.monitor_after_seconds
        monitor = {
            "listenUrl": self.cloud.transport_url(call).replace("/transport", "/listen"),
            "controlUrl": self.cloud.control_url(call),
        }
        return call.as_json(monitor if ripe else None) | {"transport": transport}

    def _list(self, limit: str | None) -> HttpReply:
        """The newest first, at most ``limit`` (1 to 1,000; 100 when not given)."""
        if limit is not None and not (limit.isdecimal() and 1 <= int(limit) <= MAX_LISTED):
            return nest_error(400, [f"limit must not be greater than {MAX_LISTED}"])
        newest = self.cloud.calls[::-1][: int(limit or DEFAULT_LISTED)]
        return json_reply(200, [self._shown(call) for call in newest])

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
