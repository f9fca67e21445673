"""Scratch banks, and tables read without changing anything, on a real PostgreSQL."""

import asyncpg
import pytest

from db import scratch
from db.asyncio_loop import open_asyncio_loop
from db.door import DatabaseUnavailable
from db.pool import open_database
from db.scratch import open_scratch_bank, open_table_reader


async def test_bank_is_as_seeded_again_when_restored(server_url: str) -> None:
    async with open_scratch_bank(server_url, "scratch_1") as bank, open_database(bank.url) as database:
        before = await bank.reader.rows({"cards", "users", "replacements"})
        assert len(before["cards"]) == 37
        await database.keep_call("c-1", "v-1", "pod")
        await bank.restore()
        assert await bank.reader.rows({"cards", "users", "replacements"}) == before
        assert await database.find_call(vapi_call_id="v-1") is None
        assert await bank.reader.others_connected()


async def test_bank_is_not_waited_for_when_an_agent_has_left_a_transaction_open(
    server_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scratch, "IMPATIENT", "SET lock_timeout = '50ms'")
    async with open_scratch_bank(server_url, "scratch_3") as bank, open_asyncio_loop() as loop:

        async def left_open() -> asyncpg.Connection:
            connection = await asyncpg.connect(bank.url, loop=loop.loop)
            await connection.execute("BEGIN; SELECT * FROM cards")
            return connection

        connection = await loop.call(left_open)
        with pytest.raises(DatabaseUnavailable, match="left open"):
            await bank.restore()
        await loop.call(connection.close)


async def test_reader_leaves_out_what_it_cannot_read_and_sees_nobody_else(server_url: str) -> None:
    async with open_scratch_bank(server_url, "scratch_2") as bank, open_table_reader(bank.url) as reader:
        rows = await reader.rows({"cards", 'no "such" table'})
        assert set(rows) == {"cards"}
        assert not await reader.others_connected()
