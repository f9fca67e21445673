"""What the doors answer: callers before the upgrade, and whoever posts tool calls."""

import json
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import attrs
import trio

from runtime import limits
from runtime.asgi_guard import Guard
from runtime.switchboard import Switchboard
from runtime.tool_posts import BadPost, parse_post
from runtime.voice_door import VoiceDoor
from runtime.webhook import webhook_app
from runtime.webhook_secret import SECRET_HEADER, sign
from simulation.virtual_poller import VirtualPoller
from tests.docs.symptom import Symptom, in_virtual_time, said, seen
from tests.runtime.test_webhook_app import KEY, Door, open_door, tool_calls

SETTINGS: Final = {"VOICE_TOKEN": "a-token-of-16-characters"}
REQUESTS: Final[tuple[tuple[str, Mapping[str, str]], ...]] = (
    ("http://[", {}),
    ("/other", {}),
    ("/voice", {"origin": "https://page.example"}),
    ("/voice", {}),
    (f"/voice?protocol=opus&token={SETTINGS['VOICE_TOKEN']}", {}),
)
TOO_MANY: Final = limits.TOOL_CALLS_ITEMS + 1
LONG: Final = "x" * limits.TOOL_CALLS_BYTES
BODIES: Final[tuple[bytes, ...]] = (
    b"no JSON",
    b"{}",
    b'{"message":{"type":7}}',
    b'{"message":{"type":"tool-calls"}}',
    b'{"message":{"type":"tool-calls","toolCallList":[{}]}}',
    b'{"message":{"type":"function-call"}}',
    json.dumps({"message": {"type": LONG}}).encode(),
    json.dumps({"message": {"type": "tool-calls", "toolCallList": [{"id": LONG}]}}).encode(),
    b'{"message":{"type":"\xff"}}',
)  # fmt: skip


@attrs.define(eq=False)
class Asks:
    """An upgrade that a caller asks for. Mutable: `refused`, in whose place the door answers."""

    path: str
    headers: Mapping[str, str]
    refused: str = ""

    async def reject(self, status: int, line: str) -> None:
        self.refused = f"{status} {line}"


def before_the_upgrade(_folder: Path) -> Iterator[Symptom]:
    yield from in_virtual_time(_refusals)


async def _refusals(found: list[Symptom]) -> None:
    async with open_door(None, **SETTINGS) as door, trio.open_nursery() as nursery:
        voice = VoiceDoor(door.house, [], Switchboard(VirtualPoller()))
        for path, headers in REQUESTS:
            asks: Any = Asks(path, headers)
            await voice._answer(asks, nursery, "somewhere")
            found.append(seen(asks.refused))


def webhook_answers(_folder: Path) -> Iterator[Symptom]:
    yield from in_virtual_time(_statuses)
    yield from (seen(said(BadPost, partial(parse_post, body))) for body in BODIES)
    many = json.dumps({"message": {"type": "tool-calls", "toolCallList": [{}] * TOO_MANY}}).encode()
    yield seen(said(BadPost, partial(parse_post, many)), number=TOO_MANY)


async def _statuses(found: list[Symptom]) -> None:
    async with open_door() as door:

        async def answered(*ask: Any, **more: Any) -> str:
            status, reply = await door.ask(*ask, **more)
            return f"{status} {json.dumps(reply, separators=(',', ':'))}"

        found.append(seen(await answered(tool_calls(), "wrong")))
        found.append(seen(await answered(tool_calls(), path="/p/other/tool")))
        found.append(seen(await answered(tool_calls(), path="/tools")))
        found.append(seen(await answered(tool_calls(), Origin="https://page.example")))
        bad = await answered(b"no JSON")
        found.append(seen(bad, what_is_wrong="the body is not JSON"))
        found.append(seen((await door.ask(bytes(limits.BODY_BYTES + 1)))[1]["error"]))
        found.append(await _slow_body(door))
    found.append(await _no_address())


async def _slow_body(door: Door) -> Symptom:
    secret = {SECRET_HEADER: sign(KEY, door.record.call_key)}
    client: Any = webhook_app(door.house).test_client()
    async with client.request("/p/pod/tool", method="POST", headers=secret) as connection:
        await connection.send(b"{")
        await trio.sleep(limits.BODY_SECONDS + 1)
    reply = await connection.as_response()
    return seen(json.loads(await reply.get_data())["error"])


async def _no_address() -> Symptom:
    told: list[Any] = []

    async def send(message: Any) -> None:
        told.append(message)

    guard: Any = Guard(None)  # type: ignore[arg-type]
    await guard({"type": "http", "path": "http://["}, None, send)
    return seen(f"{told[0]['status']} {told[1]['body'].decode()}")
