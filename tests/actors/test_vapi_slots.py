"""Calls that wait for one of the Vapi account's slots, and who is served when: runtime/vapi_slots.py in VapiCalls."""

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from actors.vapi_calls import VapiCalls
from runtime import limits
from runtime.errors import NoAnswer
from runtime.record import CallRecord
from runtime.supervisor import open_supervisor
from runtime.switchboard import Switchboard
from runtime.vapi_api import CreatedCall
from runtime.vapi_slots import VapiSlots
from tests.fakes import FakeVapi, captured_log

CONTEXT = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@attrs.define(eq=False)
class Account(FakeVapi):
    """A Vapi with so many slots for everybody. `others` are used by somebody else. `tells`: its limit is in its reply.

    Mutable, beside the knobs: `posts`, when each POST /call came; `peak`, the most calls of ours at once.
    """

    account_slots: int = 100
    others: int = 0
    tells: bool = False
    posts: list[float] = attrs.field(factory=list)
    peak: int = 0

    async def create(self, body: dict[str, Any]) -> CreatedCall:
        self.posts.append(trio.current_time())
        if len(self.running) + self.others >= self.account_slots:
            await trio.lowlevel.checkpoint()
            raise NoAnswer("vapi_no_slot", "Vapi has no free slot for another call (429): too many")
        created = await FakeVapi.create(self, body)
        self.peak = max(self.peak, len(self.running))
        return attrs.evolve(created, account_slots=self.account_slots if self.tells else None)


@attrs.define
class Queue:
    """Callers in front of an account, and what became of them, in order."""

    vapi: Account
    calls: VapiCalls
    callers: trio.Nursery
    legs: trio.Nursery
    story: list[tuple[float, str, str]] = attrs.field(factory=list)

    async def call(self, name: str, seconds: float, body: Callable[[Any], None] = lambda _leg: None) -> None:
        """Wait for a slot, stay on the line for so long, hang up."""
        record = CallRecord(name, lambda _event: None)
        try:
            async with self.calls.call(record, {"name": name}, self.legs) as leg:
                self.tell(name, "served")
                body(leg)
                await trio.sleep(seconds)
        except NoAnswer as exc:
            self.tell(name, f"{exc.cause}: {exc}")

    def tell(self, name: str, what: str) -> None:
        self.story.append((round(trio.current_time(), 3), name, what))

    async def arrive(self, *names: str, seconds: float) -> None:
        """One behind the other."""
        for name in names:
            self.callers.start_soon(self.call, name, seconds)
            await trio.testing.wait_all_tasks_blocked()

    def served(self) -> list[tuple[float, str]]:
        return [(at, name) for at, name, what in self.story if what == "served"]

    def refused(self) -> list[tuple[float, str, str]]:
        return [told for told in self.story if told[2] != "served"]

    @property
    def slots(self) -> VapiSlots:
        return self.calls.slots


@asynccontextmanager
async def queueing(most: int, monkeypatch: pytest.MonkeyPatch, **account: Any) -> AsyncIterator[Queue]:
    """Callers start in the body and are waited for at its end."""
    vapi = Account(**account)
    monkeypatch.setattr("actors.vapi_calls.dial_vapi", vapi.dial)
    calls = VapiCalls(vapi, CONTEXT, Switchboard(), VapiSlots(most))  # type: ignore[arg-type]
    log, _ = captured_log()
    async with trio.open_nursery() as legs, open_supervisor("process", log) as process:
        await process.start(
            "VapiCalls", lambda: calls, significant=True, finish=calls.close, stop_seconds=limits.LOST_REPLY_SECONDS
        )
        async with trio.open_nursery() as callers:
            queue = Queue(vapi, calls, callers, legs)
            yield queue
    assert (queue.slots.used, queue.slots.waiting, dict(queue.slots._holders)) == (0, 0, {}), "a slot was lost"
    assert vapi.running == set()


async def test_callers_are_served_in_the_order_of_their_coming_when_there_is_one_slot(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with queueing(1, monkeypatch) as queue:
        await queue.arrive("a", "b", "c", "d", seconds=3)
        await trio.sleep(3)  # a leaves, b is served; e must not pass c and d
        await queue.arrive("e", seconds=3)
    assert queue.served() == [(0, "a"), (3, "b"), (6, "c"), (9, "d"), (12, "e")]
    assert queue.refused() == []
    assert queue.vapi.peak == 1


async def test_caller_does_not_pass_those_who_wait_when_a_slot_has_just_become_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with queueing(1, monkeypatch) as queue:
        slots, first, second, third = queue.slots, b"first", b"second", b"third"
        order: list[bytes] = []

        async def take(key: bytes) -> None:
            async with slots.one_for(key):
                order.append(key)

        async with trio.open_nursery() as nursery:
            async with slots.one_for(first):
                nursery.start_soon(take, second)
                await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(take, third)  # free, and nobody has run since
        assert order == [second, third]


async def test_caller_is_told_how_many_wait_when_no_slot_was_free_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async with queueing(2, monkeypatch) as queue:
        await queue.arrive("a", "b", seconds=60)
        await trio.sleep(1)
        await queue.arrive("c", seconds=1)
        await trio.sleep(2)
        await queue.arrive("d", seconds=1)
        assert (queue.slots.used, queue.slots.waiting) == (2, 2)
        await trio.sleep(30)
        line = "vapi_no_slot: 2 calls run at Vapi and {} wait: none ended within 15 s; "
        line += "raise VAPI_SLOTS, and the limit in Vapi's dashboard"
        assert queue.refused() == [(16, "c", line.format(2)), (18, "d", line.format(1))]
        assert len(queue.vapi.posts) == 2, "Vapi is not asked for what waits"


async def test_caller_is_served_when_a_slot_becomes_free_in_the_last_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    async with queueing(1, monkeypatch) as queue:
        await queue.arrive("a", seconds=limits.VAPI_SLOT_SECONDS - 0.001)
        await queue.arrive("b", seconds=1)
    assert queue.served() == [(0, "a"), (14.999, "b")]


async def test_queue_moves_up_when_one_who_waits_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    async with queueing(1, monkeypatch) as queue:
        await queue.arrive("a", seconds=5)
        with trio.move_on_after(2):
            async with trio.open_nursery() as impatient:
                impatient.start_soon(queue.call, "b", 5)
                await trio.testing.wait_all_tasks_blocked()
                await queue.arrive("c", seconds=1)
                assert queue.slots.waiting == 2
        assert queue.slots.waiting == 1
    assert queue.served() == [(0, "a"), (5, "c")]
    assert len(queue.vapi.posts) == 2


async def test_slot_is_given_on_when_its_caller_leaves_in_the_moment_of_getting_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with queueing(1, monkeypatch) as queue:
        slots = queue.slots
        async with trio.open_nursery() as nursery:
            with trio.CancelScope() as leaving:
                async with slots.one_for(b"first"):
                    pass
            leaver = trio.CancelScope()

            async def wait() -> None:
                with leaver:
                    async with slots.one_for(b"second"):
                        await trio.lowlevel.checkpoint()

            async with slots.one_for(b"first"):
                nursery.start_soon(wait)
                await trio.testing.wait_all_tasks_blocked()
            leaver.cancel()  # the slot is already the second's, who has not run since
        assert not leaving.cancelled_caught
        with trio.fail_after(1):
            async with slots.one_for(b"third"):
                assert slots.used == 1


async def test_slot_is_kept_until_the_orphan_is_ended_when_its_caller_has_left(monkeypatch: pytest.MonkeyPatch) -> None:
    async with queueing(1, monkeypatch, create_seconds=4, control_seconds=3, dial_fails=True) as queue:
        with trio.move_on_after(1):
            await queue.call("a", 60)
        assert queue.slots.used == 1, "its POST /call is on its way"
        await queue.arrive("b", seconds=1)
        await trio.sleep(5)
        assert (trio.current_time(), queue.slots.waiting) == (6, 1), "the orphan is still being ended"
        await trio.sleep(1.5)
        assert queue.slots.waiting == 0
    assert queue.vapi.ended_at[0] == pytest.approx(7)
    assert queue.vapi.posts == [0, pytest.approx(7)]
    assert queue.vapi.peak == 1


async def test_slot_is_kept_when_the_leg_broke_and_vapi_must_be_told_another_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def break_leg(leg: Any) -> None:
        leg.closed, leg.peer_answers = True, False

    async with queueing(1, monkeypatch, control_seconds=3) as queue:
        queue.callers.start_soon(queue.call, "a", 1, break_leg)
        await trio.testing.wait_all_tasks_blocked()
        await queue.arrive("b", seconds=1)
    ended_at = queue.vapi.ended_at[0]
    assert ended_at == pytest.approx(4, abs=0.6)
    assert queue.served()[1] == (pytest.approx(ended_at, abs=0.01), "b")
    assert queue.vapi.peak == 1


async def test_slot_is_kept_while_a_lost_call_is_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    async with queueing(1, monkeypatch, reply_lost=True, finds_after_seconds=8.0) as queue:
        await queue.arrive("a", seconds=1)
        queue.vapi.reply_lost = False
        await queue.arrive("b", seconds=1)
    assert queue.refused()[0][:2] == (0, "a")
    assert queue.served() == [(pytest.approx(8, abs=0.1), "b")]


async def test_fewer_slots_are_used_when_the_account_has_fewer_than_was_set(monkeypatch: pytest.MonkeyPatch) -> None:
    async with queueing(10, monkeypatch, account_slots=2, tells=True) as queue:
        await queue.arrive("a", "b", "c", seconds=5)
        assert (queue.slots.used, queue.slots.waiting) == (2, 1)
    assert queue.served() == [(0, "a"), (0, "b"), (5, "c")]
    assert len(queue.vapi.posts) == 3, "none was refused by Vapi"


async def test_no_more_slots_are_used_than_was_set_when_the_account_has_more(monkeypatch: pytest.MonkeyPatch) -> None:
    async with queueing(1, monkeypatch, account_slots=50, tells=True) as queue:
        await queue.arrive("a", "b", seconds=5)
    assert queue.served() == [(0, "a"), (5, "b")]


async def test_running_calls_go_on_when_the_account_is_told_to_have_fewer_slots(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with queueing(3, monkeypatch) as queue:
        await queue.arrive("a", "b", "c", seconds=5)
        queue.slots.account_has(1)
        await queue.arrive("d", "e", seconds=5)
        await trio.sleep(1)
        queue.slots.account_has(0)  # at least one is tried
        assert (queue.slots.used, queue.slots.waiting) == (3, 2)
    assert queue.served() == [(0, "a"), (0, "b"), (0, "c"), (5, "d"), (10, "e")]


async def test_waiting_callers_are_served_at_once_when_the_account_gets_more_slots(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with queueing(3, monkeypatch) as queue:
        queue.slots.account_has(1)
        await queue.arrive("a", "b", "c", seconds=5)
        await trio.sleep(2)
        queue.slots.account_has(3)
    assert sorted(queue.served()) == [(0, "a"), (2, "b"), (2, "c")]


async def test_call_is_taken_after_a_while_when_vapi_has_no_slot_because_of_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with queueing(1, monkeypatch, account_slots=3, others=3) as queue:
        await queue.arrive("a", seconds=1)
        await queue.arrive("b", seconds=1)
        await trio.sleep(7)
        queue.vapi.others = 1
    assert queue.vapi.posts == [0, 2, 4, 6, 8, 9], "asked again every 2 s, by the first only"
    assert queue.served() == [(8, "a"), (9, "b")]
    assert queue.calls.counts == {"vapi_slot_retries": 4}


async def test_call_is_refused_in_vapis_words_when_others_keep_its_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    async with queueing(1, monkeypatch, account_slots=3, others=3) as queue:
        await queue.arrive("a", seconds=1)
    ((at, _, told),) = queue.refused()
    assert limits.VAPI_SLOT_SECONDS - limits.VAPI_SLOT_RETRY_SECONDS < at <= limits.VAPI_SLOT_SECONDS
    assert "(429)" in told
    assert queue.vapi.ended_by == []


async def test_slot_is_free_again_when_vapi_refuses_for_another_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    refusal = NoAnswer("vapi_rejected", "wrong key")
    async with queueing(1, monkeypatch, refuses=refusal) as queue:
        await queue.arrive("a", "b", seconds=1)
    assert queue.story == [(0, name, "vapi_rejected: wrong key") for name in "ab"]


async def test_more_calls_than_slots_all_end_and_none_is_lost_when_half_of_the_callers_leave(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every slot is given back, whenever its caller leaves: in the queue, in the POST, in the dial, on the line."""
    async with queueing(3, monkeypatch, create_seconds=0.3, dial_seconds=0.2, control_seconds=0.4) as queue:

        async def leave(name: str, after_seconds: float) -> None:
            with trio.move_on_after(after_seconds):
                await queue.call(name, 1)

        for number in range(40):
            queue.callers.start_soon(leave, f"call-{number}", 0.05 + 0.15 * number)
    assert queue.vapi.peak <= 3
    assert len(queue.served()) > 5
