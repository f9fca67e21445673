"""Server messages about a call's end: ``status-update`` and ``end-of-call-report``, to the assistant's own server.

Only an assistant with a ``server`` gets them (a tool's server gets tool calls and nothing else), of the types in its
``serverMessages``. Measured: ``ended`` 1.58 s behind the end, the report 2.88 s, its summary and analysis empty unless
asked for.
"""

from typing import Any

import trio

from simulation.events import wall_now
from simulation.vapi_call import SimulatedCall, iso
from simulation.webhook_client import DEFAULT_TIMEOUT_SECONDS, ToolRequest, WebhookClient

ENDED_SECONDS = 1.58
REPORT_SECONDS = 2.88
END_MESSAGES = ("status-update", "end-of-call-report")


async def report_end(call: SimulatedCall, webhooks: WebhookClient) -> None:
    """Post what is said about the end of ``call``, which has ended; the answers are not looked at.

    Raises nothing but Cancelled.
    """
    server = call.assistant.get("server") or {}
    wanted = call.assistant.get("serverMessages") or END_MESSAGES
    if not server.get("url"):
        return
    ended = trio.current_time()
    for kind, after_seconds in zip(END_MESSAGES, (ENDED_SECONDS, REPORT_SECONDS), strict=True):
        if kind in wanted:
            await trio.sleep_until(ended + after_seconds)
            timeout = float(server.get("timeoutSeconds") or DEFAULT_TIMEOUT_SECONDS)
            headers = {"x-call-id": call.id, **(server.get("headers") or {})}
            await webhooks.post(ToolRequest(server["url"], headers, {"message": _message(kind, call)}, (), timeout))


def _message(kind: str, call: SimulatedCall) -> dict[str, Any]:
    spoken = [text for text in call.sent_texts if text.get("type") == "transcript"]
    message: dict[str, Any] = {
        "type": kind,
        "timestamp": int(wall_now() * 1000),
        "endedReason": call.ended_reason,
        "call": call.as_json(),
        "assistant": call.assistant,
        "artifact": {
            "messages": [],
            "messagesOpenAIFormatted": [{"role": text["role"], "content": text["transcript"]} for text in spoken],
        },
    }
    if kind == "status-update":
        return message | {"status": "ended"}
    times = {"startedAt": iso(call.created_at), "endedAt": iso(call.updated_at)}
    return message | times | {"analysis": {}, "cost": 0, "costs": []}
