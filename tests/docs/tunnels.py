"""What is wrong with the tunnel: in the summary line, in the log, and from `voice tunnel check`."""

import os
from collections.abc import Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import attrs
import pytest
import trio
import trio.lowlevel
import trio.testing
from rich.console import Console

from runtime.errors import NoAnswer
from runtime.http_client import Reply
from runtime.setting_values import Bind
from runtime.settings import Settings
from runtime.tunnels import agent, check, child, share
from runtime.tunnels.agent import Agent
from runtime.tunnels.child import CannotStart
from runtime.tunnels.cloudflared import Cloudflared
from runtime.tunnels.engine import Command, Engine
from runtime.tunnels.facts import Busy, Degraded, Failed, Fatal, Ready, Url
from runtime.tunnels.ngrok import AUTH, BUSY, QUOTA, Ngrok
from runtime.tunnels.probe import probe, probe_until
from runtime.tunnels.ssh import Ssh
from runtime.tunnels.tunnel import STOPPING, Tunnel
from runtime.tunnels.way_in import FixedAddress
from tests.docs.symptom import Symptom, caused, in_virtual_time, raised_later, said_later, seen
from tests.fakes import FakeHttp

URL: Final = "https://me.example"
SSH: Final = Ssh("me@bastion", URL, "/run/pods/a.sock")
SAYS: Final = "what it says"

# A line of the program, and what in our words varies.
CLOUDFLARED_LINES: Final[tuple[tuple[str, dict[str, object]], ...]] = (
    ('Error unmarshaling QuickTunnel response: status_code="429"', {}),
    ("Provided Tunnel token is not valid", {}),
    (f"2026-01-01T00:00:00Z ERR {SAYS}", {"what_it_says": SAYS}),
)
SSH_LINES: Final[tuple[tuple[str, dict[str, object]], ...]] = (
    ("Host key verification failed.", {}),
    ('Load key "/k": bad permissions', {"what_it_says": 'Load key "/k": bad permissions'}),
    ("me@bastion: Permission denied (publickey).", {"what_it_says": "me@bastion: Permission denied (publickey)."}),
    ("Error: remote port forwarding failed for listen path /run", {"address": SSH.listen}),
    ("kex_exchange_identification: read: x", {"what_it_says": "kex_exchange_identification: read: x"}),
    (f"ssh: {SAYS}", {"what_it_says": SAYS}),
)


def tunnel(folder: Path) -> Iterator[Symptom]:
    yield from _ngrok()
    for line, varies in CLOUDFLARED_LINES:
        yield from _told(Cloudflared(), line, **varies)
    yield from _told(
        Cloudflared(), "INF Lost connection with the edge", what_it_says="INF Lost connection with the edge"
    )
    for line, varies in SSH_LINES:
        yield from _told(SSH, line, **varies)
    for make in (_ends, _probes, _queues, partial(_turns, folder), _checks):
        yield from in_virtual_time(make)


def _told(engine: Engine, line: str, **varies: object) -> Iterator[Symptom]:
    facts = engine.facts(line)
    assert facts, f"{engine.name} says nothing to {line!r}"
    for fact in facts:
        if isinstance(fact, Busy | Fatal | Failed | Degraded):
            yield caused(fact, **varies)


def _ngrok() -> Iterator[Symptom]:
    for code in (*BUSY, *AUTH, *QUOTA, 301):
        yield from _told(Ngrok(), f"ERROR:  ERR_NGROK_{code}", **({"code": code} if code == 301 else {}))
    yield from _told(Ngrok(), "ERROR:  ERR_NGROK_9999", code=9999)
    yield from _told(Ngrok(), '{"lvl":"crit","err":"what it says"}', what_it_says=SAYS)
    lost = '{"lvl":"eror","msg":"failed to reconnect session","err":"what it says"}'
    yield from _told(Ngrok(), lost, what_it_says=SAYS)


async def _ends(found: list[Symptom]) -> None:
    """How an agent's life ends, when none of its lines says it."""
    for code, lines in ((1, ()), (1, (SAYS,)), (child.NOT_FOUND, ())):
        found.append(await _buried(code, lines))
    found.append(caused(Agent(Ngrok(), lambda *_: None).end, agent="ngrok"))
    degraded: list[str] = []
    up = Agent(Ngrok(url=URL), lambda _, line: degraded.append(line))
    up.learn(Ready())
    async with trio.open_nursery() as nursery:
        up.metrics = URL
        nursery.start_soon(agent._watch_ready, up, FakeHttp(status=503))  # type: ignore[arg-type]
        await trio.lowlevel.checkpoint()
        while not any("503" in line for line in degraded):
            await trio.sleep(1)
        nursery.cancel_scope.cancel()
    found.append(seen(degraded[-1], agent="ngrok", status=503))
    found.append(caused(STOPPING))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trio.lowlevel, "open_process", _no_memory)
        line = await said_later(CannotStart, lambda: child.open_child(Command(("ngrok",)), print).__aenter__())
    found.append(seen(line, program="ngrok", why="Cannot allocate memory"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tempfile.mkdtemp", _no_space)
        opening = agent.open_agent(Ngrok(), Bind(), FakeHttp(), lambda *_: None)  # type: ignore[arg-type]
        line = await said_later(CannotStart, opening.__aenter__)
    found.append(seen(line, agent="ngrok", why="No space left on device"))


async def _no_memory(*_: object, **__: object) -> None:
    raise OSError(12, os.strerror(12))


def _no_space(**_: object) -> str:
    raise OSError(28, os.strerror(28))


async def _buried(code: int, lines: Sequence[str]) -> Symptom:
    dead = Agent(Ngrok(), lambda *_: None)
    gone: Any = SimpleNamespace(ended=trio.Event(), code=code, could_not_run=code == child.NOT_FOUND)
    gone.last_line = next(iter(lines), "")
    gone.ended.set()
    await agent._bury(dead, gone, Command(("/opt/ngrok",)))
    if gone.could_not_run:
        return caused(dead.end, program="/opt/ngrok", agent="ngrok")
    return caused(dead.end, agent="ngrok", code=code, **({"what_it_says": SAYS} if lines else {}))


async def _probes(found: list[Symptom]) -> None:
    """Where an address leads: to this process, to another one, to nobody."""
    at = f"{URL}/p/pod"
    http: Any = FakeHttp(respond=lambda *_: Reply(200, b'{"nonce":"other"}'))
    found.append(caused(await probe(http, at, "n"), address=at))
    http = FakeHttp(seconds=60)
    found.append(caused(await probe_until(http, at, "n", 1), address=at, seconds="1 s"))
    http = FakeHttp(status=404)
    found.append(caused(await probe(http, at, "n"), address=at, status=404))
    http = FakeHttp(down=True)
    found.append(caused(await probe(http, at, "n"), address=at, why="connection refused"))


@attrs.frozen
class Fake:
    """An engine whose agents do as the test says; nothing is started."""

    name: str = "ngrok"
    url: str | None = None
    account: str | None = None

    @asynccontextmanager
    async def open(self, _engine: Engine, _door: Bind, _http: Any, changed: Any) -> Any:
        yield Agent(self, changed)  # type: ignore[arg-type]


@asynccontextmanager
async def at_work(fake: Any, answers: bytes = b'{"nonce":"other"}', **settings: Any) -> Any:
    """A Tunnel with such agents: what they do is up to `fake.open`, what their addresses say to `answers`."""
    known = Settings(pod_id="pod", **{"tunnel_attempts": 1, "tunnel_probe": "off", **settings})
    http: Any = FakeHttp(respond=lambda *_: Reply(200, answers))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("runtime.tunnels.tunnel.open_agent", fake.open)
        made = Tunnel(fake, known, Bind(), http, "n")
        async with trio.open_nursery() as nursery:
            await nursery.start(made.run)
            yield made
            nursery.cancel_scope.cancel()


@attrs.frozen
class Ups(Fake):
    """Each start is ready at once, with another address."""

    agents: list[Agent] = attrs.field(factory=list)

    @asynccontextmanager
    async def open(self, _engine: Engine, _door: Bind, _http: Any, changed: Any) -> Any:
        up = Agent(self, changed)  # type: ignore[arg-type]
        self.agents.append(up)
        up.learn(Url(f"https://address-{len(self.agents)}.example"))
        up.learn(Ready())
        yield up


async def _queues(found: list[Symptom]) -> None:
    """What the calls are told by a Tunnel itself."""
    async with at_work(Fake()) as made:
        found.append(caused(await raised_later(NoAnswer, made.base_url), agent="ngrok"))
    ups = Ups()
    async with at_work(ups, tunnel_attempts=6) as made, trio.open_nursery() as nursery:
        with made.use():
            first = await made.base_url()
            found.append(seen(await made.lost("https://before.example"), address="https://before.example"))
            told: list[str] = []

            async def lose() -> None:
                told.append(await made.lost(first))

            nursery.start_soon(lose)
            ups.agents[0].die(Failed("gone"))
            await trio.sleep(60)
        found.append(seen(told[0], agent="ngrok"))
    async with at_work(Ups(account="a"), tunnel_share="serialize") as made:
        told = []
        async with trio.open_nursery() as nursery:
            with made.use():
                first = await made.base_url()

                async def lose_again() -> None:
                    told.append(await made.lost(first))

                nursery.start_soon(lose_again)
                await trio.testing.wait_all_tasks_blocked()
        found.append(seen(told[0]))


async def _turns(folder: Path, found: list[Symptom]) -> None:
    """TUNNEL_SHARE=serialize: the queue of this machine's processes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(share, "LOCKS", folder)
        turn = share.turn(share.queue_folder("b"), lambda _: None)
        async with turn, at_work(Ups(account="b"), tunnel_share="serialize") as made:
            error = await raised_later(NoAnswer, made.base_url)
        found.append(caused(error, agent="ngrok", ahead="1 ahead in the queue"))
    theirs = folder / "theirs"
    theirs.mkdir()
    queue = share.queue_folder("c", theirs)
    os.symlink(folder, queue.parent)
    line = await said_later(share.NoQueue, share.turn(queue, lambda _: None).__aenter__)
    found.append(seen(line, folder=queue.parent))
    queue = share.queue_folder("c", Path("/dev/null"))
    line = await said_later(share.NoQueue, share.turn(queue, lambda _: None).__aenter__)
    found.append(seen(line, folder=queue, why="Not a directory"))


async def _checks(found: list[Symptom]) -> None:
    """What `voice tunnel check` prints in the end, for each way that it can end."""

    @attrs.frozen
    class Refuses(FixedAddress):
        async def base_url(self) -> str:
            raise NoAnswer("tunnel_auth", "it says why")

    @attrs.frozen
    class Loses(FixedAddress):
        async def lost(self, _base_url: str) -> str:
            return "it says why"

    async def printed(way_in: FixedAddress, reply: Reply) -> list[str]:
        async def this_one(*_: object) -> FixedAddress:
            return way_in

        async def slowly(*_: object, **__: object) -> Reply:
            await trio.sleep(0.1)
            return reply

        out = StringIO()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(check, "_way_in", this_one)
            patch.setattr("runtime.http_client.HttpClient.request", slowly)
            known = Settings(public_base_url=URL, webhook_bind=Bind("127.0.0.1", 0))
            await check.check_tunnel(known, Console(file=out, width=200))
        return out.getvalue().splitlines()

    elsewhere = Reply(200, b'{"nonce":"other"}')
    for way_in, cause in ((Refuses(URL), "tunnel_auth"), (Loses(URL), "tunnel_lost")):
        *_, why, last = await printed(way_in, elsewhere)
        found += [seen(why, why="it says why"), seen(last, cause=cause)]
    found.append(seen((await printed(FixedAddress(URL), elsewhere))[-1], cause="leads_elsewhere"))
