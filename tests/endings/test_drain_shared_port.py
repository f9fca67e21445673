"""SIGTERM where other processes listen on the same port: who has come here is served, and nobody comes any more."""

from typing import Any

import pytest
import trio

from runtime import limits
from simulation.network import Network
from simulation.websockets import open_client_socket
from tests.endings.test_drain import Crowd, perform


async def connected(crowd: Crowd) -> trio.SocketStream:
    port = int(crowd.stage.world.doors.voice_url.rpartition(":")[2].partition("/")[0])
    return await trio.open_tcp_stream("127.0.0.1", port)


async def call_over(crowd: Crowd, stream: trio.SocketStream) -> None:
    """A caller asks over this connection, has his call, and leaves."""

    class There:
        async def dial(self, *_: object) -> trio.SocketStream:
            await trio.lowlevel.checkpoint()
            return stream

    network: Network | Any = There()
    world = crowd.stage.world
    async with open_client_socket(network, world.doors.voice_url):
        await world.until(lambda: [call.status for call in world.cloud.calls] == ["in-progress"])


async def test_caller_who_has_connected_is_served_when_the_drain_begins_before_he_asks() -> None:
    async def play(crowd: Crowd) -> None:
        stream = await connected(crowd)
        await trio.sleep(0.5)
        crowd.terminate()
        await trio.sleep(1)
        with pytest.raises(OSError, match="all attempts to connect"):
            await connected(crowd)
        await call_over(crowd, stream)
        assert crowd.doors_closed_at == 0

    crowd = await perform(play, VOICE_PORT_SHARED="on")
    assert len(crowd.stage.world.cloud.calls) == 1
    assert crowd.doors_closed_at > 0


async def test_caller_who_asks_for_nothing_holds_the_drain_up_for_a_handshake_and_no_longer() -> None:
    began: list[float] = []

    async def play(crowd: Crowd) -> None:
        await call_over(crowd, await connected(crowd))
        idle = await connected(crowd)
        await trio.sleep(0.5)
        began.append(trio.current_time())
        crowd.terminate()
        async with idle:
            assert await idle.receive_some() == b""

    crowd = await perform(play, VOICE_PORT_SHARED="on")
    assert limits.HANDSHAKE_SECONDS - 1 < crowd.doors_closed_at - began[0] < limits.HANDSHAKE_SECONDS + 1
