"""The webhook door as an OpenAPI 3.1 document: what it reads, what it answers, within which limits.

Sources of the shapes: runtime/tool_posts.py, which reads them; of the answers: runtime/webhook.py. `docs/openapi.json`
is this document, and a test keeps it so.
"""

from typing import Any, Final

from runtime import limits
from runtime.cross_site import BROWSER_HEADERS
from runtime.webhook_secret import SECRET_HEADER

Json = dict[str, Any]
_ONE_LINE: Final[Json] = {"type": "string", "pattern": "^[^\\r\\n]*$"}
_POD: Final[Json] = {
    "name": "pod",
    "in": "path",
    "required": True,
    "description": "POD_ID of the process that is meant",
    "schema": {"type": "string", "pattern": "^[a-z0-9-]{1,40}$"},
}


def openapi_document() -> Json:
    """A new one each time: it is yours to change."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "mini-bcs-voice-vapi: the webhook door",
            "version": "1",
            "description": (
                "Where Vapi asks for tools to be run. Whoever asks must show a secret; then the answer is always a "
                "200, because Vapi ignores the body of any other status, and what went wrong stands inside. HTTP/1.1 "
                f"only. At most {limits.WEBHOOK_CONNECTIONS} connections at once; the head within "
                f"{limits.HTTP_HEAD_SECONDS:g} s and {limits.HTTP_HEAD_BYTES} bytes, else 431 or a closed connection; "
                "what is not HTTP gets a 400 without a body, a Transfer-Encoding that is not known a 501."
            ),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": {
            "/p/{pod}/tool": {"post": _tool_post(of_a_pod=True)},
            "/tool": {"post": _tool_post(of_a_pod=False)},
            "/p/{pod}/healthz": {"get": _healthz(of_a_pod=True)},
            "/healthz": {"get": _healthz(of_a_pod=False)},
        },
        "components": {"securitySchemes": _security_schemes(), "schemas": _requests() | _answers()},
    }


def _tool_post(*, of_a_pod: bool) -> Json:
    secrets: list[Json] = [{"secretOfTheCall": []}]
    if not of_a_pod:
        secrets += [{"fleetSecret": []}, {"fleetBearer": []}]
    responses = {
        "200": _answer("Read. One answer for each tool call, `{}` for another message, or what was malformed", "Reply"),
        "401": _refusal("No secret that is known here. The body is not read"),
        "403": _refusal(f"A web page's request: one of {', '.join(BROWSER_HEADERS)} is there"),
        "405": _refusal("Any other method on this path"),
    }
    if of_a_pod:
        responses["404"] = _refusal("Another process's path, or none at all")
    return {
        "operationId": "toolOfPod" if of_a_pod else "tool",
        "summary": "A message of Vapi's" + (" for a call of this process" if of_a_pod else ", for any call"),
        "description": (
            f"Answered within {limits.POST_SECONDS:g} s. A body is read to {limits.BODY_BYTES} bytes and for "
            f"{limits.BODY_SECONDS:g} s, its tool calls to {limits.TOOL_CALLS_BYTES} bytes and "
            f"{limits.TOOL_CALLS_ITEMS} calls; more is malformed. Its content type is not asked."
        ),
        "parameters": [_POD] if of_a_pod else [],
        "security": secrets,
        "requestBody": {"required": True, "content": {"application/json": {"schema": _ref("ServerMessage")}}},
        "responses": responses,
    }


def _healthz(*, of_a_pod: bool) -> Json:
    responses = {
        "200": _answer("It serves", "Health"),
        "403": _refusal("As for the tools"),
        "405": _refusal("As for the tools"),
    }
    if of_a_pod:
        responses["404"] = _refusal("Another process's path, or none at all")
    return {
        "operationId": "healthzOfPod" if of_a_pod else "healthz",
        "summary": "Whether " + ("the way to this process leads there" if of_a_pod else "this process serves"),
        "parameters": [_POD] if of_a_pod else [],
        "security": [],
        "responses": responses,
    }


def _security_schemes() -> Json:
    return {
        "secretOfTheCall": {
            "type": "apiKey",
            "in": "header",
            "name": SECRET_HEADER,
            "description": (
                "`<32 hex digits>.<64 hex digits>`: the call's key and its HMAC-SHA256 under WEBHOOK_KEY. POST /call "
                "tells Vapi to send it. On /tool WEBHOOK_SECRET is accepted in this header too."
            ),
        },
        "fleetSecret": {
            "type": "apiKey",
            "in": "header",
            "name": "X-Vapi-Secret",
            "description": "WEBHOOK_SECRET, for a URL that is saved in the Vapi account",
        },
        "fleetBearer": {"type": "http", "scheme": "bearer", "description": "WEBHOOK_SECRET, as above"},
    }


def _requests() -> Json:
    return {
        "ServerMessage": _object({"message": _ref("Message")}, "message"),
        "Message": {"anyOf": [_ref("ToolCalls"), _ref("FunctionCall"), _ref("OtherMessage")]},
        "ToolCalls": _object(
            {
                "type": {"const": "tool-calls"},
                "call": _ref("Call"),
                "toolCallList": _calls("ToolCall"),
                "toolCalls": _calls("ToolCall"),
                "toolWithToolCallList": _calls("PairedToolCall"),
            },
            "type",
        )
        | {"anyOf": [{"required": [name]} for name in ("toolCallList", "toolCalls", "toolWithToolCallList")]},
        "FunctionCall": _object(
            {"type": {"const": "function-call"}, "call": _ref("Call"), "functionCall": _ref("Function")},
            "type", "functionCall",
        )
        | {"deprecated": True},
        "OtherMessage": _object(
            {"type": {"type": "string", "not": {"enum": ["tool-calls", "function-call"]}}, "call": _ref("Call")}, "type"
        ),
        "Call": _object({"id": {"type": "string"}}) | {"description": "Must be the call that the secret was made for"},
        "ToolCall": _object({"id": {"type": "string", "minLength": 1}}, "id")
        | {"anyOf": [_object({"function": _ref("Function")}, "function"), _ref("Function")]},
        "PairedToolCall": _object(
            {"toolCall": _ref("ToolCall"), "function": _object({"name": {"type": "string"}})}, "toolCall"
        ),
        "Function": _object(
            {"name": {"type": "string"}, "arguments": _ref("Arguments"), "parameters": _ref("Arguments")}, "name"
        ),
        "Arguments": {
            "description": "An object, the same as a JSON string, or nothing; `parameters` is read without `arguments`",
            "anyOf": [{"type": "object"}, {"type": "string", "contentMediaType": "application/json"}, {"type": "null"}],
        },
    }  # fmt: skip


def _answers() -> Json:
    error = {"error": _ONE_LINE}
    answered: Json = {"toolCallId": {"type": "string"}, "name": {"type": "string"}}
    return {
        "Reply": {"anyOf": [_ref("Results"), _ref("FunctionResult"), _ref("Nothing"), _ref("Malformed")]},
        "Results": _closed({"results": {"type": "array", "minItems": 1, "items": _ref("Result")}}, "results"),
        "Result": {
            "description": "In the order of the calls; what the tool found as text, or why there is none, in one line",
            "oneOf": [
                _closed({**answered, "result": _ONE_LINE}, "toolCallId", "name", "result"),
                _closed({**answered, **error}, "toolCallId", "name", "error"),
            ],
        },
        "FunctionResult": {"oneOf": [_closed({"result": _ONE_LINE}, "result"), _closed(error, "error")]},
        "Nothing": _closed({}) | {"maxProperties": 0, "description": "To a message that is not of tools"},
        "Malformed": _closed({"results": {"type": "array", "maxItems": 0}, **error}, "results", "error"),
        "Refusal": _closed(error, "error"),
        "Health": _closed(
            {"status": {"const": "ok"}, "nonce": {"type": "string", "pattern": "^[0-9a-f]{16}$"}}, "status", "nonce"
        ),
    }  # fmt: skip


def _calls(schema: str) -> Json:
    return {"type": "array", "minItems": 1, "maxItems": limits.TOOL_CALLS_ITEMS, "items": _ref(schema)}


def _object(properties: Json, *required: str) -> Json:
    """More properties are welcome."""
    return {"type": "object", "properties": properties} | ({"required": list(required)} if required else {})


def _closed(properties: Json, *required: str) -> Json:
    return _object(properties, *required) | {"additionalProperties": False}


def _answer(description: str, schema: str) -> Json:
    return {"description": description, "content": {"application/json": {"schema": _ref(schema)}}}


def _refusal(description: str) -> Json:
    return _answer(description, "Refusal")


def _ref(schema: str) -> Json:
    return {"$ref": f"#/components/schemas/{schema}"}
