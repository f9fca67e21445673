"""Why Vapi made no call: what the summary line says beside `callee_no_answer: vapi_…`."""

import ssl
from collections.abc import Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import trio

from actors.call import _open_vapi
from actors.vapi_calls import VapiCalls
from runtime.errors import NoAnswer
from runtime.http_client import Reply
from runtime.switchboard import Switchboard
from runtime.vapi_api import VapiApi, refusal
from runtime.vapi_slots import VapiSlots
from runtime.ws_handshake import dial_vapi
from simulation.virtual_poller import VirtualPoller
from tests.docs.symptom import Symptom, caused, in_virtual_time, raised_later
from tests.fakes import FakeHttp, new_record
from tests.peers import read_head, running_switchboard, served

CONTEXT: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
BASE: Final = "https://api.vapi.example"
ERROR: Final = b'{"message":"what Vapi says"}'


def vapi(_folder: Path) -> Iterator[Symptom]:
    for status in (401, 400, 402, 413):
        yield caused(refusal(Reply(status, ERROR)), what_it_says="what Vapi says")
    yield caused(refusal(Reply(403, b"error code: 1010")))
    yield caused(refusal(Reply(404, ERROR)), what_it_says="what Vapi says")
    yield caused(refusal(Reply(503, ERROR)), status=503, what_it_says="what Vapi says")
    yield caused(refusal(Reply(429, ERROR)), status=429, what_it_says="what Vapi says")
    yield from in_virtual_time(_requests)
    yield from in_virtual_time(_sockets)


async def _requests(found: list[Symptom]) -> None:
    error = await _not_created(FakeHttp(down=True))
    found.append(caused(error, address=BASE, why="connection refused"))
    error = await _not_created(FakeHttp(seconds=60))
    found.append(caused(error, why=error.line.partition("lost: ")[2]))
    error = await _not_created(FakeHttp(status=201))
    found.append(caused(error, status=201))
    found.append(caused(await _no_slot(), calls=7, so_many_wait="1 wait"))

    @asynccontextmanager
    async def never(*_: object) -> Any:
        yield await trio.sleep_forever()

    house: Any = SimpleNamespace(vapi_calls=SimpleNamespace(call=never), call_request=lambda *_: {})
    async with trio.open_nursery() as nursery, AsyncExitStack() as stack:
        opening = raised_later(NoAnswer, lambda: _open_vapi(new_record(), house, BASE, nursery, stack))
        found.append(caused(await opening))


async def _no_slot() -> NoAnswer:
    slots = VapiSlots(7)
    async with AsyncExitStack() as stack:
        for number in range(7):
            await stack.enter_async_context(slots.one_for(bytes([number])))
        return await raised_later(NoAnswer, slots.one_for(b"x").__aenter__)
    raise AssertionError("never reached")


async def _not_created(http: FakeHttp) -> NoAnswer:
    calls = VapiCalls(VapiApi(http, BASE, "key"), CONTEXT, Switchboard(VirtualPoller()))  # type: ignore[arg-type]
    async with trio.open_nursery() as nursery:
        await nursery.start(calls.run)
        error = await raised_later(NoAnswer, calls.call(new_record(), {}, nursery).__aenter__)
        nursery.cancel_scope.cancel()
    return error


async def _sockets(found: list[Symptom]) -> None:
    async def says_no(stream: trio.SocketStream) -> None:
        await read_head(stream)
        await stream.send_all(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n")

    async def says_nothing(stream: trio.SocketStream) -> None:
        await read_head(stream)

    async def refused(url: str) -> NoAnswer:
        async with running_switchboard() as switchboard, trio.open_nursery() as nursery:
            error = await raised_later(NoAnswer, dial_vapi(url, CONTEXT, nursery, switchboard).__aenter__)
            nursery.cancel_scope.cancel()
        return error

    async with served(says_no) as (address, _):
        found.append(caused(await refused(f"ws://{address}"), status=403))
        found.append(caused(await refused("https://vapi.example")))
        error = await refused("ws://vapi:1/x")
        found.append(caused(error, why=error.line.partition("reached: ")[2], address="vapi:1"))
    async with served(says_nothing) as (address, _):
        found.append(caused(await refused(f"ws://{address}")))
