"""H1: one packet, a WebSocket upgrade with bytes behind it, ends hypercorn's own server; whatever is sent to our door
ends at most its own connection."""

import random

import httpx
import pytest
import trio

from runtime.http_door import HttpDoor
from simulation.network import VirtualNetwork, port_of
from tests.traps.obvious import ObviousDoor, healthy_app
from tests.world import open_world

UPGRADE = (
    b"GET /tool HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
POST = (
    b"POST /p/pod-1/tool HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n"
    b"X-Voice-Secret: 00.00\r\n\r\n{}"
)
CHUNKED = (
    b"POST /tool HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
)
H2C = b"GET /healthz HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
HTTP2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9)
WORDS = (
    b"\r\n",
    b"\0",
    b"\xff",
    b": ",
    b"HTTP/1.1",
    b"HTTP/9.9",
    b"Upgrade: websocket\r\n",
    b"Content-Length: 9\r\n",
    b"X",
)


def mutations(seed: int, count: int) -> list[bytes]:
    """Requests that are not quite right: bytes turned, cut, doubled, and words put where they do not belong."""
    rng = random.Random(seed)
    made = []
    for _ in range(count):
        raw = bytearray(rng.choice((UPGRADE, UPGRADE + b"X", POST, CHUNKED, H2C, HTTP2)))
        for _ in range(rng.randint(0, 4)):
            at = rng.randrange(len(raw) + 1)
            what = rng.randrange(5)
            if what == 0 and at < len(raw):
                raw[at] ^= 1 << rng.randrange(8)
            elif what == 1:
                raw[at : at + rng.randint(1, 40)] = b""
            elif what == 2:
                raw[at:at] = rng.choice(WORDS)
            elif what == 3:
                raw += raw[at:]
            else:
                raw += rng.randbytes(rng.randint(1, 30))
        made.append(bytes(raw))
    return made


async def send(port: int, packet: bytes, rng: random.Random) -> None:
    """Send it, whole or in two pieces; read what comes for a while; leave, in one of the ways there are to leave."""
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        cut = rng.randrange(len(packet) + 1)
        try:
            with trio.move_on_after(1.0):
                await stream.send_all(packet[:cut])
                await trio.sleep(rng.choice((0.0, 0.05)))
                await stream.send_all(packet[cut:])
                if rng.random() < 0.3:
                    await stream.send_eof()
                while await stream.receive_some():
                    pass
        except trio.BrokenResourceError:
            pass


async def test_door_stays_open_whatever_a_stranger_sends() -> None:
    rng = random.Random(1)
    network = VirtualNetwork()
    with network.installed():
        async with open_world() as world:
            port = int(world.doors.webhook.rpartition(":")[2])
            async with httpx.AsyncClient(trust_env=False) as client:
                for packet in [UPGRADE + b"X", *mutations(seed=1, count=200)]:
                    await send(port, packet, rng)
                    assert (await client.get(f"http://127.0.0.1:{port}/healthz")).status_code == 200
            report = await world.short_call()
    # Outside: had the door fallen, the block would have been cancelled.
    assert report.ending == "caller_hung_up"
    assert network.open_sockets == set()


@pytest.mark.parametrize(("door", "survives"), [(HttpDoor, True), (ObviousDoor, False)])
async def test_upgrade_with_bytes_behind_it_ends_the_obvious_door_only(
    door: type[HttpDoor] | type[ObviousDoor], survives: bool
) -> None:
    """hypercorn's issue #225."""
    died: list[BaseException] = []
    with VirtualNetwork().installed():
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        async with trio.open_nursery() as nursery:

            async def run(task_status: trio.TaskStatus[None]) -> None:
                try:
                    await door(healthy_app(), listeners).run(task_status)
                except Exception as exc:  # noqa: BLE001  # what a process would die of
                    died.append(exc)

            await nursery.start(run)
            await send(port_of(listeners), UPGRADE + b"X", random.Random(0))
            await trio.sleep(1)
            assert bool(died) is not survives
            nursery.cancel_scope.cancel()
