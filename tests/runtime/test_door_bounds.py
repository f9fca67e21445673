"""What both doors allow at most, and whom they turn away; on the virtual network, in virtual time."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import hypothesis
import pytest
import trio
from hypothesis import strategies as st

from runtime import limits
from runtime.guests import Rate
from runtime.http_door import HttpDoor
from simulation.network import VirtualNetwork, port_of
from tests.traps.obvious import healthy_app
from tests.virtual_time import run_in_virtual_time
from tests.world import World, open_world

REQUEST = b"GET /healthz HTTP/1.1\r\nhost: bank.example\r\n\r\n"
TOKEN = "a-token-of-16-and-more"


@asynccontextmanager
async def open_door() -> AsyncIterator[Callable[[], "trio.abc.AsyncResource"]]:
    network = VirtualNetwork()
    with network.installed():
        listeners = list(await network.listen("127.0.0.1", 0))
        async with trio.open_nursery() as nursery:
            await nursery.start(HttpDoor(healthy_app(), listeners).run)
            yield lambda: network.dial("127.0.0.1", port_of(listeners))  # type: ignore[return-value]
            nursery.cancel_scope.cancel()
    assert network.open_sockets == set()


async def answer_to(peer: trio.SocketStream, data: bytes) -> bytes:
    await peer.send_all(data)
    received = b""
    with trio.move_on_after(limits.HTTP_IDLE_SECONDS * 2):
        while chunk := await peer.receive_some():
            received += chunk
    return received


def test_next_connection_waits_when_the_door_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "WEBHOOK_CONNECTIONS", 3)

    async def play() -> None:
        async with open_door() as dial, AsyncExitStack() as silent:
            for _ in range(3):
                await silent.enter_async_context(await dial())
            async with await dial() as peer:
                await peer.send_all(REQUEST)
                began = trio.current_time()
                assert (await peer.receive_some()).startswith(b"HTTP/1.1 200")
                waited = trio.current_time() - began
                assert waited == pytest.approx(limits.HTTP_HEAD_SECONDS, abs=0.1), "a silent one's time was up"

    run_in_virtual_time(play)


def test_head_must_be_whole_in_time_however_busily_it_drips() -> None:
    async def play() -> None:
        async with open_door() as dial, await dial() as peer:
            began = trio.current_time()
            try:
                for byte in REQUEST[:-2] + b"x: " + b"y" * 1_000:
                    await peer.send_all(bytes([byte]))
                    await trio.sleep(0.05)
                raise AssertionError("it would have gone on for ever")
            except trio.BrokenResourceError:
                assert trio.current_time() - began == pytest.approx(limits.HTTP_HEAD_SECONDS, abs=0.2)

    run_in_virtual_time(play)


def test_head_is_refused_when_it_is_too_long() -> None:
    async def play() -> None:
        async with open_door() as dial, await dial() as peer:
            answer = await answer_to(peer, REQUEST[:-2] + b"x: " + b"y" * 100_000 + b"\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 431")

    run_in_virtual_time(play)


@pytest.mark.parametrize(
    "opening",
    [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
        REQUEST[:-2] + b"connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n\r\n",
    ],
)
def test_door_stays_with_http_1_when_a_peer_wants_http_2(opening: bytes) -> None:
    async def play() -> None:
        async with open_door() as dial, await dial() as peer:
            answer = await answer_to(peer, opening)
            assert b"101 " not in answer
            assert not answer or answer.startswith((b"HTTP/1.1 2", b"HTTP/1.1 4"))

    run_in_virtual_time(play)


@asynccontextmanager
async def open_voice_door(**settings: str) -> AsyncIterator[tuple[World, Callable[..., object]]]:
    """A world, and a way to ask its voice door for an upgrade with these headers: the status line, or the close."""
    network = VirtualNetwork()
    with network.installed():
        async with open_world(**settings) as world:
            port = int(world.doors.voice_url.split(":")[2].split("/")[0])

            async def ask(path: str = "/voice", **headers: str) -> bytes:
                named = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
                async with await network.dial("127.0.0.1", port) as peer:
                    await peer.send_all(
                        f"GET {path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
                        f"{named}\r\n".encode("latin-1")
                    )
                    return bytes(await peer.receive_some()).partition(b"\r\n")[0]

            yield world, ask


ADMITTED, NO_TOKEN, NO_PAGE = b"HTTP/1.1 101 ", b"HTTP/1.1 401 ", b"HTTP/1.1 403 "


@pytest.mark.parametrize(
    ("path", "headers", "answer"),
    [
        ("/voice", {}, NO_TOKEN),
        ("/voice?token=", {}, NO_TOKEN),
        ("/voice?token=wrong", {}, NO_TOKEN),
        (f"/voice?token={TOKEN}", {}, ADMITTED),
        ("/voice", {"Authorization": f"Bearer {TOKEN}"}, ADMITTED),
        ("/voice", {"Authorization": f"Basic {TOKEN}"}, NO_TOKEN),
        ("/voice", {"Authorization": "Bearer m\xf6re"}, NO_TOKEN),
        ("/voice", {"Authorization": f"bearer {TOKEN}"}, ADMITTED),
        (f"/voice?token={TOKEN}", {"Authorization": "Basic of-a-proxy"}, ADMITTED),
        (f"/voice?token={TOKEN}", {"Origin": "https://evil.example"}, NO_PAGE),
        (f"/voice?token={TOKEN}", {"Origin": "null"}, NO_PAGE),
        (f"/voice?token={TOKEN}", {"Origin": "https://Bank.example"}, ADMITTED),
        (f"/voice?token={TOKEN}", {"Origin": "https://bank.example:444"}, NO_PAGE),
    ],
)
def test_caller_is_admitted_only_with_the_token_and_from_no_strange_page(
    path: str, headers: dict[str, str], answer: bytes
) -> None:
    async def play() -> None:
        async with open_voice_door(VOICE_TOKEN=TOKEN, VOICE_ORIGINS="https://bank.example") as (world, ask):
            assert (await ask(path, **headers)).startswith(answer)  # type: ignore[misc]
            await world.until(lambda: not len(world.doors.house.calls))
            refused = {f"callers_refused_{answer[9:12].decode()}": 1} if answer != ADMITTED else {}
            told = {name: n for name, n in world.counts.items() if name.startswith("callers_refused")}
            assert told == refused

    run_in_virtual_time(play)


def test_new_calls_are_refused_when_they_come_too_fast_and_taken_again_later() -> None:
    async def play() -> None:
        async with open_voice_door(MAX_CALLS="2", SETUPS_PER_SECOND="2") as (world, _ask):
            for _ in range(2):
                await world.short_call()
            await trio.sleep(10)
            world.doors.house.counts.clear()
            reports = []
            for _ in range(3):
                async with trio.open_nursery() as nursery:

                    async def hang_up_at_once() -> None:
                        with trio.move_on_after(0.05):
                            reports.append(await world.caller().run())

                    nursery.start_soon(hang_up_at_once)
            assert world.counts["calls_refused_by_rate"] == 1
            await trio.sleep(1)
            await world.short_call()

    run_in_virtual_time(play)


@hypothesis.given(st.floats(0.5, 50), st.integers(1, 20), st.lists(st.floats(0, 3), min_size=1, max_size=40))
def test_rate_lets_no_more_pass_than_the_burst_and_the_rate_allow(
    per_second: float, burst: int, pauses: list[float]
) -> None:
    async def play() -> None:
        rate, began, passed = Rate(per_second, burst), trio.current_time(), 0
        for pause in pauses:
            await trio.sleep(pause)
            passed += rate.allows_one_more()
            assert passed <= burst + per_second * (trio.current_time() - began) + 1e-6
        await trio.sleep(burst / per_second + 1)
        assert all(rate.allows_one_more() for _ in range(burst))
        assert not rate.allows_one_more() or per_second * 1e-6 > 1

    run_in_virtual_time(play)


@pytest.mark.parametrize("host", ["a" * 64 + ".example", "\xff\xfe", "[::1", "x" * 5_000, "a..b", ""])
def test_host_makes_no_difference_whatever_it_is(host: str) -> None:
    async def play() -> None:
        async with open_door() as dial, await dial() as peer:
            answer = await answer_to(peer, REQUEST.replace(b"bank.example", host.encode("latin-1")))
            assert answer.startswith((b"HTTP/1.1 200", b"HTTP/1.1 400"))

    run_in_virtual_time(play)


@pytest.mark.parametrize("target", ["http://[::1/healthz", "//[", "*", "/%00", "/%ff"])
def test_target_that_is_no_address_is_refused(target: str) -> None:
    async def play() -> None:
        async with open_door() as dial, await dial() as peer:
            answer = await answer_to(peer, REQUEST.replace(b"/healthz", target.encode()))
            assert answer.startswith(b"HTTP/1.1 4")

    run_in_virtual_time(play)
