"""Vapi's side of a tool call: the POST to the tool's own server, and what the model hears of the answer.

What the body looks like: :mod:`simulation.tool_messages`. Rules for the answer: Vapi's troubleshooting page for custom
tools and OpenAPI's ToolCallResult.
"""

import json
import ssl
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

import attrs
import h11
import trio

from simulation.network import Network

NO_RESULT = "No result returned"
DEFAULT_TIMEOUT_SECONDS = 20.0
USER_AGENT = "simulated-vapi"
PORTS: Final = {"http": 80, "https": 443}
READ_BYTES = 64 * 1024
MAX_ANSWER_BYTES = 4 * 1024 * 1024


NumberedCall = tuple[str, str, Mapping[str, Any]]
"""toolCallId, the tool's name, its arguments."""


@attrs.frozen
class Verdict:
    """What became of one tool call: ``heard`` is what the model gets; ``problem`` says why it is not the answer."""

    tool_call_id: str
    tool: str
    accepted: bool
    heard: str
    is_error: bool = False
    problem: str = ""
    remark: str = ""


@attrs.frozen
class WebhookExchange:
    """One POST with all it carried. ``status`` is None when no HTTP answer came (see ``failure``)."""

    url: str
    tools: tuple[tuple[str, Mapping[str, Any]], ...]
    request: Mapping[str, Any]
    request_headers: Mapping[str, str]
    status: int | None
    response: str
    response_headers: Mapping[str, str]
    seconds: float
    verdicts: tuple[Verdict, ...]
    started_mono: float
    attempt: int = 1
    redelivered: bool = False
    failure: str = ""

    @property
    def accepted(self) -> bool:
        """Every call of the POST got an answer that the model hears."""
        return all(verdict.accepted for verdict in self.verdicts)


@attrs.frozen
class ToolRequest:
    """A POST to be made: ``calls`` are all for tools of one server."""

    url: str
    headers: Mapping[str, str]
    body: Mapping[str, Any]
    calls: tuple[NumberedCall, ...]
    timeout_seconds: float


@attrs.frozen
class Answer:
    """The HTTP side of an exchange; ``failure`` when there was none."""

    status: int | None
    body: bytes
    headers: Mapping[str, str]
    seconds: float
    failure: str = ""


@attrs.frozen
class WebhookClient:
    """Posts webhooks over HTTP/1.1; one connection for each, as nothing documents that Vapi keeps them."""

    network: Network

    async def post(self, request: ToolRequest) -> Answer:
        """POST and wait for the whole answer, at most ``timeout_seconds``. Raises nothing but Cancelled."""
        began = trio.current_time()
        try:
            with trio.fail_after(request.timeout_seconds):
                status, headers, body = await self._exchange(request)
        except trio.TooSlowError:
            failure = f"no answer within {request.timeout_seconds:g} s"
        except (OSError, ValueError, trio.BrokenResourceError, h11.ProtocolError) as error:
            failure = f"{type(error).__name__}: {error}"
        else:
            return Answer(status, body, headers, trio.current_time() - began)
        return Answer(None, b"", {}, trio.current_time() - began, failure)

    async def _exchange(self, request: ToolRequest) -> tuple[int, dict[str, str], bytes]:
        parts = urlsplit(request.url)
        if not request.url:
            raise ValueError("the assistant was given no tool of this name, and so no address to ask")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{request.url!r} is not an http:// or https:// URL")
        stream: trio.abc.Stream = await self.network.dial(parts.hostname, parts.port or PORTS[parts.scheme])
        if parts.scheme == "https":
            context = ssl.create_default_context()
            stream = trio.SSLStream(stream, context, server_hostname=parts.hostname, https_compatible=True)
        try:
            connection = h11.Connection(h11.CLIENT)
            await stream.send_all(_request_bytes(connection, request, parts))
            return await _read_answer(stream, connection)
        finally:
            await trio.aclose_forcefully(stream)


def _request_bytes(connection: h11.Connection, request: ToolRequest, parts: SplitResult) -> bytes:
    body = json.dumps(request.body).encode()
    headers = {
        "host": parts.netloc.rpartition("@")[2],
        "content-type": "application/json",
        "user-agent": USER_AGENT,
        "content-length": str(len(body)),
        "connection": "close",
        **request.headers,
    }
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    data = connection.send(h11.Request(method="POST", target=target, headers=list(headers.items()))) or b""
    data += connection.send(h11.Data(data=body)) or b""
    return data + (connection.send(h11.EndOfMessage()) or b"")


async def _read_answer(stream: trio.abc.Stream, connection: h11.Connection) -> tuple[int, dict[str, str], bytes]:
    """Status, headers (lower case) and body; raises h11.RemoteProtocolError when the answer is cut short."""
    status, headers, body = 0, dict[str, str](), bytearray()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(bytes(await stream.receive_some(READ_BYTES)))
        elif isinstance(event, h11.Response):
            status = event.status_code
            headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in event.headers}
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > MAX_ANSWER_BYTES:
                raise ValueError(f"the answer is longer than {MAX_ANSWER_BYTES} bytes")
        elif isinstance(event, h11.EndOfMessage | h11.ConnectionClosed):
            return status, headers, bytes(body)


def judge(answer: Answer, calls: Sequence[NumberedCall], *, function_call: bool = False) -> tuple[Verdict, ...]:
    """What the model hears for each of ``calls``, as the real service decides it.

    ``function_call``: the answer is to the deprecated message, which has no id and wants ``{"result": …}``.
    """
    problem, body = _body_of(answer)
    results = body.get("results")
    if function_call:
        results = [{"toolCallId": call_id, "name": name, **body} for call_id, name, _ in calls]
    if not problem and not isinstance(results, list):
        problem, results = "the answer has no 'results' array", []
    return tuple(_verdict(call_id, name, problem, results) for call_id, name, _ in calls)


def _body_of(answer: Answer) -> tuple[str, dict[str, Any]]:
    if answer.status is None:
        return answer.failure, {}
    if answer.status != 200:
        return f"status {answer.status}: any status but 200 is ignored with its body", {}
    if "application/json" not in answer.headers.get("content-type", ""):
        return "the answer is not application/json", {}
    try:
        body = json.loads(answer.body)
    except ValueError:
        return "the answer is not JSON", {}
    return "", body if isinstance(body, dict) else {}


def _verdict(call_id: str, name: str, problem: str, results: Any) -> Verdict:
    def refused(why: str) -> Verdict:
        return Verdict(call_id, name, accepted=False, heard=NO_RESULT, problem=why)

    if problem:
        return refused(problem)
    entry = next((item for item in results if isinstance(item, dict) and item.get("toolCallId") == call_id), None)
    if entry is None:
        return refused(f"no result has the toolCallId {call_id}")
    key = "result" if "result" in entry else "error"
    heard = entry.get(key)
    if not isinstance(heard, str):
        return refused(f"'{key}' is not a string")
    if "\n" in heard or "\r" in heard:
        return refused(f"'{key}' has a line break")
    remark = "" if entry.get("name") == name else "the result has no matching 'name', which OpenAPI requires"
    return Verdict(call_id, name, accepted=True, heard=heard, is_error=key == "error", remark=remark)
