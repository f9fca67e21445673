"""The registrar against a runtime API of ours; against the real one it is in tests/wire/test_haproxy_fleet.py."""

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from actors.gateway_registrar import GatewayRegistrar
from runtime import limits
from simulation.background import open_background
from tests.gateway.fleet import short_folder
from tests.gateway.runtime_api import open_runtime_api


@pytest.fixture
def path() -> Iterator[Path]:
    with short_folder() as folder:
        yield folder / "api"


@asynccontextmanager
async def running(path: Path, every_seconds: float = 60.0) -> AsyncIterator[GatewayRegistrar]:
    actor = GatewayRegistrar(str(path), "pod-1", every_seconds)
    async with open_background() as nursery:
        await nursery.start(actor.run)
        yield actor


async def counted(actor: GatewayRegistrar, name: str, times: int = 1) -> None:
    with trio.fail_after(5):
        while actor.counts[name] < times:
            await trio.sleep(0.005)


async def test_call_is_in_the_map_while_it_is_live(path: Path) -> None:
    async with open_runtime_api(path) as api, running(path) as actor:
        actor.note_live("a")
        actor.note_live("b")
        await api.comes_to(("a", "pod-1"), ("b", "pod-1"))
        actor.note_over("a")
        await api.comes_to(("b", "pod-1"))
        assert api.commands[0] == "set map voice-calls.map a pod-1"
        await counted(actor, "removed")
        assert dict(actor.counts) == {"registered": 2, "removed": 1}


async def test_call_that_ends_before_it_was_registered_is_not_left_behind(path: Path) -> None:
    async with running(path, 0.05) as actor:
        actor.note_live("short")
        await counted(actor, "commands_lost")  # HAProxy is away
        actor.note_over("short")
        actor.note_live("long")
        async with open_runtime_api(path) as api:
            await api.comes_to(("long", "pod-1"))
            await counted(actor, "removed")


async def test_entry_is_renewed_not_doubled_when_the_period_is_over(path: Path) -> None:
    async with open_runtime_api(path) as api, running(path, 0.05) as actor:
        api.entries = [("a", "pod-7")]  # of whoever had it before
        actor.note_live("a")
        await counted(actor, "registered", 3)
        assert api.entries == [("a", "pod-1")]
        assert not any(command.startswith("add") for command in api.commands)
        api.entries.clear()
        await api.comes_to(("a", "pod-1"))


async def test_registrar_goes_on_when_haproxy_refuses(path: Path) -> None:
    async with open_runtime_api(path) as api, running(path, 0.05) as actor:
        api.wrong = "Permission denied\n"
        actor.note_live("a")
        await counted(actor, "refused", 2)
        api.wrong = ""
        await api.comes_to(("a", "pod-1"))


async def test_registrar_waits_no_longer_than_its_limit_when_haproxy_is_silent(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "GATEWAY_COMMAND_SECONDS", 0.1)
    async with open_runtime_api(path) as api, running(path, 0.05) as actor:
        api.silent = True
        actor.note_live("a")
        await counted(actor, "commands_lost")
        api.silent = False
        await api.comes_to(("a", "pod-1"))


def test_what_is_owed_stays_bounded_when_haproxy_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "GATEWAY_CALLS", 3)
    actor = GatewayRegistrar("/nowhere", "pod-1")
    for number in range(20):
        actor.note_live(f"a{number}")
        actor.note_over(f"a{number}")
    assert len(actor._orders) == 6
    for number in range(5):
        actor.note_live(f"b{number}")
    assert len(actor._live) == 3
    assert (actor.counts["too_many_calls"], actor.counts["forgotten"]) == (2, 17)


@given(st.text(max_size=120) | st.from_regex(r"[a-z0-9]{1,8}[;\n\r \\#<&\"'$\0][ -~]{0,20}", fullmatch=True))
def test_call_id_that_could_be_more_than_a_word_never_reaches_haproxy(call_id: str) -> None:
    actor = GatewayRegistrar("/nowhere", "pod-1")
    actor.note_live(call_id)
    harmless = re.match(r"[A-Za-z0-9._-]{1,100}\Z", call_id) is not None
    assert (list(actor._orders) == [call_id]) == harmless
    assert actor.counts["refused_ids"] == (0 if harmless else 1)
    actor.note_over(call_id)
    assert list(actor._orders) == ([call_id] if harmless else [])
