"""H4: with quart-trio on hypercorn, a keep-alive connection that idles after a request is never closed."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from runtime import limits
from runtime.http_door import HttpDoor
from simulation.network import VirtualNetwork, port_of
from tests.traps.obvious import ObviousDoor, healthy_app

REQUEST = b"GET /healthz HTTP/1.1\r\nhost: bank.example\r\n\r\n"
FOR_EVER_SECONDS = 600.0


@asynccontextmanager
async def idle_connection(door: type[HttpDoor] | type[ObviousDoor], requests: int) -> AsyncIterator[trio.SocketStream]:
    """A connection on which so many requests were answered, and on which nothing happens any more."""
    network = VirtualNetwork()
    with network.installed():
        listeners = list(await network.listen("127.0.0.1", 0))
        async with trio.open_nursery() as nursery:
            await nursery.start(door(healthy_app(), listeners).run)
            async with await network.dial("127.0.0.1", port_of(listeners)) as peer:
                for _ in range(requests):
                    await peer.send_all(REQUEST)
                    answer = b""
                    while not answer.endswith(b"ok"):
                        answer += await peer.receive_some()
                    assert answer.startswith(b"HTTP/1.1 200")
                yield peer
            nursery.cancel_scope.cancel()
    assert network.open_sockets == set()


@pytest.mark.parametrize("requests", [0, 1, 2])
async def test_idle_connection_is_closed_in_time(requests: int) -> None:
    async with idle_connection(HttpDoor, requests) as peer:
        since = trio.current_time()
        with trio.fail_after(FOR_EVER_SECONDS):
            assert await peer.receive_some() == b""
        allowed = limits.HTTP_IDLE_SECONDS if requests else limits.HTTP_HEAD_SECONDS
        assert trio.current_time() - since == pytest.approx(allowed, abs=0.1)


async def test_idle_connection_stays_open_for_ever_on_the_obvious_door() -> None:
    async with idle_connection(ObviousDoor, requests=1) as peer:
        with trio.move_on_after(FOR_EVER_SECONDS) as waiting:
            await peer.receive_some()
        assert waiting.cancelled_caught
