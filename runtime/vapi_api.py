"""What is said to Vapi's REST API, and what its answers mean. Pure but for `VapiApi`'s requests.

Sources: Vapi's OpenAPI (CreateCallDTO, VapiWebsocketTransport, Server, OpenAIFunction) and documentation;
where they contradict each other, what working clients of this transport do (docs/protocol.md).
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import attrs

from runtime import limits
from runtime.errors import NoAnswer
from runtime.http_client import HttpClient, Reply, Unreachable
from runtime.settings import Settings

CLIENT_MESSAGES = ("speech-update", "transcript", "status-update", "tool-calls", "user-interrupted", "hang")
"""What Vapi tells us on the socket. Without conversation-update: it grows with the call and is not needed."""
SERVER_MESSAGES = ("tool-calls",)
"""What Vapi POSTs. Left out of an explicit list, tool-calls are answered "Success." by Vapi itself."""
FIRST_MESSAGE = "Thanks for calling Acme Bank, this is Riley — how can I help?"

_TOOL_MESSAGES: Final = [
    {"type": "request-start", "content": "One moment."},  # without one, Vapi makes up a filler of its own
    {"type": "request-failed", "content": "I am sorry, that did not work just now."},
]


def call_request(
    settings: Settings, prompt: str, functions: Sequence[dict[str, Any]], server: dict[str, Any], tag: str
) -> dict[str, Any]:
    """The body of POST /call: an inline assistant, so that nothing in the account is shared or changed."""
    tools = [
        {"type": "function", "async": False, "function": function, "server": server, "messages": _TOOL_MESSAGES}
        for function in functions
    ]
    return {
        "name": f"voice-{tag}",
        "metadata": {"voiceCall": tag},
        "transport": {
            "provider": "vapi.websocket",
            "audioFormat": {"format": "pcm_s16le", "container": "raw", "sampleRate": limits.SAMPLE_RATE_HZ},
        },
        "assistant": {
            "firstMessage": FIRST_MESSAGE,
            "firstMessageMode": "assistant-speaks-first",
            "model": {
                "provider": settings.vapi_model_provider,
                "model": settings.vapi_model,
                "messages": [{"role": "system", "content": prompt}],
                "tools": tools,
                "maxTokens": 500,  # Vapi's 250 cuts long tool turns
            },
            "voice": {"provider": settings.vapi_voice_provider, "voiceId": settings.vapi_voice_id},
            "transcriber": {
                "provider": settings.vapi_transcriber_provider,
                "model": settings.vapi_transcriber_model,
                "language": settings.vapi_transcriber_language,
            },
            "clientMessages": list(CLIENT_MESSAGES),
            "serverMessages": list(SERVER_MESSAGES),
            "startSpeakingPlan": {
                "waitSeconds": 0.8,
                "transcriptionEndpointingPlan": {
                    "onPunctuationSeconds": 0.6, "onNoPunctuationSeconds": 1.2, "onNumberSeconds": 0.7,
                },
            },
            "stopSpeakingPlan": {"numWords": 2, "voiceSeconds": 0.2, "backoffSeconds": 1},
            "backgroundSound": "off",
            "backgroundSpeechDenoisingPlan": {"smartDenoisingPlan": {"enabled": False}},
            "silenceTimeoutSeconds": 60,
            "maxDurationSeconds": limits.CALL_MOST_SECONDS,
        },
    }  # fmt: skip


@attrs.frozen
class CreatedCall:
    """Vapi's reply to POST /call. `websocket_url` is a secret: it is the key to the call's audio."""

    id: str
    websocket_url: str = attrs.field(repr=False)
    account_slots: int | None = None
    """`subscriptionLimits.concurrencyLimit`, where the reply tells it."""


@attrs.frozen
class VapiApi:
    """The requests. Each raises NoAnswer or Unreachable; none is retried: there is no idempotency key."""

    _http: HttpClient
    _base_url: str
    _key: str = attrs.field(repr=False)

    async def create(self, body: dict[str, Any]) -> CreatedCall:
        """POST /call. Raises NoAnswer with the cause, and Unreachable(sent=True) when the reply was lost."""
        try:
            reply = await self._request("POST", "/call", limits.VAPI_CREATE_SECONDS, body)
        except Unreachable as exc:
            if exc.sent:
                raise
            raise NoAnswer("vapi_down", f"Vapi at {self._base_url} cannot be reached: {exc}") from exc
        if reply.status not in (200, 201):
            raise refusal(_without(reply, self._key, *_secrets_in(body)))
        parsed = reply.json()
        try:
            return CreatedCall(str(parsed["id"]), str(parsed["transport"]["websocketCallUrl"]), _account_slots(parsed))
        except (TypeError, KeyError):
            line = f"Vapi answered {reply.status} without an id and a websocketCallUrl"
            raise Unreachable(line, sent=True) from None

    async def control_url(self, call_id: str) -> tuple[str, str | None]:
        """(status, controlUrl): Vapi shows `monitor` on GET /call/{id} only, and not at once."""
        reply = await self._request("GET", f"/call/{call_id}", limits.VAPI_REST_SECONDS)
        parsed = reply.json()
        if reply.status == 404 or not isinstance(parsed, dict):
            return ("not-found" if reply.status == 404 else "unknown"), None
        monitor = parsed.get("monitor")
        url = monitor.get("controlUrl") if isinstance(monitor, dict) else None
        return str(parsed.get("status", "unknown")), url if isinstance(url, str) else None

    async def end_by_control(self, control_url: str) -> bool:
        reply = await self._http.request(
            "POST", control_url, seconds=limits.VAPI_REST_SECONDS, json={"type": "end-call"}
        )
        return reply.status < 300

    async def find(self, tag: str) -> CreatedCall | None:
        """The call that carries `tag`, among the newest hundred."""
        reply = await self._request("GET", "/call?limit=100", limits.VAPI_REST_SECONDS)
        calls = reply.json()
        for call in calls if isinstance(calls, list) else []:
            if not isinstance(call, dict):
                continue
            metadata = call.get("metadata")
            by_metadata = isinstance(metadata, dict) and metadata.get("voiceCall") == tag
            if by_metadata or call.get("name") == f"voice-{tag}":
                transport = call.get("transport")
                url = transport.get("websocketCallUrl", "") if isinstance(transport, dict) else ""
                return CreatedCall(str(call.get("id")), str(url))
        return None

    async def _request(self, method: str, path: str, seconds: float, body: Any = None) -> Reply:
        headers = {"Authorization": f"Bearer {self._key}"}
        return await self._http.request(method, self._base_url + path, seconds=seconds, json=body, headers=headers)


def _secrets_in(body: Any) -> Iterator[str]:
    """Of a POST /call: the values of all `headers`, which its webhooks will show us."""
    if isinstance(body, dict):
        yield from map(str, body.get("headers", {}).values())
    for part in body.values() if isinstance(body, dict) else body if isinstance(body, list) else ():
        yield from _secrets_in(part)


def _without(reply: Reply, *secrets: str) -> Reply:
    """Vapi may quote what it did not like, and a line of the log may not."""
    body = reply.body
    for secret in filter(None, secrets):
        body = body.replace(secret.encode(), b"[secret]")
    return attrs.evolve(reply, body=body)


def _account_slots(parsed: Any) -> int | None:
    """Documented for this reply, though no property of `Call` in the OpenAPI: read where it is."""
    told = parsed.get("subscriptionLimits")
    limit = told.get("concurrencyLimit") if isinstance(told, dict) else None
    return limit if isinstance(limit, int) and limit > 0 else None


def quoted(reply: Reply) -> str:
    """A foreign body, as much of it as a line can hold."""
    text = " ".join(reply.body[: limits.VAPI_ERROR_BODY_BYTES].decode("utf-8", "replace").split())
    return repr(text) if text else "(an empty body)"


def refusal(reply: Reply) -> NoAnswer:
    """Every error status of POST /call as one line with its cause and what to do."""
    parsed = reply.json()
    message = parsed.get("message") if isinstance(parsed, dict) else None
    said = "; ".join(map(str, message)) if isinstance(message, list) else str(message or quoted(reply))
    said = " ".join(said.split())[: limits.VAPI_ERROR_BODY_BYTES]
    if reply.status == 401:
        return NoAnswer("vapi_rejected", f"Vapi refused the key in VAPI_API_KEY (401): {said}")
    if reply.status == 403 and b"1010" in reply.body:
        return NoAnswer("vapi_rejected", "Vapi's edge blocked our User-Agent (403, error code 1010)")
    if reply.status == 429 or (reply.status == 400 and "concurrency" in said.lower()):
        line = f"Vapi has no free slot for another call ({reply.status}): {said}; raise the limit in its dashboard"
        return NoAnswer("vapi_no_slot", line)
    if reply.status == 400:
        return NoAnswer("vapi_rejected", f"Vapi refused the call's settings (400): {said}")
    if reply.status == 402:
        return NoAnswer("vapi_rejected", f"Vapi wants payment first (402): {said}; add credit in its dashboard")
    if reply.status == 413:
        return NoAnswer("vapi_rejected", f"Vapi found the request too large (413): shorten the prompt; {said}")
    cause = "vapi_down" if reply.status >= 500 or not isinstance(parsed, dict) else "vapi_rejected"
    line = f"Vapi answered POST /call with {reply.status}: {said}"
    return NoAnswer(cause, f"{line}; is VAPI_BASE_URL right?" if reply.status == 404 else line)
