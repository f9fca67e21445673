"""The events of the log that an operator would look up: each is made to happen, and its line is caught."""

from collections.abc import Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import structlog
import trio
import trio.testing

from actors.call import run_call
from db.door import DatabaseUnavailable
from db.memory import open_memory_database
from runtime.doors import _webhook_key
from runtime.errors import CallerStalled
from runtime.http_door import behind_the_barrier
from runtime.plain_app import PlainApp
from runtime.record import Calls, Ending
from runtime.settings import Settings
from runtime.supervisor import Restart, open_supervisor
from runtime.switchboard import Switchboard
from runtime.tunnels.way_in import FixedAddress
from tests.actors.test_call_register import FakeRegistry, registering
from tests.bank import bank_tools
from tests.docs.logs_outside import outside_events
from tests.docs.pods import pods_events
from tests.docs.symptom import Symptom, in_virtual_time, log_lines, logged
from tests.docs.tools import Asked
from tests.endings.databases import SlowDatabase
from tests.fakes import FakeLeg, FaultyDatabase, new_record
from tests.runtime.test_webhook_app import open_door, tool_calls


def log_events(folder: Path) -> Iterator[Symptom]:
    for make in (_call_over, _supervised, _not_started, _at_start, _connections, _webhook, _tools, _register):
        yield from in_virtual_time(make)
    yield from outside_events(folder)
    yield from pods_events()


async def _call_over(found: list[Symptom]) -> None:
    with log_lines() as lines:
        async with open_door() as door:
            record = door.house.begin_call("c-2", "somewhere", "binary")
            door.house.end_call(record, Ending("vapi", "vapi_lost", 1011, "it says why"))
    found.append(logged(lines, "call_over", "ended_by", "reason", "detail"))


@asynccontextmanager
async def _supervisor() -> Any:
    async with open_supervisor("call", structlog.get_logger()) as supervisor:
        yield supervisor


async def _supervised(found: list[Symptom]) -> None:
    """An actor that fails, that ends the call by what it knows, and that does not stop when it is told to."""

    def failing(error: Exception) -> Any:
        async def run(task_status: Any) -> None:
            task_status.started()
            await trio.sleep(1)
            raise error

        return SimpleNamespace(run=run)

    async def stays(task_status: Any) -> None:
        task_status.started()
        with trio.CancelScope(deadline=trio.current_time() + 60, shield=True):
            await trio.sleep_forever()

    with log_lines() as lines:
        for error in (ZeroDivisionError(), CallerStalled()):
            async with _supervisor() as supervisor:
                await supervisor.start("Reader", lambda: failing(error), significant=True)  # noqa: B023
                await supervisor.start("Dispatcher", lambda: failing(ZeroDivisionError()), restart=Restart())
                await trio.sleep(100)
        async with _supervisor() as supervisor:
            await supervisor.start("Padder", lambda: SimpleNamespace(run=stays))
    found.append(logged(lines, "actor_failed"))
    found.append(logged(lines, "actor_restarted", "restarts"))
    found.append(logged(lines, "actor_ended_the_call", "why"))
    found.append(logged(lines, "actor_would_not_stop", "after_seconds"))
    with log_lines() as lines:
        PlainApp("webhook").log_exception((ZeroDivisionError, ZeroDivisionError(), None))
    found.append(logged(lines, "request_failed"))


async def _not_started(found: list[Symptom]) -> None:
    """A call whose first actor is never ready."""

    async def sleeps(_task_status: Any) -> None:
        await trio.sleep_forever()

    house: Any = SimpleNamespace(calls=Calls(), way_in=FixedAddress("https://me.example"), call_over=lambda _: None)
    with log_lines() as lines, pytest.MonkeyPatch.context() as patch:
        patch.setattr("actors.call.ActorSocketReader", lambda *_: SimpleNamespace(run=sleeps))
        async with trio.open_nursery() as nursery:
            await run_call(FakeLeg(), new_record(), house, nursery)
    found.append(logged(lines, "call_not_started", "error"))


async def _at_start(found: list[Symptom]) -> None:
    class Away:
        async def webhook_key(self) -> bytes:
            raise DatabaseUnavailable("connection refused")

    with log_lines() as lines:
        await _webhook_key(Settings(), Away())  # type: ignore[arg-type]
    found.append(logged(lines, "webhook_key_not_kept", "error"))


async def _connections(found: list[Symptom]) -> None:
    async def fails() -> None:
        raise ValueError("x")

    def breaks() -> None:
        raise ValueError("x")

    line: Any = SimpleNamespace(on_readable=breaks, fail=lambda: None)
    poller: Any = SimpleNamespace(ready=lambda: [(line, True, False)])
    ours, _theirs = trio.testing.memory_stream_pair()
    with log_lines() as lines:
        await behind_the_barrier(fails, ours)
        Switchboard(poller)._serve()
    found.append(logged(lines, "connection_failed", "error"))
    found.append(logged(lines, "line_failed"))


async def _webhook(found: list[Symptom]) -> None:
    database = SlowDatabase(None, away=True)  # type: ignore[arg-type]
    with log_lines() as lines:
        async with open_door(database) as door:
            await door.ask(b"no JSON")
            door.record.phase = "over"
            await door.ask(tool_calls())
    found.append(logged(lines, "webhook_malformed", "problem"))
    found.append(logged(lines, "database_unavailable", "error"))


async def _tools(found: list[Symptom]) -> None:
    with log_lines() as lines:
        async with open_memory_database() as bank:
            runner = Asked(FaultyDatabase(bank, before=_broken), bank_tools(), log=structlog.get_logger())
            await runner.error("display_user_info", {"user_id": 3})
            runner.database.down = True
            await runner.error("display_user_info", {"user_id": 3})
    found.append(logged(lines, "tool_failed", "tool", "tool_call_id"))
    assert lines[-1]["event"] == "database_unavailable"


async def _broken(_tool_call_id: str) -> None:
    raise ZeroDivisionError


async def _register(found: list[Symptom]) -> None:
    with log_lines() as lines:
        async with registering(FakeRegistry(never={"c"})) as register:
            register.note_live("c", "v")
            await trio.testing.wait_all_tasks_blocked()
    found.append(logged(lines, "register_failed", "call"))
