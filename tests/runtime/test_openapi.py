"""docs/openapi.json: it is what the code says, it is valid, and every answer that it names is given."""

import json
from collections.abc import Iterator
from typing import Any

import schemathesis

from runtime.cross_site import BROWSER_HEADERS
from runtime.openapi import openapi_document
from runtime.webhook import webhook_app
from runtime.webhook_secret import SECRET_HEADER, sign
from tests.house_rules import ROOT
from tests.runtime.test_webhook_app import KEY, Door, open_door, tool_calls


def documented() -> Iterator[tuple[str, str, int]]:
    for path, operations in openapi_document()["paths"].items():
        for method, operation in operations.items():
            yield from ((path, method, int(status)) for status in operation["responses"])


async def status_of(door: Door, path: str, method: str, status: int) -> int:
    """What the app answers to a request that should get `status`."""
    shown = path.replace("{pod}", "other" if status == 404 else "pod")
    method = "PUT" if status == 405 else method
    headers = {} if status == 401 else {SECRET_HEADER: sign(KEY, door.record.call_key)}
    headers |= {BROWSER_HEADERS[0]: "https://bank.example"} if status == 403 else {}
    body = json.dumps({"message": {"type": "hang"}})
    reply = await webhook_app(door.house).test_client().open(shown, method=method.upper(), data=body, headers=headers)
    assert reply.content_type == "application/json"
    return reply.status_code


def test_the_file_is_the_document() -> None:
    kept = (ROOT / "docs/openapi.json").read_text()
    assert kept == json.dumps(openapi_document(), indent=2, sort_keys=True) + "\n", "print it anew: voice openapi"


def test_the_document_is_valid_openapi_and_all_it_refers_to_is_there() -> None:
    document = openapi_document()
    schema = schemathesis.openapi.from_dict(document)
    schema.validate()
    assert sorted(operation.ok().label for operation in schema.get_all_operations()) == [
        "GET /healthz", "GET /p/{pod}/healthz", "POST /p/{pod}/tool", "POST /tool",
    ]  # fmt: skip
    assert set(_references(document)) == {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}


def _references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        yield from (value for key, value in part.items() if key == "$ref")
        part = list(part.values())
    if isinstance(part, list):
        for inside in part:
            yield from _references(inside)


async def test_every_status_of_the_document_is_given_when_it_is_asked_for() -> None:
    async with open_door() as door:
        for path, method, status in documented():
            assert await status_of(door, path, method, status) == status, (path, method)


async def test_every_path_of_the_app_is_in_the_document() -> None:
    async with open_door() as door:
        rules = {str(rule).replace("<", "{").replace(">", "}") for rule in webhook_app(door.house).url_map.iter_rules()}
        assert rules - {"/static/{path:filename}"} == set(openapi_document()["paths"])


async def test_each_kind_of_answer_is_given_when_a_secret_is_shown() -> None:
    async with open_door() as door:
        replies = [
            (await door.ask(body))[1]
            for body in (tool_calls(call_id="other"), {"message": {"type": "hang"}}, b"{", _legacy())
        ]
    assert [sorted(reply) for reply in replies] == [["results"], [], ["error", "results"], ["error"]]


def _legacy() -> dict[str, Any]:
    named = {"name": "display_user_info", "parameters": {}}
    return {"message": {"type": "function-call", "functionCall": named, "call": {"id": "other"}}}
