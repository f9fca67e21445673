"""Conversations with the real Vapi: what they may cost, and what Vapi says of each when it is over.

Nobody has run this against the real service yet; it has been run, through the same code, against the simulated cloud.
"""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import attrs
import trio

from runtime.http_client import HttpClient, Unreachable, open_http_client
from runtime.settings import Settings
from runtime.tls import trusting
from sandbox.verdict import Conversation
from simulation.checks import Check

MAX_CALL_SECONDS: Final = 180.0
"""The caller hangs up then, whatever is being said."""
DOLLARS_PER_MINUTE: Final = 0.25
"""Only to decide beforehand whether another call fits: on the high side. What was spent is what Vapi reports."""
ENDED: Final = "the Vapi call ended, says Vapi"
ENDED_SECONDS: Final = 20.0
LOOK_SECONDS: Final = 1.0
REQUEST_SECONDS: Final = 10.0


@attrs.define
class Budget:
    """A ceiling on calls, minutes and US dollars, and what was spent of it. A call is begun only if the longest and
    dearest it can become still fits, and none while an earlier one may still be running. Mutable: ``calls``,
    ``minutes``, ``dollars``, ``running``."""

    most_calls: int
    most_minutes: float
    most_dollars: float
    calls: int = 0
    minutes: float = 0.0
    dollars: float = 0.0
    running: str = ""

    def refuses(self) -> str:
        """Why the next call is not begun; "" when it may be."""
        minutes = MAX_CALL_SECONDS / 60
        dollars = minutes * DOLLARS_PER_MINUTE
        if self.running:
            return f"not held: the call of {self.running} may still be running at Vapi: look there, and end it"
        if self.calls >= self.most_calls:
            return f"not held: {self.calls} calls were made, and --max-calls is {self.most_calls}"
        if not self.minutes + minutes <= self.most_minutes:
            used = f"{self.minutes:.1f} minutes were used, the next call may take {minutes:g}"
            return f"not held: {used}, and --max-minutes is {self.most_minutes:g}"
        if not self.dollars + dollars <= self.most_dollars:  # nor when one of them is not a number
            used = f"${self.dollars:.2f} were spent, the next call may take ${dollars:.2f}"
            return f"not held: {used}, and --max-cost is {self.most_dollars:g}"
        return ""

    def spend(self, conversation: Conversation) -> None:
        """A call that was made, or may have been: one that broke down may have been the longest there is. Its cost is
        the estimate where Vapi tells none, or none yet: right behind the end it may say 0."""
        minutes = (MAX_CALL_SECONDS if conversation.problem else conversation.seconds) / 60
        self.calls += 1
        if any(check.name == ENDED and check.failed for check in conversation.checks):
            self.running = conversation.scenario
        self.minutes += minutes
        self.dollars += conversation.cost_dollars or minutes * DOLLARS_PER_MINUTE

    def question(self, conversations: int) -> str:
        """What is to be agreed to before the first call."""
        count = min(conversations, self.most_calls)
        minutes = min(count * MAX_CALL_SECONDS / 60, self.most_minutes)
        dollars = min(minutes * DOLLARS_PER_MINUTE, self.most_dollars)
        return (
            f"{count} call(s) at Vapi that cost money, {minutes:g} minutes at most, about ${dollars:.2f} at most "
            f"(ceilings: {self.most_calls} calls, {self.most_minutes:g} minutes, ${self.most_dollars:g})"
        )


@attrs.frozen
class LiveCall:
    """What `GET /call/{id}` told. ``cost`` in US dollars, None where it is not told."""

    status: str
    ended_reason: str = ""
    cost: float | None = None


@attrs.frozen
class LiveVapi:
    """Reads calls from Vapi's REST API; makes and changes none."""

    _http: HttpClient
    _base_url: str
    _key: str = attrs.field(repr=False)

    async def outcome(self, call_id: str) -> LiveCall:
        """What became of a call; waits up to ENDED_SECONDS for its end."""
        seen = LiveCall("unknown")
        with trio.move_on_after(ENDED_SECONDS):
            while True:
                seen = await self._look(call_id)
                if seen.status == "ended":
                    break
                await trio.sleep(LOOK_SECONDS)
        return seen

    async def _look(self, call_id: str) -> LiveCall:
        headers = {"Authorization": f"Bearer {self._key}"}
        url = f"{self._base_url}/call/{call_id}"
        try:
            reply = await self._http.request("GET", url, seconds=REQUEST_SECONDS, headers=headers)
        except Unreachable as error:
            return LiveCall(f"unknown: {error}")
        told = reply.json()
        if reply.status != 200 or not isinstance(told, dict):
            return LiveCall(f"unknown: GET /call/{{id}} was answered {reply.status}")
        cost = told.get("cost")
        dollars = float(cost) if isinstance(cost, int | float) and not isinstance(cost, bool) else None
        return LiveCall(str(told.get("status")), str(told.get("endedReason") or ""), dollars)


@asynccontextmanager
async def open_live_vapi(settings: Settings) -> AsyncIterator[LiveVapi]:
    """For the body, with the key and address of the settings."""
    async with open_http_client(trusting(settings.ssl_cert_file)) as http:
        yield LiveVapi(http, settings.vapi_base_url, settings.vapi_api_key)


def created_call(line: str) -> str | None:
    """The id in a line of our agent's log, when it tells of a call that was created at Vapi."""
    if '"call-created"' not in line:
        return None
    try:
        told = json.loads(line)
        return str(told["data"]["id"])
    except (ValueError, KeyError, TypeError):
        return None


def ended_check(call: LiveCall | None) -> Check:
    """Whether the call is over at Vapi: nothing is left running and billed."""
    if call is None:
        return Check(ENDED, False, "the agent told of no call that it created")
    return Check(ENDED, call.status == "ended", f"{call.status}, {call.ended_reason or 'no reason'}")
