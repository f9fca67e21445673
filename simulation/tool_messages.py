"""The webhook that asks a tool server for results, in every shape it has been seen or documented in.

``live``: ``toolCallList`` with a nested ``function``, the same list as ``toolCalls``, and ``toolWithToolCallList``.
The documentation shows three more, and the deprecated ``function-call`` message still stands in the default
``serverMessages``. See docs/protocol.md, V-401 to V-406.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from simulation.behaviour import Behaviour
from simulation.webhook_client import NumberedCall

FUNCTION_CALL = "function-call"


@attrs.frozen
class ToolMessage:
    """What goes into one webhook: ``call`` is the Call object, ``tools`` the request's tools by name."""

    call: Mapping[str, Any]
    calls: Sequence[NumberedCall]
    tools: Mapping[str, Mapping[str, Any]]
    timestamp_ms: int

    def as_json(self, behaviour: Behaviour) -> dict[str, Any]:
        """The body of the POST: ``{"message": …}`` in the behaviour's shape. Raises nothing."""
        call = {name: value for name, value in self.call.items() if name != "id" or behaviour.call_id_in_body}
        message = {
            **self._calls_as(behaviour),
            "timestamp": self.timestamp_ms,
            "artifact": {"messages": [], "messagesOpenAIFormatted": []},
            "call": call,
            "assistant": self.call.get("assistant") or {},
        }
        return {"message": message}

    def _calls_as(self, behaviour: Behaviour) -> dict[str, Any]:
        if behaviour.shape == FUNCTION_CALL:
            _, name, arguments = self.calls[0]
            return {"type": FUNCTION_CALL, "functionCall": {"name": name, "parameters": dict(arguments)}}
        if behaviour.shape in ("flat-arguments", "flat-parameters"):
            return self._flat("arguments" if behaviour.shape == "flat-arguments" else "parameters")
        entries = [self._nested(call, behaviour.arguments_as == "string") for call in self.calls]
        with_tools = self._with_tools(entries)
        if behaviour.shape == "with-tool":
            return {"type": "tool-calls", "toolWithToolCallList": with_tools}
        return {
            "type": "tool-calls",
            "toolCalls": entries,
            "toolCallList": entries,
            "toolWithToolCallList": with_tools,
        }

    def _nested(self, call: NumberedCall, as_string: bool) -> dict[str, Any]:
        call_id, name, arguments = call
        written = json.dumps(arguments) if as_string else dict(arguments)
        return {"id": call_id, "type": "function", "function": {"name": name, "arguments": written}}

    def _flat(self, key: str) -> dict[str, Any]:
        """Two pages of the documentation; their ``toolCall`` beside the tool has ``parameters`` both times."""
        entries = [{"id": call_id, "name": name, key: dict(given)} for call_id, name, given in self.calls]
        beside = [{"id": call_id, "parameters": dict(given)} for call_id, _, given in self.calls]
        return {"type": "tool-calls", "toolCallList": entries, "toolWithToolCallList": self._with_tools(beside)}

    def _with_tools(self, entries: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        return [
            {**self.tools.get(name, {}), "toolCall": entry}
            for (_, name, _), entry in zip(self.calls, entries, strict=True)
        ]
