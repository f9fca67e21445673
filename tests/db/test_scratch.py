"""Scratch banks, and tables read without changing anything, on a real PostgreSQL."""

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


async def test_reader_leaves_out_what_it_cannot_read_and_sees_nobody_else(server_url: str) -> None:
    async with open_scratch_bank(server_url, "scratch_2") as bank, open_table_reader(bank.url) as reader:
        rows = await reader.rows({"cards", 'no "such" table'})
        assert set(rows) == {"cards"}
        assert not await reader.others_connected()
