"""Processes that take turns at one account: in order, and whatever becomes of them."""

import os
import re
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import trio

from runtime.errors import NoAnswer
from runtime.tunnels import share
from tests.tunnels.agents import ngrok_settings, open_stage, program, running, until
from tests.tunnels.drivers import START_SECONDS, Driver, open_driver


async def test_turns_are_taken_in_the_order_of_asking(tmp_path: Path) -> None:
    folder, order, holding = share.queue_folder("account", tmp_path), [], 0

    async def take(name: int, task_status: trio.TaskStatus[None]) -> None:
        nonlocal holding
        seen: list[int] = []

        def placed(ahead: int) -> None:
            seen.append(ahead)
            if len(seen) == 1:
                task_status.started()

        async with share.turn(folder, placed):
            order.append(name)
            holding += 1
            assert holding == 1
            await trio.sleep(0.01)
            holding -= 1
        assert seen == sorted(seen, reverse=True)
        assert seen[0] == name

    async with trio.open_nursery() as nursery, share.turn(folder, lambda _: None):
        for name in range(1, 5):
            await nursery.start(take, name)
    assert order == [1, 2, 3, 4]
    assert [path.name for path in folder.iterdir()] == ["gate"]


async def test_turn_is_not_missed_when_those_ahead_stop_waiting(tmp_path: Path) -> None:
    folder = share.queue_folder("account", tmp_path)
    async with share.turn(folder, lambda _: None), trio.open_nursery() as nursery:
        waits = trio.Event()

        async def give_up() -> None:
            with trio.CancelScope() as scope:
                async with share.turn(folder, lambda _: (waits.set(), scope.cancel())[0]):
                    raise AssertionError("it was not its turn")

        nursery.start_soon(give_up)
        await waits.wait()
    with trio.fail_after(2):
        async with share.turn(folder, lambda _: None):
            pass
    assert [path.name for path in folder.iterdir()] == ["gate"]


async def test_numbers_are_not_used_twice_when_the_queue_was_empty(tmp_path: Path) -> None:
    folder, numbers = share.queue_folder("account", tmp_path), []
    for _ in range(3):
        async with share.turn(folder, lambda _: None):
            numbers += [number for number, _ in share._tickets(folder)]
    assert numbers == [1, 2, 3]


async def test_accounts_do_not_wait_for_each_other(tmp_path: Path) -> None:
    one, other = (share.queue_folder(name, tmp_path) for name in ("ngrok hunter2", "ngrok hunter3"))
    assert "hunter" not in str(one)
    async with share.turn(one, lambda _: None), share.turn(other, lambda _: None):
        assert one != other


async def test_queue_is_refused_when_its_folder_is_not_ours(tmp_path: Path) -> None:
    folder = share.queue_folder("account", tmp_path)
    os.symlink(tmp_path, folder.parent)
    with pytest.raises(share.NoQueue, match="somebody else"):
        async with share.turn(folder, lambda _: None):
            pass
    with pytest.raises(share.NoQueue, match="cannot keep"):
        async with share.turn(share.queue_folder("account", Path("/dev/null")), lambda _: None):
            pass


async def test_account_is_given_back_when_the_last_user_leaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(share, "LOCKS", tmp_path)
    settings = ngrok_settings(tmp_path, {"tunnel_share": "serialize"}, SESSIONS=str(tmp_path))
    async with open_stage(settings) as one, open_stage(settings) as other, AsyncExitStack() as call:
        call.enter_context(one.tunnel.use())
        assert await one.leads_here(await one.tunnel.base_url())
        given: list[str] = []

        async def ask() -> None:
            with other.tunnel.use():
                given.append(await other.tunnel.base_url())
                assert await other.leads_here(given[0])

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await until(lambda: other.tunnel.counts["queued"])
            assert "1 ahead" in repr(other.tunnel)
            assert not given
            await call.aclose()
        assert other.tunnel.counts["busy"] == 0
        await until(lambda: not running(settings.ngrok_bin))
        with one.tunnel.use():  # and again: the first one is as new
            assert await one.leads_here(await one.tunnel.base_url())


async def test_call_fails_when_its_turn_does_not_come_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(share, "LOCKS", tmp_path)
    settings = ngrok_settings(tmp_path, {"tunnel_share": "serialize", "tunnel_deadline_seconds": 0.5})
    async with (
        open_stage(settings) as stage,
        share.turn(share.queue_folder(stage.tunnel.engine.account), lambda _: None),
    ):
        with pytest.raises(NoAnswer) as raised:
            await stage.tunnel.base_url()
        assert raised.value.cause == "tunnel_busy"
        assert "1 ahead" in raised.value.line
        assert stage.tunnel.counts["starts"] == 0


async def test_tunnel_fails_in_one_line_when_there_can_be_no_queue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(share, "LOCKS", tmp_path)
    os.symlink(tmp_path, share.queue_folder("x").parent)
    async with open_stage(ngrok_settings(tmp_path, {"tunnel_share": "serialize"})) as stage:
        with pytest.raises(NoAnswer, match="TUNNEL_SHARE"):
            await stage.tunnel.base_url()


async def test_all_processes_have_their_turn_when_the_account_has_one_session(tmp_path: Path) -> None:
    ngrok = program(tmp_path, "ngrok", SESSIONS=str(tmp_path))
    async with AsyncExitStack() as stack:
        drivers = [
            await stack.enter_async_context(open_driver(ngrok, tmp_path, 0.3, TUNNEL_SHARE="serialize"))
            for _ in range(4)
        ]
        for driver in drivers:
            await driver.says("done")
        assert not any("tunnel_busy" in driver.output for driver in drivers)
        assert any(re.search(r"tunnel_queued.*ahead", driver.output) for driver in drivers)


async def test_turn_comes_when_the_holder_and_a_waiter_were_killed(tmp_path: Path) -> None:
    ngrok = program(tmp_path, "ngrok", SESSIONS=str(tmp_path))
    async with AsyncExitStack() as stack:
        drivers = [
            await stack.enter_async_context(open_driver(ngrok, tmp_path, 60, TUNNEL_SHARE="serialize"))
            for _ in range(3)
        ]
        holder = await first(drivers, r"^ready ")
        waiter = await first([driver for driver in drivers if driver is not holder], r"tunnel_queued.*\b1\b")
        (last,) = (driver for driver in drivers if driver not in (holder, waiter))
        await last.says("tunnel_queued")
        waiter.kill()
        holder.kill()
        await last.says("ready ", 10)


async def first(drivers: list[Driver], pattern: str) -> Driver:
    """The one that says such a line."""
    await until(lambda: any(re.search(pattern, driver.output, re.MULTILINE) for driver in drivers), START_SECONDS)
    return next(driver for driver in drivers if re.search(pattern, driver.output, re.MULTILINE))
