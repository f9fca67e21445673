"""The database goes and comes back in mid-call: the tool says so, the call goes on, and then it works."""

from pathlib import Path

import trio

from db.embedded import open_embedded_server
from db.pool import open_database
from tests.wire.test_webhook_door import calling, only, tool_calls
from tests.world import open_world
from tools.execution import NOT_REACHABLE


async def test_tool_answers_an_error_while_the_database_is_down_and_works_when_it_is_back(tmp_path: Path) -> None:
    link = tmp_path / "server"
    look_up = tool_calls(("a", "display_user_info", {"user_id": 3}))
    async with (
        open_database(f"postgresql://postgres@/postgres?host={link}") as database,
        open_world(database) as world,
        calling(world) as post,
    ):
        for _ in range(2):
            assert only(await post(look_up))["error"] == NOT_REACHABLE
            assert not world.event("call-over")
            async with open_embedded_server() as url:
                link.unlink(missing_ok=True)
                link.symlink_to(url.partition("host=")[2])
                with trio.fail_after(10):
                    assert "result" in only(await post(look_up))
        assert not world.event("call-over")
