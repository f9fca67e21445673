"""Vapi's side of the tools: POSTs to the webhook that POST /call named, one of a call at a time, each timed.

One connection for each POST: nothing documents that Vapi keeps them.
"""

import asyncio
import json
import time
import uuid
from collections.abc import Mapping
from typing import Any, Final

import h11

from bench.load.calls import Exchange, VapiCall
from bench.load.failure import LoadFailure, all_of
from bench.load.http_request import request

TOOL: Final = "display_card_info_by_last4"
ARGUMENTS: Final[Mapping[str, str]] = {"last4": "4242"}
POST_SECONDS: Final = 20.0  # Vapi's own patience


async def post_tools(exchange: Exchange, concurrent: int, posts: int) -> list[tuple[str, float]]:
    """(toolCallId, seconds) of `posts` POSTs, `concurrent` of them at any time, each in a call of its own.

    Raises LoadFailure when one is not answered with that card's holder.
    """
    calls = [caller.vapi for caller in exchange.callers if caller.vapi is not None][:concurrent]
    if len(calls) < concurrent:
        raise LoadFailure(f"{concurrent} tools at once need as many calls, and there are {len(calls)}")
    shares = [posts // concurrent + (number < posts % concurrent) for number in range(concurrent)]
    timed = await all_of([_one_call(call, share) for call, share in zip(calls, shares, strict=True)])
    return [post for of_one_call in timed for post in of_one_call]


async def post_steadily(exchange: Exchange, every_seconds: float, seconds: float) -> list[tuple[str, float]]:
    """The same for `seconds`: every call posts once in `every_seconds`, and not all at the same time."""
    calls = [caller.vapi for caller in exchange.callers if caller.vapi is not None]

    async def post(call: VapiCall, at_seconds: float) -> list[tuple[str, float]]:
        timed, began = [], time.monotonic()
        while at_seconds < seconds:
            await asyncio.sleep(began + at_seconds - time.monotonic())
            timed += await _one_call(call, 1)
            at_seconds += every_seconds
        return timed

    timed = await all_of([post(call, every_seconds * place / len(calls)) for place, call in enumerate(calls)])
    return [one for of_one_call in timed for one in of_one_call]


async def _one_call(call: VapiCall, posts: int) -> list[tuple[str, float]]:
    timed = []
    for _ in range(posts):
        tool_call_id = f"call_{uuid.uuid4().hex[:24]}"
        body = json.dumps(_message(call.id, tool_call_id)).encode()
        began = time.monotonic_ns()
        try:
            async with asyncio.timeout(POST_SECONDS):
                status, answer = await _post(call.server["url"], call.server.get("headers", {}), body)
        except (OSError, TimeoutError, h11.ProtocolError, KeyError) as exc:
            raise LoadFailure(f"the webhook did not answer: {exc or type(exc).__name__}") from exc
        timed.append((tool_call_id, (time.monotonic_ns() - began) / 1e9))
        if status != 200 or b"Dana Whitfield" not in answer:
            raise LoadFailure(f"the webhook answered {status}: {answer[:300].decode('utf-8', 'replace')}")
    return timed


def _message(call_id: str, tool_call_id: str) -> dict[str, Any]:
    """The live form of Vapi's `tool-calls` message."""
    tool_call = {"id": tool_call_id, "type": "function", "function": {"name": TOOL, "arguments": dict(ARGUMENTS)}}
    return {"message": {"type": "tool-calls", "call": {"id": call_id}, "toolCallList": [tool_call]}}


async def _post(url: str, headers: Mapping[str, str], body: bytes) -> tuple[int, bytes]:
    pieces: list[bytes] = []
    status = await request("POST", url, {"Content-Type": "application/json", **headers}, body, pieces.append)
    return status, b"".join(pieces)
