"""H3: hypercorn shields its sends without a deadline, so a peer that never reads its answer cannot be got rid of."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import pytest
import trio

from runtime import limits
from runtime.http_door import HttpDoor
from simulation.network import VirtualNetwork, port_of
from tests.traps.obvious import BigAnswers, ObviousDoor

REQUEST = b"GET / HTTP/1.1\r\nhost: bank.example\r\n\r\n"
FOR_EVER_SECONDS = 60.0


@attrs.frozen
class Served:
    """A door in a scope of its own, with one peer that has asked and does not read."""

    network: VirtualNetwork
    app: BigAnswers
    scope: trio.CancelScope
    gone: trio.Event
    peer: trio.SocketStream


@asynccontextmanager
async def deaf_peer(door: type[HttpDoor] | type[ObviousDoor]) -> AsyncIterator[Served]:
    network, app, gone, scope = VirtualNetwork(), BigAnswers(), trio.Event(), trio.CancelScope()
    with network.installed():
        listeners = list(await network.listen("127.0.0.1", 0))

        async def run(task_status: trio.TaskStatus[None]) -> None:
            with scope:
                await door(app, listeners).run(task_status)
            gone.set()

        async with trio.open_nursery() as nursery:
            await nursery.start(run)
            async with await network.dial("127.0.0.1", port_of(listeners)) as peer:
                await peer.send_all(REQUEST)
                await trio.sleep(1.0)
                assert (app.began, app.ended) == (1, 0)
                yield Served(network, app, scope, gone, peer)
                network.links[0].reset()  # else the obvious door would never let the test end
            scope.cancel()
    assert network.open_sockets == set()


async def test_handler_ends_when_its_answer_is_not_read() -> None:
    async with deaf_peer(HttpDoor) as served:
        await trio.sleep(limits.HTTP_SEND_SECONDS)
        assert served.app.ended == 1
        assert served.network.links[0].server.closed
        assert not served.gone.is_set()


async def test_door_can_be_cancelled_when_an_answer_is_not_read() -> None:
    """Not at once: hypercorn's shield holds until the send's own deadline."""
    async with deaf_peer(HttpDoor) as served:
        served.scope.cancel()
        with trio.fail_after(limits.HTTP_SEND_SECONDS):
            await served.gone.wait()
        assert served.network.links[0].server.closed


@pytest.mark.parametrize("cancelled", [False, True])
async def test_obvious_door_hangs_when_an_answer_is_not_read(cancelled: bool) -> None:
    async with deaf_peer(ObviousDoor) as served:
        if cancelled:
            served.scope.cancel()
        await trio.sleep(FOR_EVER_SECONDS)
        assert served.app.ended == 0
        assert not served.gone.is_set()
        assert not served.network.links[0].server.closed


async def test_reader_gets_all_of_its_answer_when_it_is_only_slow() -> None:
    async with deaf_peer(HttpDoor) as served:
        await trio.sleep(limits.HTTP_SEND_SECONDS / 2)
        answer = 0
        while (data := await served.peer.receive_some()) and (answer := answer + len(data)) < 10_000_000:
            pass
        assert answer > 10_000_000
        assert served.app.ended == 1
