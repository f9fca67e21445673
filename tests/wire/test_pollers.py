"""Both pollers of this machine on real sockets: the one that Linux uses, and the one for machines without epoll."""

import socket as stdlib_socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import trio

from runtime.line import Line
from runtime.poller import EpollPoller, Poller, SelectorPoller
from runtime.switchboard import Switchboard
from tests.fakes import speech

POLLERS = pytest.mark.parametrize("poller", [EpollPoller, SelectorPoller])
LONG = speech(60)  # more than any socket's buffers hold


@asynccontextmanager
async def line_and_peer(make: Callable[[], Poller]) -> AsyncIterator[tuple[Line, trio.SocketStream, bytearray]]:
    """A line on a switchboard that runs, its peer, and what has come on the line."""
    ours, theirs = stdlib_socket.socketpair()
    switchboard = Switchboard(make())
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            await nursery.start(switchboard.run)
            line = switchboard.line(trio.socket.from_stdlib_socket(ours))
            came = bytearray()
            line.on_data = lambda data: came.extend(data) or True  # type: ignore[func-returns-value]
            async with trio.SocketStream(trio.socket.from_stdlib_socket(theirs)) as peer:
                yield line, peer, came
            line.close()
            nursery.cancel_scope.cancel()


async def until(holds: Callable[[], bool]) -> None:
    while not holds():  # noqa: ASYNC110
        await trio.sleep(0.001)


@POLLERS
async def test_line_hears_its_peer_while_it_reads_and_hears_the_end(poller: Callable[[], Poller]) -> None:
    async with line_and_peer(poller) as (line, peer, came):
        line.read_on()
        await peer.send_all(b"one")
        await until(lambda: came == b"one")
        line.read_on(False)
        await peer.send_all(b"two")
        await trio.sleep(0.05)
        assert came == b"one"
        line.read_on()
        await until(lambda: came == b"onetwo")
        await peer.aclose()
        await until(lambda: line.at_end)


@POLLERS
async def test_line_sends_what_waits_when_its_peer_makes_room(poller: Callable[[], Poller]) -> None:
    async with line_and_peer(poller) as (line, peer, _came):
        assert line.send(LONG)
        assert not line.free
        line.send(b"behind")
        heard = bytearray()
        while len(heard) < len(LONG) + len(b"behind"):
            heard += await peer.receive_some()
        assert heard == LONG + b"behind"
        await line.wait_free()
        assert line.free


@POLLERS
async def test_other_lines_are_served_when_a_line_fails(poller: Callable[[], Poller]) -> None:
    def fail(_data: bytes) -> bool:
        raise KeyError("a defect")

    async with line_and_peer(poller) as (line, peer, came):
        ours, theirs = stdlib_socket.socketpair()
        failing = Switchboard(line._poller).line(trio.socket.from_stdlib_socket(ours))
        failing.on_data = fail
        failing.read_on()
        line.read_on()
        with theirs:
            theirs.send(b"x")
            await until(lambda: failing.closed)
        await peer.send_all(b"still here")
        await until(lambda: came == b"still here")
