"""A supervised ToolDispatcher over a bank in memory, and how to ask it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio
import trio.testing

from actors.engine_reporter import EngineReporter
from actors.tool_dispatcher import ToolDispatcher
from db.memory import open_memory_database
from runtime import limits
from runtime.record import CallRecord, Event
from runtime.supervisor import Restart, Supervisor, open_supervisor
from runtime.tool_posts import PendingPost, ToolAnswer, ToolCall
from tests.bank import bank_tools
from tests.fakes import FakeHttp, FaultyDatabase, arriving_now, captured_log, new_record
from tools.registry import Registry

FREEZE = {"card_id": 5, "new_status": "frozen"}


@attrs.define
class Reports(EngineReporter):
    """A reporter that keeps what it is told."""

    told: list[tuple[str, Any, Any]] = attrs.field(factory=list)

    def report(self, name: str, arguments: dict[str, Any], result: Any) -> None:
        self.told.append((name, arguments, result))


@attrs.define
class Dispatching:
    database: FaultyDatabase
    record: CallRecord
    reports: Reports
    supervisor: Supervisor
    log: list[Any]
    trace: list[Event]
    _posts: Any

    @property
    def entries(self) -> list[Any]:
        """What was logged beside the line of each answered call."""
        return [entry for entry in self.log if entry["event"] != "tool_call"]

    @property
    def audit(self) -> list[Any]:
        return [entry for entry in self.log if entry["event"] == "tool_call"]

    async def post(self, *calls: ToolCall) -> list[ToolAnswer]:
        pending = arriving_now(calls)
        await self._posts.send(pending)
        return await pending.wait()

    def close(self) -> None:
        self._posts.close()

    async def card_status(self, card_id: int = 5) -> Any:
        (row,) = await self.database.rows("cards", {"card_id": card_id})
        return row["status"]


def call(id_: str, name: str = "change_card_status", problem: str | None = None, **arguments: Any) -> ToolCall:
    return ToolCall(id_, name, arguments, problem)


@asynccontextmanager
async def dispatching(
    registry: Registry | None = None, sink: Callable[[Event], None] | None = None
) -> AsyncIterator[Dispatching]:
    """A supervised dispatcher at work for the body."""
    log, entries = captured_log()
    trace: list[Event] = []
    record = new_record(trace)
    if sink is not None:
        record = attrs.evolve(record, sink=sink)
    sender, receiver = trio.open_memory_channel[PendingPost](limits.TOOL_QUEUE_ITEMS)
    reports = Reports(FakeHttp(), "http://engine", "sim-1")  # type: ignore[arg-type]
    async with open_memory_database() as bank:
        database = FaultyDatabase(bank)
        async with open_supervisor("call", log) as supervisor:
            await supervisor.start(
                "dispatcher",
                lambda: ToolDispatcher(
                    receiver.clone(), database, registry or bank_tools(), reports, record, log  # type: ignore[arg-type]
                ),
                restart=Restart(),
            )  # fmt: skip
            yield Dispatching(database, record, reports, supervisor, entries, trace, sender)
        receiver.close()
        sender.close()


def hanging(only: str = "") -> Callable[[str], Awaitable[None]]:
    async def hang(tool_call_id: str) -> None:
        if only in ("", tool_call_id):
            await trio.sleep_forever()

    return hang


def lasting(seconds: float, only: str = "") -> Callable[[str], Awaitable[None]]:
    async def wait(tool_call_id: str) -> None:
        if only in ("", tool_call_id):
            await trio.sleep(seconds)

    return wait
