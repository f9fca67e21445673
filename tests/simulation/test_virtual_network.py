"""One set of checks for the host's TCP and for the network in memory: what runs on them cannot tell which it is."""

import errno
import socket as stdlib
from collections.abc import Awaitable, Callable
from functools import partial

import pytest
import trio
from networks import MEBIBYTE, Run, connected, echo, in_a_while, on_both_networks, read_to_the_end, reset, settle

pytestmark = on_both_networks


def test_bytes_arrive_in_order_when_both_sides_send(run: Run) -> None:
    async def check() -> None:
        sent = b"".join(b"%d " % number for number in range(1000))
        async with connected() as pair, trio.open_nursery() as nursery:
            nursery.start_soon(echo, pair.server)
            for position in range(0, len(sent), 100):
                await pair.client.send_all(sent[position : position + 100])
            await pair.client.send_eof()
            assert await read_to_the_end(pair.client) == sent

    run(check)


def test_sender_waits_when_the_reader_does_not_read(run: Run) -> None:
    async def check() -> None:
        sent = bytes(range(256)) * (16 * MEBIBYTE // 256)
        done = trio.Event()

        async def send(stream: trio.SocketStream) -> None:
            await stream.send_all(sent)
            done.set()
            await stream.send_eof()

        async with connected() as pair, trio.open_nursery() as nursery:
            pair.client.setsockopt(stdlib.SOL_SOCKET, stdlib.SO_SNDBUF, 64 * 1024)
            nursery.start_soon(send, pair.client)
            await settle()
            assert not done.is_set()
            assert await read_to_the_end(pair.server) == sent
            assert done.is_set()

    run(check)


def test_reader_reads_on_when_it_has_sent_its_own_end(run: Run) -> None:
    async def check() -> None:
        async with connected() as pair:
            await pair.client.send_all(b"question")
            await pair.client.send_eof()
            await pair.client.send_eof()
            assert await read_to_the_end(pair.server) == b"question"
            assert await pair.server.receive_some() == b""
            await pair.server.send_all(b"answer")
            with pytest.raises(trio.ClosedResourceError):
                await pair.client.send_all(b"more")
            await pair.server.aclose()
            assert await read_to_the_end(pair.client) == b"answer"

    run(check)


def test_reader_is_woken_by_an_end(run: Run) -> None:
    async def check() -> None:
        async with connected() as pair, trio.open_nursery() as nursery:
            nursery.start_soon(pair.client.aclose)
            assert await pair.server.receive_some() == b""
            assert await pair.server.receive_some() == b""

    run(check)


@pytest.mark.parametrize("asked_for", [True, False], ids=["lingering for 0 s", "with something unread"])
def test_peer_is_told_of_a_reset_once_and_of_an_end_after_that(run: Run, asked_for: bool) -> None:
    async def check() -> None:
        async with connected() as pair:
            await pair.client.send_all(b"last words")
            if not asked_for:
                await pair.server.send_all(b"unread")
                await settle()
                await pair.client.aclose()
            else:
                await reset(pair.client)
            await settle()
            with pytest.raises(OSError, match="not connected"):
                pair.server.socket.getpeername()
            assert await pair.server.receive_some() == b"last words"
            with pytest.raises(trio.BrokenResourceError) as caught:
                await pair.server.receive_some()
            assert isinstance(caught.value.__cause__, OSError)
            assert caught.value.__cause__.errno == errno.ECONNRESET
            assert await pair.server.receive_some() == b""
            with pytest.raises(trio.BrokenResourceError, match="Broken pipe"):
                await pair.server.send_all(b"x")
            with pytest.raises(trio.BrokenResourceError, match="not connected"):
                await pair.server.send_eof()

    run(check)


def test_sender_is_told_of_a_reset_once_and_of_a_broken_pipe_after_that(run: Run) -> None:
    async def check() -> None:
        async with connected() as pair:
            await reset(pair.client)
            await settle()
            for says in ("reset by peer", "Broken pipe", "Broken pipe"):
                with pytest.raises(trio.BrokenResourceError, match=says):
                    await pair.server.send_all(b"x")
            assert await pair.server.receive_some() == b""

    run(check)


@pytest.mark.parametrize("waits_in", ["send_all", "receive_some"])
def test_waiting_task_is_woken_when_the_peer_resets(run: Run, waits_in: str) -> None:
    async def check() -> None:
        async with connected() as pair, trio.open_nursery() as nursery:
            nursery.start_soon(in_a_while, partial(reset, pair.client))
            with pytest.raises(trio.BrokenResourceError):
                await wait_in(pair.server, waits_in)

    run(check)


async def wait_in(stream: trio.SocketStream, method: str) -> None:
    await (stream.receive_some() if method == "receive_some" else stream.send_all(bytes(64 * MEBIBYTE)))


def test_sending_to_a_closed_peer_fails_after_a_while(run: Run) -> None:
    async def check() -> None:
        async with connected() as pair:
            await pair.client.aclose()
            await settle()
            await pair.server.send_all(b"it does not know yet")
            await settle()
            with pytest.raises(trio.BrokenResourceError, match="Broken pipe"):
                await pair.server.send_all(b"x")
            assert await pair.server.receive_some() == b""

    run(check)


@pytest.mark.parametrize("waits_in", ["send_all", "receive_some"])
def test_waiting_task_is_told_when_its_own_side_closes(run: Run, waits_in: str) -> None:
    async def check() -> None:
        async with connected() as pair, trio.open_nursery() as nursery:
            nursery.start_soon(in_a_while, pair.server.aclose)
            with pytest.raises(trio.ClosedResourceError):
                await wait_in(pair.server, waits_in)

    run(check)


def test_nothing_works_when_its_own_side_is_closed(run: Run) -> None:
    async def check() -> None:
        async with connected() as pair:
            await pair.client.aclose()
            await pair.client.aclose()
            assert pair.client.socket.fileno() == -1
            uses: list[Callable[[], Awaitable[object]]] = [
                pair.client.receive_some,
                partial(pair.client.send_all, b"x"),
                partial(pair.client.send_all, b""),
                pair.client.send_eof,
                pair.client.wait_send_all_might_not_block,
            ]
            for use in uses:
                with pytest.raises(trio.ClosedResourceError):
                    await use()
            for ask in (pair.client.socket.getpeername, pair.client.socket.getsockname):
                with pytest.raises(OSError, match="Bad file descriptor"):
                    ask()
            await pair.listener.aclose()
            with pytest.raises(trio.ClosedResourceError):
                await pair.listener.accept()

    run(check)


def test_empty_send_returns_at_once_and_readable_means_readable(run: Run) -> None:
    async def check() -> None:
        async with connected() as pair:
            assert await pair.client.socket.send(b"") == 0
            assert not pair.server.socket.is_readable()
            await pair.client.send_all(b"x")
            await settle()
            assert pair.server.socket.is_readable()
            assert await pair.server.receive_some() == b"x"
            assert not pair.server.socket.is_readable()
            await pair.client.send_eof()
            await settle()
            assert pair.server.socket.is_readable()

    run(check)
