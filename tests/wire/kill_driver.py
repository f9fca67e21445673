"""Pods that kill themselves at a chosen step of a tool call: a program for tests/wire/test_exactly_once.py.

It imports everything once and forks: one order a line comes in on stdin (see `Order`), and the pod forked for it says
`{"name", "pid", "webhook"}` on stdout when its doors are open. They are the product's doors on a real PostgreSQL; only
inside these processes are functions of db.queries and asyncpg wrapped. All pods end when this program does.
"""

import functools
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NoReturn

import asyncpg.transaction
import attrs
import msgspec
import structlog
import trio

from actors.tool_dispatcher import ToolDispatcher
from db import queries
from db.pool import open_database
from runtime import limits
from runtime.doors import Doors, open_doors
from runtime.logs import configure_logging
from runtime.record import CallRecord
from runtime.settings import read_settings
from runtime.supervisor import Restart
from runtime.tool_posts import PendingPost

ROOT = Path(__file__).parent.parent.parent
VAPI_CALL = "vapi-call-1"
BEFORE_CLAIM, COMMIT_SENT, COMMITTED = "before the claim", "commit sent", "committed"


@attrs.frozen
class Order:
    """One pod. With `call_key` (hex) it carries the live call of that key; without, it has just been started.

    `dies_at`: BEFORE_CLAIM, COMMIT_SENT, COMMITTED, or a function of db.queries: as soon as that is done.
    `sleeps_at` for `seconds`: behind that function of db.queries. Both count for `tool_call_id` only.
    """

    name: str
    pod_id: str
    database_url: str
    call_key: str = ""
    tool_call_id: str = ""
    dies_at: str = ""
    sleeps_at: str = ""
    seconds: float = 0.0


def die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("unreachable")


class Sabotage:
    """Wraps what a pod's transactions go through. Mutable: `armed`, once the tool call has been claimed."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.armed = False
        self._wrap(queries, "claim_answer", self._claiming)
        for name in {order.dies_at, order.sleeps_at} - {"", "claim_answer", BEFORE_CLAIM, COMMIT_SENT, COMMITTED}:
            self._wrap(queries, name, functools.partial(self._passing, name))
        self._wrap(asyncpg.transaction.Transaction, "__aexit__", self._committing)

    def _wrap(self, owner: Any, name: str, around: Callable[..., Awaitable[Any]]) -> None:
        original = getattr(owner, name)

        @functools.wraps(original)
        async def wrapped(*arguments: Any) -> Any:
            return await around(original, *arguments)

        setattr(owner, name, wrapped)

    async def _claiming(self, original: Any, connection: Any, call_id: str, tool_call_id: str, *rest: Any) -> Any:
        self.armed = tool_call_id == self.order.tool_call_id
        if self.armed and self.order.dies_at == BEFORE_CLAIM:
            die()
        return await self._passing("claim_answer", original, connection, call_id, tool_call_id, *rest)

    async def _passing(self, name: str, original: Any, connection: Any, *arguments: Any) -> Any:
        result = await original(connection, *arguments)
        if self.armed and name == self.order.sleeps_at:
            await connection.execute(f"SELECT pg_sleep({self.order.seconds})")
        if self.armed and name == self.order.dies_at:
            die()
        return result

    async def _committing(self, original: Any, transaction: Any, *error: Any) -> Any:
        outermost = not transaction._nested and error[0] is None
        if self.armed and outermost and self.order.dies_at == COMMIT_SENT:
            original(transaction, *error).send(None)  # as far as its first wait: the bytes are with the kernel
            die()
        result = await original(transaction, *error)
        if self.armed and outermost and self.order.dies_at == COMMITTED:
            die()
        return result


async def run_pod(order: Order, life: int) -> None:
    settings = read_settings(
        {
            "POD_ID": order.pod_id, "WEBHOOK_KEY": "one-key-for-the-fleet", "PORT": "0", "WEBHOOK_PORT": "0",
            "CONSOLE_BIND": "none",
            "VOICE_HOST": "127.0.0.1", "VAPI_API_KEY": "k", "VAPI_BASE_URL": "http://127.0.0.1:9",
            "AGENT_DESC": str(ROOT / "agent_desc.txt"),
        }
    )  # fmt: skip
    async with (
        open_database(order.database_url) as database,
        open_doors(settings, database, lambda _event: None) as doors,
    ):
        if order.call_key:
            await carry(doors, bytes.fromhex(order.call_key))
        ready = {"name": order.name, "pid": os.getpid(), "webhook": f"http://{doors.webhook}"}
        os.write(1, json.dumps(ready).encode() + b"\n")  # at once, and whole: the pods share this pipe
        await trio.lowlevel.wait_readable(life)
        os._exit(0)


async def carry(doors: Doors, call_key: bytes) -> None:
    """Have a call that is live at Vapi, as far as its tools are concerned; returns when other pods may know of it."""
    house, log = doors.house, structlog.get_logger()
    record = CallRecord("c-1", house.sink, call_key)
    record.tool_posts, posts = trio.open_memory_channel[PendingPost](limits.TOOL_QUEUE_ITEMS)
    record.known_at_vapi_as(VAPI_CALL)
    record.phase = "live"
    house.calls._by_key[call_key] = record
    await doors.supervisor.start(
        "ToolDispatcher",
        lambda: ToolDispatcher(posts.clone(), house.database, house.registry, house.reporter, record, log),
        restart=Restart(),
    )
    house.created_at_vapi(record)
    while (known := await house.database.find_call(call_id=record.ledger_id)) is None or not known.live:
        await trio.sleep(0.005)


def start(order: Order, life: tuple[int, int]) -> int:
    """Fork a pod; its pid. The child never returns."""
    pid = os.fork()
    if pid:
        return pid
    try:
        os.close(life[1])
        Sabotage(order)
        trio.run(run_pod, order, life[0])
    except BaseException as error:  # noqa: BLE001  # not swallowed: told to the test
        os.write(1, json.dumps({"name": order.name, "failed": repr(error)}).encode() + b"\n")
    os._exit(1)


def main() -> None:
    configure_logging("error")
    life = os.pipe()
    print("ready", flush=True)
    for line in sys.stdin:
        start(msgspec.json.decode(line, type=Order), life)
        while True:  # whoever has died since
            try:
                if os.waitpid(-1, os.WNOHANG)[0] == 0:
                    break
            except ChildProcessError:
                break


if __name__ == "__main__":
    main()
