"""A request that is answered before all of its body has come, as a stranger's is: hypercorn means to close the
connection then, but tells quart-trio of the disconnect first, and quart-trio cancels it half way through the close.
When the rest of the body has come, and a byte behind it, hypercorn's reader waits for ever, with its socket open."""

from contextlib import suppress

import pytest
import trio
from quart_trio import QuartTrio

from runtime.http_door import HttpDoor
from simulation.network import VirtualNetwork, port_of
from tests.traps.obvious import ObviousDoor

CHUNKED = b"POST /tool HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
COUNTED = b"POST /tool HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n"
FOR_EVER_SECONDS = 600.0


def unauthorized_app() -> QuartTrio:
    """Answers without a look at the body."""
    app = QuartTrio("unauthorized")

    @app.post("/tool")
    async def tool() -> tuple[str, int]:
        return "who are you?", 401

    return app


async def left_open(door: type[HttpDoor] | type[ObviousDoor], head: bytes, *rest: bytes) -> bool:
    """Whether the door's end is open long after the head, an answer, the rest, and the peer's close."""
    network = VirtualNetwork()
    with network.installed():
        listeners = list(await network.listen("127.0.0.1", 0))
        async with trio.open_nursery() as nursery:
            await nursery.start(door(unauthorized_app(), listeners).run)
            async with await network.dial("127.0.0.1", port_of(listeners)) as peer:
                await peer.send_all(head)
                answer = b""
                while not answer.endswith(b"you?"):
                    answer += await peer.receive_some()
                assert answer.startswith(b"HTTP/1.1 401")
                with suppress(trio.BrokenResourceError):
                    for piece in rest:
                        await peer.send_all(piece)
                        await trio.sleep(1.0)
            await trio.sleep(FOR_EVER_SECONDS)
            left = not network.links[0].server.closed
            nursery.cancel_scope.cancel()
    assert network.open_sockets == set()
    return left


@pytest.mark.parametrize(
    ("head", "rest"),
    [
        (CHUNKED, [b"0\r\n\r\nX"]),
        (COUNTED, [b"body", b"", b"X"]),
        (CHUNKED, [b"4\r\nbo"]),
        (COUNTED, [b"bo"]),
        (COUNTED, []),
    ],
)
async def test_connection_is_closed_when_its_request_was_answered_early(head: bytes, rest: list[bytes]) -> None:
    assert not await left_open(HttpDoor, head, *rest)


async def test_obvious_door_keeps_the_connection_when_its_request_was_answered_early() -> None:
    assert await left_open(ObviousDoor, CHUNKED, b"0\r\n\r\nX")
