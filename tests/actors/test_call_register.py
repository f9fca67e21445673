"""actors/call_register.py: what the database is told of this pod's calls, in which order, and what a failure costs."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
import trio.testing

from actors.call_register import CallRegister
from db.door import DatabaseUnavailable
from db.memory import open_memory_database
from runtime import limits
from runtime.supervisor import Restart, open_supervisor
from tests.fakes import captured_log


@attrs.define
class FakeRegistry:
    """The part of a Database that a register uses. Knobs: `away`, `seconds` per statement, what it `never` takes."""

    away: bool = False
    seconds: float = 0.0
    never: set[str] = attrs.field(factory=set)
    told: list[tuple[str, ...]] = attrs.field(factory=list)
    tried: int = 0

    async def _take(self, *said: str) -> None:
        self.tried += 1
        await trio.sleep(self.seconds)
        if self.away:
            raise DatabaseUnavailable("connection refused")
        if self.never & set(said):
            raise KeyError("what no driver should raise")
        self.told.append(said)

    async def keep_call(self, call_id: str, vapi_call_id: str, pod_id: str) -> None:
        await self._take("live", call_id, vapi_call_id, pod_id)

    async def end_call(self, call_id: str) -> None:
        await self._take("over", call_id)

    async def end_calls_of(self, pod_id: str) -> int:
        await self._take("left behind", pod_id)
        return 2


BEGUN = ("left behind", "pod")


@asynccontextmanager
async def registering(database: FakeRegistry, register: CallRegister | None = None) -> AsyncIterator[CallRegister]:
    """A register at work for the body, and then closed as the process closes it."""
    register = register or CallRegister(database, "pod")  # type: ignore[arg-type]
    log, _ = captured_log()
    async with open_supervisor("process", log) as process:
        await process.start(
            "CallRegister", lambda: register, restart=Restart(),
            finish=register.close, stop_seconds=limits.REGISTER_FLUSH_SECONDS,
        )  # fmt: skip
        yield register
    assert [exit_.error for exit_ in process.exits] == [None]


async def test_register_tells_of_a_call_when_it_begins_and_when_it_is_over() -> None:
    database = FakeRegistry()
    async with registering(database) as register:
        register.note_live("a", "vapi-a")
        await trio.testing.wait_all_tasks_blocked()
        assert database.told == [BEGUN, ("live", "a", "vapi-a", "pod")]
        register.note_over("a")
        await trio.testing.wait_all_tasks_blocked()
        assert database.told[2:] == [("over", "a")]


async def test_register_ends_what_an_earlier_process_left_behind_before_it_tells_of_calls() -> None:
    database = FakeRegistry(away=True)
    register = CallRegister(database, "pod")  # type: ignore[arg-type]
    register.note_live("a", "vapi-a")
    async with registering(database, register):
        register.note_live("b", "vapi-b")
        await trio.sleep(5)
        database.away = False
        await trio.sleep(limits.REGISTER_RETRY_SECONDS)
        await trio.testing.wait_all_tasks_blocked()
    assert database.told == [BEGUN, ("live", "a", "vapi-a", "pod"), ("live", "b", "vapi-b", "pod")]


async def test_register_tells_the_newest_of_each_call_when_the_database_comes_back() -> None:
    database = FakeRegistry()
    async with registering(database) as register:
        await trio.testing.wait_all_tasks_blocked()
        database.away = True
        register.note_live("a", "vapi-a")
        await trio.sleep(10.5)
        assert register.counts["register_retries"] == 11, "once a second"
        for call_id in ("b", "a"):
            register.note_live(call_id, f"vapi-{call_id}")
        register.note_over("a")
        database.away = False
        await trio.sleep(limits.REGISTER_RETRY_SECONDS)
        await trio.testing.wait_all_tasks_blocked()
        assert database.told == [BEGUN, ("live", "b", "vapi-b", "pod"), ("over", "a")]
        assert register.counts["register_dropped"] == 0


async def test_register_tells_of_the_end_too_when_it_comes_while_the_beginning_is_written() -> None:
    database = FakeRegistry(seconds=0.5)
    async with registering(database) as register:
        register.note_live("a", "vapi-a")
        await trio.sleep(0.7)
        register.note_over("a")
        await trio.sleep(1)
        assert database.told == [BEGUN, ("live", "a", "vapi-a", "pod"), ("over", "a")]


async def test_register_loses_the_oldest_news_and_counts_it_when_there_is_too_much() -> None:
    database = FakeRegistry()
    async with registering(database) as register:
        await trio.testing.wait_all_tasks_blocked()
        database.away = True
        for number in range(limits.REGISTER_CALLS + 3):
            register.note_over(f"call-{number}")
        register.note_over("call-3")  # newer now than call-4
        register.note_over("one more")
        await trio.testing.wait_all_tasks_blocked()
        database.away = False
        await trio.sleep(limits.REGISTER_RETRY_SECONDS)
        await trio.testing.wait_all_tasks_blocked()
        assert register.counts["register_dropped"] == 4
        ended = [said[1] for said in database.told[1:]]
        assert ended == [*(f"call-{number}" for number in range(5, limits.REGISTER_CALLS + 3)), "call-3", "one more"]


async def test_register_goes_on_with_the_next_call_when_the_database_will_never_take_one() -> None:
    database = FakeRegistry(never={"b"})
    async with registering(database) as register:
        for call_id in "abc":
            register.note_live(call_id, f"vapi-{call_id}")
        await trio.testing.wait_all_tasks_blocked()
        assert [said[1] for said in database.told[1:]] == ["a", "c"]
        assert register.counts["register_dropped"] == 1
        database.never.clear()
        register.note_over("b")
        await trio.testing.wait_all_tasks_blocked()
        assert database.told[-1] == ("over", "b")


async def test_register_drops_no_other_news_when_what_failed_was_overtaken_by_its_own_end() -> None:
    database = FakeRegistry(seconds=0.5)
    async with registering(database) as register:
        register.note_live("a", "vapi-a")
        register.note_live("b", "vapi-b")
        database.never = {"vapi-a"}
        await trio.sleep(0.7)  # a's beginning is being written, in vain
        register.note_over("a")
        await trio.sleep(2)
        assert database.told == [BEGUN, ("live", "b", "vapi-b", "pod"), ("over", "a")]
        assert register.counts["register_dropped"] == 1


async def test_register_drops_no_news_when_what_was_left_behind_cannot_be_ended() -> None:
    database = FakeRegistry(never={"left behind"})
    register = CallRegister(database, "pod")  # type: ignore[arg-type]
    register.note_live("a", "vapi-a")
    async with registering(database, register):
        await trio.testing.wait_all_tasks_blocked()
        assert database.told == [("live", "a", "vapi-a", "pod")]


@pytest.mark.parametrize("news", [0, 2])
async def test_register_ends_when_it_is_closed_and_its_news_is_written(news: int) -> None:
    database = FakeRegistry(seconds=0.5)
    async with registering(database) as register:
        for number in range(news):
            register.note_over(f"call-{number}")
    assert len(database.told) == 1 + news
    assert trio.current_time() == 0.5 * (1 + news)


async def test_process_waits_no_longer_than_allowed_when_the_database_is_away_at_the_end() -> None:
    database = FakeRegistry()
    async with registering(database) as register:
        await trio.testing.wait_all_tasks_blocked()
        database.away = True
        register.note_over("a")
    assert trio.current_time() == limits.REGISTER_FLUSH_SECONDS


async def test_news_is_written_by_the_next_life_when_one_is_cancelled_in_the_middle() -> None:
    database = FakeRegistry(seconds=1)
    register = CallRegister(database, "pod")  # type: ignore[arg-type]
    register.note_live("a", "vapi-a")
    with trio.move_on_after(1.5):
        await register.run(trio.TASK_STATUS_IGNORED)  # type: ignore[arg-type]
    assert database.told == [BEGUN]
    async with registering(database, register):
        pass
    assert database.told == [BEGUN, ("live", "a", "vapi-a", "pod")]


async def test_register_asks_nothing_when_there_is_no_news() -> None:
    database = FakeRegistry()
    async with registering(database) as register:
        await trio.sleep(3_600)
        assert database.tried == 1
        register.note_live("a", "vapi-a")
        await trio.sleep(3_600)
        assert database.tried == 2


async def test_bank_knows_the_calls_when_the_register_has_told_it() -> None:
    async with open_memory_database() as database:
        await database.keep_call("left", "vapi-left", "pod")
        async with registering(database) as register:  # type: ignore[arg-type]
            register.note_live("a", "vapi-a")
            await trio.testing.wait_all_tasks_blocked()
            assert (await database.find_call(call_id="left")).over  # type: ignore[union-attr]
            assert (await database.find_call(vapi_call_id="vapi-a")).live  # type: ignore[union-attr]
            register.note_over("a")
        assert (await database.find_call(call_id="a")).over  # type: ignore[union-attr]


async def test_register_ends_at_once_when_it_is_closed_while_it_waits_for_news() -> None:
    async with registering(FakeRegistry()):
        await trio.sleep(7)
    assert trio.current_time() == 7
