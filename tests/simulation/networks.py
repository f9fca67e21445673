"""Two networks to run the same check on, the host's TCP and the one in memory, and a connection on either."""

import socket as stdlib
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import attrs
import pytest
import trio

from simulation.network import VirtualNetwork, port_of
from tests.virtual_time import run_in_virtual_time

MEBIBYTE = 1024 * 1024
Check = Callable[[], Awaitable[None]]
Run = Callable[[Check], None]


def on_loopback(check: Check) -> None:
    async def bounded() -> None:
        with trio.fail_after(20):
            await check()

    trio.run(bounded)


def on_the_virtual_network(check: Check) -> None:
    async def installed() -> None:
        network = VirtualNetwork()
        with network.installed(), trio.fail_after(600):
            await check()
        assert network.open_sockets == set()

    run_in_virtual_time(installed)


on_both_networks = pytest.mark.parametrize("run", [on_loopback, on_the_virtual_network])


@attrs.frozen
class Pair:
    """A connection: what the client has of it, and what the server has."""

    client: trio.SocketStream
    server: trio.SocketStream
    listener: trio.SocketListener


@asynccontextmanager
async def connected() -> AsyncIterator[Pair]:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with (
        listener,
        await trio.open_tcp_stream("127.0.0.1", port_of([listener])) as client,
        await listener.accept() as server,
    ):
        yield Pair(client, server, listener)


async def settle() -> None:
    """Until what was sent has arrived, on either network."""
    await trio.sleep(0.05)


async def read_to_the_end(stream: trio.abc.ReceiveStream) -> bytes:
    return b"".join([bytes(data) async for data in stream])


async def reset(stream: trio.SocketStream) -> None:
    stream.setsockopt(stdlib.SOL_SOCKET, stdlib.SO_LINGER, struct.pack("ii", 1, 0))
    await stream.aclose()


async def echo(stream: trio.abc.Stream) -> None:
    async with stream:
        async for data in stream:
            await stream.send_all(data)


async def in_a_while(act: Callable[[], Awaitable[None]]) -> None:
    await settle()
    await act()
