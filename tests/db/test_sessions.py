"""Whom a caller has proved to be, and which calls run: kept with the call, on both sides of the door."""

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

import attrs
import pytest
import trio

from db.door import BadLedgerKey, CallSession, Card, Database, KnownCall, Refusal, RuleViolated, Work
from db.memory import EPOCH, open_memory_database
from db.pool import open_database
from runtime import limits
from tests.postgres import fresh_database, run_sql_at

IDLE_SECONDS = 0.2  # long enough for a rival to have reached the lock it must wait at
TOO_OLD_SECONDS = limits.CALL_MOST_SECONDS + limits.SETUP_SECONDS
DAY_SECONDS = limits.LEDGER_HOURS * 3_600
DANA, TOMAS = 3, 5
DANAS_CARD, PRIYAS_CARD, TOMAS_OLD_CARD = 5, 7, 8

Effect = Callable[[Work], Awaitable[Any]]


async def run(database: Database, effect: Effect, call_id: str = "call") -> Any:
    return (await database.run_once(call_id, secrets.token_hex(8), "f", effect)).result


async def session_of(database: Database, call_id: str = "call") -> CallSession:
    seen: list[CallSession] = []

    async def look(work: Work) -> None:
        seen.append(await work.session())

    await run(database, look, call_id)
    return seen[0]


def keeping(session: CallSession) -> Effect:
    async def keep(work: Work) -> None:
        await work.lock_session()
        await work.keep_session(session)

    return keep


# --- A bank in which one customer is the only one.


async def test_customer_finds_nothing_of_others_when_the_bank_is_theirs(database: Database) -> None:
    async def look(everybody: Work) -> None:
        work = everybody.of_customer(DANA)
        for card_id in (PRIYAS_CARD, TOMAS_OLD_CARD, 999):
            assert await work.lock_card(card_id) is None
            assert await work.replacements_of(card_id) == await work.lock_replacements_of(card_id) == []
        for user_id in (TOMAS, 999):
            assert await work.user(user_id) is None
            assert await work.cards_of(user_id) == []
        for last4 in ("3364", "0000"):
            assert await work.cards_by_last4(last4) == []
            assert await work.holders(last4) == []

    await run(database, look)


async def test_customer_finds_all_of_their_own_when_the_bank_is_theirs(database: Database) -> None:
    async def look(everybody: Work) -> None:
        for user_id, card_id in ((DANA, DANAS_CARD), (TOMAS, TOMAS_OLD_CARD)):
            work = everybody.of_customer(user_id)
            card = await everybody.lock_card(card_id)
            assert card is not None
            assert await work.lock_card(card_id) == card
            assert await work.user(user_id) == await everybody.user(user_id) is not None
            assert await work.cards_of(user_id) == await everybody.cards_of(user_id) != []
            assert await work.cards_by_last4(card.last4) == [card]
            assert await work.replacements_of(card_id) == await everybody.replacements_of(card_id)
            assert await work.lock_replacements_of(card_id) == await everybody.replacements_of(card_id)
            assert [holder.user_id for holder in await work.holders(card.last4)] == [user_id]
        assert await everybody.of_customer(TOMAS).replacements_of(TOMAS_OLD_CARD) != []

    await run(database, look)


async def test_customer_sees_only_their_own_card_when_two_end_alike(database: Database) -> None:
    async def look(work: Work) -> None:
        assert [user.user_id for user in await work.holders("5519")] == [2, 12]
        assert [user.user_id for user in await work.holders("0000")] == []
        for user_id, card_id in ((2, 3), (12, 20)):
            own = work.of_customer(user_id)
            assert [card.card_id for card in await own.cards_by_last4("5519")] == [card_id]
            assert [user.user_id for user in await own.holders("5519")] == [user_id]

    await run(database, look)


async def test_customer_has_the_session_of_the_call_when_the_bank_is_theirs(database: Database) -> None:
    async def keep(work: Work) -> None:
        await work.of_customer(DANA).keep_session(CallSession(DANA, 2))
        assert await work.session() == await work.of_customer(TOMAS).lock_session() == CallSession(DANA, 2)

    await run(database, keep)


async def test_lookup_waits_for_nobody_when_the_locked_rows_are_anothers(postgres: Database) -> None:
    held, done = trio.Event(), trio.Event()

    async def hold(work: Work) -> None:
        assert await work.lock_card(TOMAS_OLD_CARD) is not None
        assert await work.lock_replacements_of(TOMAS_OLD_CARD)
        held.set()
        await done.wait()

    async def look(work: Work) -> None:
        own = work.of_customer(DANA)
        assert await own.lock_card(TOMAS_OLD_CARD) is None
        assert await own.lock_replacements_of(TOMAS_OLD_CARD) == []

    async def wait(work: Work) -> None:
        await work.of_customer(TOMAS).lock_card(TOMAS_OLD_CARD)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, postgres, hold)
        await held.wait()
        with trio.fail_after(2):
            await run(postgres, look, "other")
        with trio.move_on_after(IDLE_SECONDS) as waiting:
            await run(postgres, wait, "third")
        assert waiting.cancelled_caught, "the rows were not locked after all"
        done.set()


async def test_lookup_locks_nothing_when_the_rows_are_anothers(postgres: Database) -> None:
    looked, done = trio.Event(), trio.Event()

    async def look(work: Work) -> None:
        await work.of_customer(DANA).lock_card(TOMAS_OLD_CARD)
        await work.of_customer(DANA).lock_replacements_of(TOMAS_OLD_CARD)
        looked.set()
        await done.wait()

    async def lock(work: Work) -> None:
        assert await work.lock_card(TOMAS_OLD_CARD) is not None
        assert await work.lock_replacements_of(TOMAS_OLD_CARD)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, postgres, look)
        await looked.wait()
        with trio.fail_after(2):
            await run(postgres, lock, "other")
        done.set()


# --- Sessions.


async def test_session_is_kept_with_its_call_when_it_was_opened(database: Database) -> None:
    assert await session_of(database) == CallSession(None, 0)
    await run(database, keeping(CallSession(None, 1)))
    assert await session_of(database) == CallSession(None, 1)
    await run(database, keeping(CallSession(DANA, 1)))
    assert await session_of(database) == CallSession(DANA, 1)
    assert await session_of(database, "other") == CallSession()


async def test_session_stays_when_its_pod_tells_of_the_call_before_or_after(database: Database) -> None:
    await database.keep_call("told-first", "vapi-1", "pod")
    for call_id in ("told-first", "kept-first"):
        await run(database, keeping(CallSession(DANA, 3)), call_id)
    await database.keep_call("kept-first", "vapi-2", "pod")
    for call_id in ("told-first", "kept-first"):
        assert await session_of(database, call_id) == CallSession(DANA, 3)
        assert (await database.find_call(call_id=call_id) or KnownCall("", None)).live


async def test_no_try_is_lost_when_transactions_overlap(database: Database) -> None:
    async def fail(work: Work) -> None:
        session = await work.lock_session()
        await trio.sleep(0.02)
        await work.keep_session(attrs.evolve(session, failed_tries=session.failed_tries + 1))

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(run, database, fail)
    assert await session_of(database) == CallSession(None, 5)


async def test_session_is_waited_for_when_another_transaction_has_locked_it(database: Database) -> None:
    order: list[str] = []
    locked = trio.Event()

    async def slow(work: Work) -> None:
        await work.lock_session()
        locked.set()
        await trio.sleep(IDLE_SECONDS)
        order.append("first")
        await work.keep_session(CallSession(DANA))

    async def second(work: Work) -> None:
        assert (await work.lock_session()).user_id == DANA
        order.append("second")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, database, slow)
        await locked.wait()
        nursery.start_soon(run, database, second)
    assert order == ["first", "second"]


@pytest.mark.parametrize("ending", ["refused", "failed", "cancelled"])
async def test_session_is_undone_when_its_transaction_is(database: Database, ending: str) -> None:
    await run(database, keeping(CallSession(None, 2)))
    kept = trio.Event()

    async def keep_and_end(work: Work) -> None:
        await work.lock_session()
        await work.keep_session(CallSession(DANA, 4))
        kept.set()
        if ending == "refused":
            raise Refusal("No.")
        if ending == "failed":
            raise ZeroDivisionError
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:

        async def ask() -> None:
            try:
                await run(database, keep_and_end)
            except ZeroDivisionError:
                assert ending == "failed"

        nursery.start_soon(ask)
        await kept.wait()
        if ending == "cancelled":
            nursery.cancel_scope.cancel()
    assert await session_of(database) == CallSession(None, 2)


async def test_session_is_of_a_customer_who_exists_when_kept(database: Database) -> None:
    with pytest.raises(RuleViolated):
        await run(database, keeping(CallSession(999)))
    assert await session_of(database) == CallSession()


# --- Calls.


async def test_call_is_live_until_it_is_ended_when_its_pod_told_of_it(database: Database) -> None:
    assert await database.find_call(call_id="call") is None
    assert await database.find_call(vapi_call_id="vapi") is None
    await database.keep_call("call", "vapi", "pod")
    live = KnownCall("call", "vapi", live=True, pod_id="pod")
    assert await database.find_call(call_id="call") == live
    assert await database.find_call(vapi_call_id="vapi") == live
    await database.end_call("call")
    over = KnownCall("call", "vapi", over=True, pod_id="pod")
    assert await database.find_call(call_id="call") == await database.find_call(vapi_call_id="vapi") == over
    await database.end_call("call")
    assert await database.find_call(call_id="call") == over


async def test_call_is_neither_live_nor_over_when_only_its_session_is_known(database: Database) -> None:
    async def look(work: Work) -> None:
        await work.lock_session()

    await run(database, look, "looked")
    await run(database, keeping(CallSession(DANA)), "kept")
    for call_id in ("looked", "kept"):
        assert await database.find_call(call_id=call_id) == KnownCall(call_id, None)


@pytest.mark.parametrize("known", [True, False])
async def test_call_stays_over_when_its_pod_tells_of_its_beginning_too_late(database: Database, known: bool) -> None:
    if known:
        await run(database, keeping(CallSession(DANA)))
    await database.end_call("call")
    assert await database.find_call(call_id="call") == KnownCall("call", None, over=True)
    await database.keep_call("call", "vapi", "pod")
    assert await database.find_call(vapi_call_id="vapi") == KnownCall("call", "vapi", over=True, pod_id="pod")


async def test_pods_calls_are_ended_and_no_others_when_it_starts_again(database: Database) -> None:
    for call_id, pod_id in (("a", "one"), ("b", "one"), ("c", "one"), ("d", "two")):
        await database.keep_call(call_id, f"vapi-{call_id}", pod_id)
    await database.end_call("c")
    await run(database, keeping(CallSession(DANA)), "nobody's")
    assert await database.end_calls_of("one") == 2
    assert await database.end_calls_of("one") == 0
    found = {id_: await database.find_call(call_id=id_) for id_ in ("a", "b", "c", "d", "nobody's")}
    assert {id_: call and (call.live, call.over) for id_, call in found.items()} == {
        "a": (False, True), "b": (False, True), "c": (False, True), "d": (True, False), "nobody's": (False, False),
    }  # fmt: skip


@pytest.mark.parametrize("bad", ["", "x" * 201, "nul\x00", "surrogate\ud800", "line\n"])
async def test_call_is_refused_when_an_id_cannot_be_kept(database: Database, bad: str) -> None:
    for ids in ({"call_id": bad}, {"vapi_call_id": bad}):
        with pytest.raises(BadLedgerKey):
            await database.find_call(**ids)
    for key in ((bad, "vapi"), ("call", bad)):
        with pytest.raises(BadLedgerKey):
            await database.keep_call(*key, "pod")


# --- Age.


@attrs.frozen
class Ageing:
    """A database, and how to let its calls and answers grow older."""

    database: Database
    age: Callable[[float], Awaitable[Any]]


@pytest.fixture(params=["memory", "postgres"])
async def ageing(request: pytest.FixtureRequest) -> AsyncIterator[Ageing]:
    async with AsyncExitStack() as stack:
        if request.param == "memory":
            passed = [0.0]

            async def age(seconds: float) -> None:
                passed[0] += seconds

            opening = open_memory_database(now=lambda: EPOCH + timedelta(seconds=passed[0]))
            yield Ageing(await stack.enter_async_context(opening), age)
            return
        server_url, template, names = map(request.getfixturevalue, ("server_url", "template", "names"))
        url = await stack.enter_async_context(fresh_database(server_url, template, next(names)))

        async def age_rows(seconds: float) -> None:
            for table, column in (("calls", "started_at"), ("tool_answers", "answered_at")):
                sql = f"UPDATE {table} SET {column} = {column} - make_interval(secs => $1)"
                await run_sql_at(url, sql, seconds)

        yield Ageing(await stack.enter_async_context(open_database(url)), age_rows)


async def test_call_is_over_when_it_is_older_than_any_call_becomes(ageing: Ageing) -> None:
    database = ageing.database
    await database.keep_call("told", "vapi", "pod")
    await run(database, keeping(CallSession(DANA)), "kept")
    await ageing.age(TOO_OLD_SECONDS - 60)
    assert (await database.find_call(call_id="told") or KnownCall("", None)).live
    await ageing.age(61)
    assert await database.find_call(call_id="told") == KnownCall("told", "vapi", over=True, pod_id="pod")
    assert await database.find_call(call_id="kept") == KnownCall("kept", None, over=True)


async def test_newest_call_is_found_when_vapis_id_is_there_twice(ageing: Ageing) -> None:
    for call_id in ("older", "newer"):
        await ageing.age(10)
        await ageing.database.keep_call(call_id, "vapi", "pod")
    assert (await ageing.database.find_call(vapi_call_id="vapi") or KnownCall("", None)).call_id == "newer"


async def test_purge_forgets_calls_with_their_sessions_when_a_day_has_passed(ageing: Ageing) -> None:
    database = ageing.database
    await database.keep_call("old", "vapi-old", "pod")
    await run(database, keeping(CallSession(DANA, 1)), "old")
    await ageing.age(DAY_SECONDS - 60)
    await database.keep_call("new", "vapi-new", "pod")
    await run(database, keeping(CallSession(DANA, 1)), "new")
    assert await database.purge_answers() == 0
    assert await database.find_call(call_id="old") is not None
    await ageing.age(61)
    assert await database.purge_answers() == 1
    assert await database.find_call(call_id="old") is None
    assert await database.find_call(vapi_call_id="vapi-old") is None
    assert await session_of(database, "old") == CallSession()
    assert await session_of(database, "new") == CallSession(DANA, 1)


async def test_customers_view_changes_nothing_of_anybody_else_and_cannot_be_left(database: Database) -> None:
    async def effect(everybody: Work) -> Any:
        work = everybody.of_customer(DANA)
        (theirs,) = await everybody.find(Card, card_id=TOMAS_OLD_CARD)
        (other,) = await everybody.find(Card, user_id=TOMAS, status="active")
        (sent,) = await everybody.replacements_of(TOMAS_OLD_CARD)
        for attempt in (
            work.set_card_status(other.card_id, "frozen"),
            work.issue_card(theirs),
            work.add_replacement(theirs, other),
            work.set_delivery_status(sent.replacement_id, "delivered"),
            work.keep_session(CallSession(TOMAS, 0)),
        ):
            with pytest.raises(LookupError):
                await attempt
        with pytest.raises(LookupError, match="another customer"):
            work.of_customer(TOMAS)
        assert work.of_customer(DANA) == work

    before = [await database.rows(table, {}) for table in ("cards", "replacements")]
    await database.run_once("call", "tool", "print", effect)
    assert [await database.rows(table, {}) for table in ("cards", "replacements")] == before
