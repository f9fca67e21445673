"""Vapi's tool-calls webhook, pure: bytes in, tool calls out; answers in, the reply's bytes out.

Every shape of request that has been seen or is documented is read here, and every rule of the reply is
kept here, in one builder: Vapi drops a result it does not like without a word ("No result returned").
Sources: Vapi's documentation (custom tools, troubleshooting, server events), its OpenAPI
(ToolCallFunction, FunctionToolWithToolCall, ToolCallResult), live recordings of public servers.
"""

import hashlib
from collections.abc import Sequence
from typing import Any, Final

import attrs
import msgspec
import trio

from runtime import limits

ABSENT: Final = msgspec.Raw(b"null")


class BadPost(Exception):
    """The body cannot be read as tool calls. The text is one line for whoever sent it."""


@attrs.frozen
class ToolCall:
    """One call of a tool. `problem` says why its arguments cannot be used; then `arguments` is empty."""

    id: str
    name: str
    arguments: dict[str, Any]
    problem: str | None = None


@attrs.frozen
class ToolAnswer:
    """What the model gets: exactly one of `result` (any JSON) and `error` (one line)."""

    tool_call_id: str
    name: str
    result: Any = None
    error: str | None = None


@attrs.frozen
class ParsedPost:
    kind: str
    """`tool-calls`, or another of Vapi's server messages, which need no answer."""
    call_id: str | None
    calls: tuple[ToolCall, ...] = ()
    legacy: bool = False
    """The deprecated `function-call` message, whose reply is a bare `{"result": …}`."""


class _Message(msgspec.Struct):
    """What is read of a message; a Raw is only looked over. The conversation so far, a megabyte, never becomes objects:
    that would hold up the audio of all calls."""

    type: msgspec.Raw = ABSENT
    call: msgspec.Raw = ABSENT
    toolCallList: msgspec.Raw = ABSENT  # noqa: N815  # Vapi's names
    toolCalls: msgspec.Raw = ABSENT  # noqa: N815
    toolWithToolCallList: msgspec.Raw = ABSENT  # noqa: N815
    functionCall: msgspec.Raw = ABSENT  # noqa: N815


class _Root(msgspec.Struct):
    message: _Message


class _Call(msgspec.Struct):
    id: msgspec.Raw = ABSENT


def parse_post(body: bytes) -> ParsedPost:
    """Raises BadPost."""
    message = _message(body)
    kind = _read(message.type)
    if not isinstance(kind, str):
        raise BadPost('the body has no {"message": {"type": …}}')
    call_id = _call_id(message.call)
    if kind == "function-call":
        return ParsedPost("tool-calls", call_id, (_legacy_call(message),), legacy=True)
    if kind != "tool-calls":
        return ParsedPost(kind, call_id)
    calls = tuple(_tool_call(entry, name) for entry, name in _entries(message))
    if not calls:
        raise BadPost("a tool-calls message without tool calls")
    return ParsedPost("tool-calls", call_id, calls)


def _message(body: bytes) -> _Message:
    try:
        return msgspec.json.decode(body, type=_Root).message
    except (msgspec.ValidationError, RecursionError):
        raise BadPost('the body has no {"message": {"type": …}}, or is nested too deeply') from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise BadPost("the body is not JSON") from None


def _call_id(call: msgspec.Raw) -> str | None:
    try:
        call_id = _read(msgspec.json.decode(call, type=_Call).id)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
    return call_id if isinstance(call_id, str) else None


def _read(part: msgspec.Raw) -> Any:
    """One part of a message as objects. Raises BadPost when it is longer than a model's request can be."""
    text = bytes(part)
    if len(text) > limits.TOOL_CALLS_BYTES:
        raise BadPost(f"the tool calls are longer than {limits.TOOL_CALLS_BYTES} bytes")
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise BadPost("the body is not JSON, or is nested too deeply") from None


def _listed(part: msgspec.Raw) -> list[Any]:
    """The items of a list, counted before they are read; nothing where there is no list. Raises BadPost."""
    try:
        items = msgspec.json.decode(part, type=list[msgspec.Raw])
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return []
    if len(items) > limits.TOOL_CALLS_ITEMS:
        raise BadPost(f"{len(items)} tool calls in one message; at most {limits.TOOL_CALLS_ITEMS} are read")
    if sum(map(len, items)) > limits.TOOL_CALLS_BYTES:
        raise BadPost(f"the tool calls are longer than {limits.TOOL_CALLS_BYTES} bytes")
    return [_read(item) for item in items]


def _entries(message: _Message) -> list[tuple[dict[str, Any], str]]:
    """(call, name of its tool's definition): toolCallList, else toolCalls, else toolWithToolCallList."""
    for part in (message.toolCallList, message.toolCalls):
        if listed := _listed(part):
            return [(entry, "") for entry in listed if isinstance(entry, dict)]
    entries = []
    for pair in _listed(message.toolWithToolCallList):
        if isinstance(pair, dict) and isinstance(pair.get("toolCall"), dict):
            definition = pair.get("function")
            name = definition.get("name") if isinstance(definition, dict) else pair.get("name")
            entries.append((pair["toolCall"], str(name or "")))
    return entries


def _tool_call(entry: dict[str, Any], definition_name: str) -> ToolCall:
    function = entry.get("function")
    function = function if isinstance(function, dict) else {}
    name = function.get("name") or entry.get("name") or definition_name
    tool_call_id = entry.get("id")
    if not isinstance(tool_call_id, str) or not tool_call_id:
        raise BadPost("a tool call without an id: there is nothing to answer to")
    for holder, key in ((function, "arguments"), (entry, "arguments"), (function, "parameters"), (entry, "parameters")):
        if key in holder:
            return _with_arguments(tool_call_id, str(name or ""), holder[key])
    return ToolCall(tool_call_id, str(name or ""), {})


def _legacy_call(message: _Message) -> ToolCall:
    function = _read(message.functionCall)
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise BadPost("a function-call message without a functionCall")
    raw = function.get("parameters", {})
    # The old message has no id. The same function with the same arguments counts as the same call.
    asked = msgspec.json.encode([function["name"], raw], order="deterministic")
    made_id = f"function-call:{hashlib.sha256(asked).hexdigest()}"
    return _with_arguments(made_id, function["name"], raw)


def _with_arguments(tool_call_id: str, name: str, raw: Any) -> ToolCall:
    """Arguments come as an object (live), as a JSON string (OpenAPI), or empty."""
    if isinstance(raw, str):
        try:
            raw = msgspec.json.decode(raw) if raw.strip() else {}
        except (msgspec.DecodeError, RecursionError):
            return ToolCall(tool_call_id, name, {}, "the arguments are not JSON")
    if raw is None:
        raw = {}
    if not isinstance(raw, dict):
        return ToolCall(tool_call_id, name, {}, "the arguments are not a JSON object")
    return ToolCall(tool_call_id, name, raw)


def build_reply(answers: Sequence[ToolAnswer], *, legacy: bool = False) -> bytes:
    """The body of a 200: every id answered, in order; `result` or `error` a string without a line break."""
    if legacy and len(answers) == 1:
        answer = answers[0]
        said = {"error": _one_line(answer.error)} if answer.error is not None else {"result": _string(answer.result)}
        return msgspec.json.encode(said)
    return msgspec.json.encode({"results": [_reply_entry(answer) for answer in answers]})


def _reply_entry(answer: ToolAnswer) -> dict[str, str]:
    entry = {"toolCallId": answer.tool_call_id, "name": answer.name}
    if answer.error is not None:
        entry["error"] = _one_line(answer.error)
    else:
        entry["result"] = _string(answer.result)
    return entry


def _string(result: Any) -> str:
    """An object becomes compact JSON, in which a line break inside a value is escaped and so harmless."""
    if isinstance(result, str):
        return _one_line(result)
    return msgspec.json.encode(result, enc_hook=str).decode()


def _one_line(text: str | None) -> str:
    return " ".join((text or "").split()) or "no text"


@attrs.define(eq=False)
class PendingPost:
    """A POST on its way through a call's dispatcher. Answered once; `wait` gives the answers.

    Mutable: `_answers`, set once.
    """

    calls: tuple[ToolCall, ...]
    deadline: float
    """On Trio's clock: when the reply must be on its way."""
    _answers: list[ToolAnswer] = attrs.field(factory=list)
    _answered: trio.Event = attrs.field(factory=trio.Event)

    def answer(self, answers: Sequence[ToolAnswer]) -> None:
        """The next answers, in the order of the calls; what comes after the last is ignored."""
        if not self._answered.is_set():
            self._answers.extend(answers)
            if len(self._answers) >= len(self.calls):
                self._answered.set()

    def fail(self, line: str) -> None:
        """Answer the calls that have no answer yet with the same error."""
        self.answer(errors_for(self.calls[len(self._answers) :], line))

    async def wait(self) -> list[ToolAnswer]:
        """The answers, or errors when the deadline passes first."""
        with trio.move_on_at(self.deadline):
            await self._answered.wait()
        self.fail("the tool took too long; look at the state before trying again")
        return self._answers


def errors_for(calls: Sequence[ToolCall], line: str) -> list[ToolAnswer]:
    return [ToolAnswer(call.id, call.name, error=line) for call in calls]
