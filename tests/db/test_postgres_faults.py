"""PostgreSQL down, lost, frozen or interrupted, seen through the door. Real clock, real sockets."""

import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import psutil
import pytest
import trio

from db.door import Answer, Database, DatabaseUnavailable, RuleViolated, Work
from db.embedded import open_embedded_server
from db.pool import open_database
from runtime import limits
from tests.postgres import RunSql, run_sql_at

SOCKET = ".s.PGSQL.5432"


async def cancel_card(work: Work) -> Any:
    await work.lock_card(5)
    return await work.set_card_status(5, "cancelled")


@asynccontextmanager
async def standing_address(folder: Path) -> AsyncIterator[tuple[str, Callable[[str], None]]]:
    """A DATABASE_URL that stays the same while servers come and go, and a way to point it at one."""
    link = folder / "server"

    def point(url: str) -> None:
        link.unlink(missing_ok=True)
        link.symlink_to(url.partition("host=")[2])

    yield f"postgresql://postgres@/postgres?host={link}", point


@pytest.mark.parametrize(
    "before",
    [
        ["CREATE ROLE teller LOGIN", "GRANT ALL ON SCHEMA public TO postgres"],
        ["CREATE ROLE teller LOGIN", "GRANT ALL ON SCHEMA public TO teller", "CREATE TABLE users (something text)"],
    ],
    ids=["may not create tables", "other tables by these names"],
)
async def test_database_is_unavailable_in_one_line_when_its_schema_cannot_be_applied(before: list[str]) -> None:
    async with open_embedded_server() as url:
        for statement in before:
            await run_sql_at(url, statement)
        async with open_database(url.replace("postgres@", "teller@")) as database:
            with pytest.raises(DatabaseUnavailable) as refused:
                await database.ping()
    assert "\n" not in str(refused.value)


async def test_database_answers_when_the_server_starts_later_and_restarts(tmp_path: Path) -> None:
    async with standing_address(tmp_path) as (url, point), open_database(url) as database:
        for _ in range(2):
            with trio.fail_after(1), pytest.raises(DatabaseUnavailable):
                await database.ping()
            with trio.fail_after(1), pytest.raises(DatabaseUnavailable):
                await database.run_once("call", "tool", "f", cancel_card)
            async with open_embedded_server() as server:
                point(server)
                await database.ping()
                assert await database.rows("cards", {"card_id": 5, "status": "active"})
        with trio.fail_after(1), pytest.raises(DatabaseUnavailable):
            await database.rows("cards", {})


async def test_effect_is_lost_whole_when_the_server_is_killed_midway(tmp_path: Path, lasting_folder: Path) -> None:
    async with standing_address(tmp_path) as (url, point), open_database(url) as database:
        folder = lasting_folder

        async def killed_midway(work: Work) -> Any:
            await work.set_card_status(5, "cancelled")
            postmaster(folder).kill()
            await trio.sleep(0.2)
            return await work.lock_card(5)

        async with open_embedded_server(folder) as server:
            point(server)
            await database.ping()
            with trio.fail_after(8), pytest.raises(DatabaseUnavailable):
                await database.run_once("call", "tool", "f", killed_midway)
        async with open_embedded_server(folder) as server:
            point(server)
            assert await database.rows("cards", {"card_id": 5, "status": "active"})
            assert (await database.run_once("call", "tool", "f", cancel_card)).stored is False


async def test_database_is_unavailable_in_bounded_time_when_the_server_is_frozen(
    lasting_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "DATABASE_QUERY_SECONDS", 0.5)
    monkeypatch.setattr(limits, "DATABASE_RELEASE_SECONDS", 0.5)
    folder = lasting_folder
    async with open_embedded_server(folder) as url, open_database(url) as database:
        await database.ping()
        frozen = [postmaster(folder), *postmaster(folder).children()]
        for process in frozen:
            process.suspend()
        try:
            with trio.fail_after(3), pytest.raises(DatabaseUnavailable, match=r"no answer in 0\.5 s"):
                await database.ping()
        finally:
            for process in frozen:
                process.resume()
        monkeypatch.undo()
        with trio.fail_after(6):
            await database.ping()


def postmaster(folder: Path) -> psutil.Process:
    return psutil.Process(int((folder / "data" / "postmaster.pid").read_text().splitlines()[0]))


async def test_nothing_stays_in_transaction_when_queries_are_cancelled(postgres: Database, run_sql: RunSql) -> None:
    async def hold(work: Work) -> Any:
        await work.lock_card(5)
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        for number in range(5):  # the first holds the row, the others wait for it on the server
            nursery.start_soon(postgres.run_once, "call", f"tool-{number}", "f", hold)
        await trio.sleep(0.3)
        nursery.cancel_scope.cancel()
    assert await idle_in_transaction(run_sql) == 0
    with trio.fail_after(2):
        await postgres.run_once("call", "tool-0", "f", cancel_card)


async def idle_in_transaction(run_sql: RunSql) -> int:
    """Sessions of this database in a transaction, other than the one that asks."""
    rows = await run_sql(
        "SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database()"
        " AND xact_start IS NOT NULL AND pid <> pg_backend_pid()"
    )
    return int(rows[0]["n"])


async def test_pool_stays_whole_when_transactions_are_cancelled_at_random(postgres: Database, run_sql: RunSql) -> None:
    chance = random.Random(7)
    done: list[str] = []
    await postgres.ping()

    async def storm(number: int, seconds: float) -> None:
        name = f"tool-{number}"

        async def effect(work: Work) -> Any:
            old = await work.lock_card(15 + number % 4)
            assert old is not None
            await work.issue_card(old)
            return (await work.issue_card(old)).card_id

        with trio.move_on_after(seconds):
            await postgres.run_once("call", name, "f", effect)
            done.append(name)

    async with trio.open_nursery() as nursery:
        for number in range(100):
            nursery.start_soon(storm, number, chance.uniform(0, 0.25))
            await trio.sleep(0.002)
    assert await idle_in_transaction(run_sql) == 0
    stored = await postgres.answers("call", [f"tool-{number}" for number in range(100)])
    assert set(done) <= set(stored)
    assert 0 < len(stored) < 100, "a storm that cancels all or nothing proves nothing"
    # Each committed transaction issued exactly two cards, and no other left one.
    assert len(await postgres.rows("cards", {})) == 37 + 2 * len(stored)
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            for _ in range(10):  # as many as the pool has connections: not one was lost
                nursery.start_soon(postgres.ping)


async def test_deadlocked_transactions_both_succeed_when_they_run_again(postgres: Database) -> None:
    both_hold = trio.Event()
    holders: list[str] = []

    def crossing(first: int, second: int) -> Any:
        async def effect(work: Work) -> Any:
            await work.lock_card(first)
            holders.append("one more")
            if len(holders) >= 2:
                both_hold.set()
            await both_hold.wait()
            return await work.lock_card(second)

        return effect

    async with trio.open_nursery() as nursery:
        nursery.start_soon(postgres.run_once, "call", "a", "f", crossing(5, 6))
        nursery.start_soon(postgres.run_once, "call", "b", "f", crossing(6, 5))
    assert len(holders) == 3  # the server chose one to undo, and it ran again
    assert set(await postgres.answers("call", ["a", "b"])) == {"a", "b"}


async def test_error_quotes_no_row_when_the_schema_refuses(postgres: Database) -> None:
    async def invent(work: Work) -> Any:
        return await work.set_card_status(5, "stolen")  # type: ignore[arg-type]

    with pytest.raises(RuleViolated, match="cards_status_check") as raised:
        await postgres.run_once("call", "tool", "f", invent)
    assert "4242" not in str(raised.value)


async def test_old_answers_are_forgotten_when_purged(postgres: Database, run_sql: RunSql) -> None:
    for name in ("old", "new"):
        await postgres.run_once("call", name, "f", cancel_card)
    await run_sql("UPDATE tool_answers SET answered_at = now() - interval '25 hours' WHERE tool_call_id = 'old'")
    assert await postgres.purge_answers() == 1
    assert list(await postgres.answers("call", ["old", "new"])) == ["new"]


async def test_database_works_when_used_from_a_nursery_outside(url: str) -> None:
    orders, outside = trio.open_memory_channel[Database](1)
    rows: list[Any] = []

    async def serve() -> None:
        async for database in outside:
            rows.extend(await database.rows("cards", {"card_id": 5}))
            done.set()

    done = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        async with open_database(url) as database:
            await orders.send(database)
            await done.wait()
        orders.close()
    assert rows[0]["last4"] == "4242"
    with pytest.raises(DatabaseUnavailable, match="was closed"):
        await database.ping()


async def test_connections_are_closed_when_the_owner_is_cancelled(url: str, run_sql: RunSql) -> None:
    with trio.move_on_after(0.3):
        async with open_database(url) as database:
            await database.ping()
            await trio.sleep_forever()
    rows = await run_sql(
        "SELECT count(*) AS n FROM pg_stat_activity WHERE application_name = 'voice' AND datname = $1",
        url.partition("@/")[2].partition("?")[0],
    )
    assert rows[0]["n"] == 0


@attrs.define
class Proxy:
    """Between the door and the server. Armed, it breaks the connection that sends the next COMMIT."""

    server: str
    forward_commit: bool | None = None  # None: not armed; True: the server gets the COMMIT, but its answer is lost

    async def serve(self, client: trio.SocketStream) -> None:
        upstream = await trio.open_unix_socket(self.server)
        async with client, upstream, trio.open_nursery() as nursery:
            nursery.start_soon(self.relay, upstream, client, nursery.cancel_scope)
            async for data in client:
                if self.forward_commit is not None and b"COMMIT;" in data:
                    if self.forward_commit:
                        await upstream.send_all(data)
                    self.forward_commit = None
                    break
                await upstream.send_all(data)
            nursery.cancel_scope.cancel()

    async def relay(self, source: trio.SocketStream, target: trio.SocketStream, ends: trio.CancelScope) -> None:
        async for data in source:
            await target.send_all(data)
        ends.cancel()


@asynccontextmanager
async def open_proxy(server_url: str, folder: Path) -> AsyncIterator[tuple[str, Proxy]]:
    before, _, host = server_url.partition("host=")
    proxy = Proxy(f"{host}/{SOCKET}")
    listener = trio.socket.socket(trio.socket.AF_UNIX)
    await listener.bind(str(folder / SOCKET))
    listener.listen()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, proxy.serve, [trio.SocketListener(listener)])
        yield f"{before}host={folder}", proxy
        nursery.cancel_scope.cancel()


@pytest.fixture
def short_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Short enough for a socket path."""
    return tmp_path_factory.mktemp("p")


async def test_answer_is_found_when_the_connection_is_lost_after_commit(url: str, short_folder: Path) -> None:
    async with open_proxy(url, short_folder) as (proxied, proxy), open_database(proxied) as database:
        await database.ping()
        proxy.forward_commit = True
        answer = await database.run_once("call", "tool", "f", cancel_card)
        assert answer.result is not None
        assert answer.result["status"] == "cancelled"
        assert await database.rows("cards", {"card_id": 5, "status": "cancelled"})


async def test_database_is_unavailable_when_the_commit_never_arrived(url: str, short_folder: Path) -> None:
    async with open_proxy(url, short_folder) as (proxied, proxy), open_database(proxied) as database:
        await database.ping()
        proxy.forward_commit = False
        with pytest.raises(DatabaseUnavailable):
            await database.run_once("call", "tool", "f", cancel_card)
        assert await database.answers("call", ["tool"]) == {}
        assert await database.rows("cards", {"card_id": 5, "status": "active"})
        assert await database.run_once("call", "tool", "f", cancel_card) == Answer(
            (await database.answers("call", ["tool"]))["tool"].result
        )


async def test_commit_is_finished_first_when_cancelled_during_it(url: str, run_sql: RunSql) -> None:
    """A deferred trigger makes COMMIT slow; the cancellation comes while it runs."""
    await run_sql(
        "CREATE FUNCTION nap() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.5); RETURN NULL; END'"
    )
    await run_sql(
        "CREATE CONSTRAINT TRIGGER slow AFTER UPDATE ON cards DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION nap()"
    )
    async with open_database(url) as database:
        await database.ping()
        answer = None
        with trio.move_on_after(0.25):
            answer = await database.run_once("call", "tool", "f", cancel_card)
        assert answer is not None
        assert await database.answers("call", ["tool"])
