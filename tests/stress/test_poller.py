"""The poller of many virtual sockets tells what the one that looks at all of them tells, and when."""

from typing import Any

import pytest
import trio

from simulation.network import TrioSockets, VirtualNetwork, Weather, port_of
from simulation.virtual_poller import VirtualPoller
from stress.poller import ManyPoller
from tests.virtual_time import run_in_virtual_time

LATENCY_SECONDS = 0.05
BUFFER_BYTES = 1_000


@pytest.mark.parametrize("poller_class", [ManyPoller, VirtualPoller])
def test_sockets_are_ready_when_bytes_arrive_and_when_room_is_made(poller_class: Any) -> None:
    async def main() -> None:
        network = VirtualNetwork(weather=Weather(latency_seconds=LATENCY_SECONDS, buffer_bytes=BUFFER_BYTES))
        with network.installed():
            (listener,) = listeners = await TrioSockets().listen("127.0.0.1", 0)
            client = await TrioSockets().dial("127.0.0.1", port_of(listeners))
            server = await listener.accept()
            poller = poller_class()
            here, there = poller.take(client.socket), poller.take(server.socket)
            poller.watch(there, "reader", reads=True, writes=False)
            began = trio.current_time()
            assert here.send(bytes(2 * BUFFER_BYTES)) == BUFFER_BYTES
            poller.watch(here, "writer", reads=False, writes=True)
            await poller.wait()
            assert trio.current_time() - began == pytest.approx(LATENCY_SECONDS)
            assert list(poller.ready()) == [("reader", True, False)]
            assert list(poller.ready()) == [("reader", True, False)], "told until it is read"
            assert len(there.recv(8_000)) == BUFFER_BYTES
            await poller.wait()
            assert trio.current_time() - began == pytest.approx(2 * LATENCY_SECONDS)
            assert list(poller.ready()) == [("writer", False, True)]
            poller.watch(here, "writer", reads=False, writes=False)
            assert list(poller.ready()) == []
            poller.watch(here, "reader", reads=True, writes=False)
            there.close()
            await poller.wait()
            assert list(poller.ready()) == [("reader", True, False)], "the end can be read"
            here.close()

    run_in_virtual_time(main)


def test_poller_wakes_when_something_is_watched_that_is_ready_already() -> None:
    async def main() -> None:
        network = VirtualNetwork()
        with network.installed():
            (listener,) = listeners = await TrioSockets().listen("127.0.0.1", 0)
            client = await TrioSockets().dial("127.0.0.1", port_of(listeners))
            await listener.accept()
            poller = ManyPoller()
            plug = poller.take(client.socket)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(poller.wait)
                await trio.testing.wait_all_tasks_blocked()
                poller.watch(plug, "writer", reads=False, writes=True)

    run_in_virtual_time(main)
