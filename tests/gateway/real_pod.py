"""A pod in a process of its own with a call on, whose tool is stopped in the middle by a lock on its row."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import attrs
import trio

from db.asyncio_loop import open_asyncio_loop
from runtime.webhook_secret import SECRET_HEADER
from simulation.vapi_call import SimulatedCall
from simulation.vapi_cloud import open_vapi_cloud
from tests.gateway.fleet import Answer, Gateway
from tests.wire.processes import Program, open_bridge
from tests.wire.sockets import hold_call
from tests.wire.test_webhook_door import tool_calls
from tests.world import VOICE

WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"


@attrs.frozen
class RealPod:
    program: Program
    call: SimulatedCall
    secret: str

    def request(self, name: str, **arguments: int) -> bytes:
        """The body with which Vapi would ask for a tool in its call."""
        return json.dumps(tool_calls((f"id-{name}", name, arguments), call_id=self.call.id)).encode()


@asynccontextmanager
async def open_real_pod(folder: Path, database_url: str, public_base_url: str) -> AsyncIterator[RealPod]:
    """`voice serve` as pod-1 on its unix socket, with one call whose caller says nothing."""
    async with (
        open_vapi_cloud(speech=VOICE) as cloud,
        open_bridge(
            DATABASE_URL=database_url,
            WEBHOOK_BIND=f"unix:{folder}/pod-1.sock",
            POD_ID="pod-1",
            PUBLIC_BASE_URL=public_base_url,
            VAPI_BASE_URL=cloud.base_url,
            VAPI_API_KEY=cloud.api_key,
            TOOL_POLICY="open",
        ) as bridge,
        hold_call(bridge.voice_url),
    ):
        with trio.fail_after(20):
            while not (cloud.calls and cloud.calls[0].dialled):
                await trio.sleep(0.01)
        (call,) = cloud.calls
        server = call.tools["display_user_info"]["server"]
        assert server["url"] == f"{public_base_url}/p/pod-1/tool"
        yield RealPod(bridge.program, call, server["headers"][SECRET_HEADER])


@asynccontextmanager
async def card_locked(database_url: str, card_id: int) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """Nobody else can change the card in the body. Gives a wait for somebody who wants to."""
    async with open_asyncio_loop() as loop:

        async def lock() -> asyncpg.Connection:
            connection = await asyncpg.connect(database_url)
            await connection.execute("BEGIN")
            await connection.execute("SELECT FROM cards WHERE card_id = $1 FOR UPDATE", card_id)
            return connection

        connection = await loop.call(lock)

        async def somebody_waits() -> None:
            with trio.fail_after(10):
                while not await loop.call(lambda: connection.fetchval(WAITING)):
                    await trio.sleep(0.01)

        try:
            yield somebody_waits
        finally:
            with trio.move_on_after(5, shield=True):
                await loop.call(connection.close)


async def kill_in_mid_tool(pod: RealPod, gateway: Gateway, target: str, database_url: str) -> tuple[Answer, float]:
    """The pod is killed while it replaces card 5; what the gateway answers, and how many seconds later."""
    answers: list[tuple[Answer, float]] = []

    async def ask() -> None:
        body = pod.request("request_card_replacement", card_id=5)
        answers.append((await gateway.ask(target, body, secret=pod.secret), trio.current_time()))

    async with card_locked(database_url, 5) as somebody_waits, trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await somebody_waits()
        assert not answers
        pod.program.process.kill()
        killed_at = trio.current_time()
    ((answer, answered_at),) = answers
    return answer, answered_at - killed_at
