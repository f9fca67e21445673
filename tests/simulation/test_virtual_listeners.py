"""The checks of both networks that are about listening, dialling and names, and Trio's own helpers on top."""

import errno
import socket as stdlib
import ssl
from functools import partial

import pytest
import trio
import trustme
from networks import Run, connected, echo, in_a_while, on_both_networks, settle

from simulation.network import port_of

pytestmark = on_both_networks


def test_connect_is_refused_when_nobody_listens(run: Run) -> None:
    async def check() -> None:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = port_of([listener])
        await listener.aclose()
        with pytest.raises(OSError, match="failed") as caught:
            await trio.open_tcp_stream("127.0.0.1", port)
        assert isinstance(caught.value.__cause__, ExceptionGroup)
        assert caught.value.__cause__.exceptions[0].errno == errno.ECONNREFUSED  # type: ignore[attr-defined]

    run(check)


def test_port_is_taken_when_somebody_listens_on_it(run: Run) -> None:
    async def check() -> None:
        (one,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        (other,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = port_of([one])
        async with one, other:
            assert port != port_of([other])
            with pytest.raises(OSError, match="in use") as caught:
                await trio.open_tcp_listeners(port, host="127.0.0.1")
            assert caught.value.errno == errno.EADDRINUSE
        (again,) = await trio.open_tcp_listeners(port, host="127.0.0.1")
        await again.aclose()

    run(check)


def test_accepting_task_is_told_when_the_listener_closes(run: Run) -> None:
    async def check() -> None:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(in_a_while, listener.aclose)
            with pytest.raises(trio.ClosedResourceError):
                await listener.accept()

    run(check)


def test_client_is_reset_when_the_listener_closes_before_it_accepts(run: Run) -> None:
    async def check() -> None:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        async with await trio.open_tcp_stream("127.0.0.1", port_of([listener])) as client:
            await listener.aclose()
            with pytest.raises(trio.BrokenResourceError):
                await client.receive_some()

    run(check)


def test_client_waits_when_the_backlog_is_full(run: Run) -> None:
    async def check() -> None:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1", backlog=1)
        served = []

        async def dial() -> None:
            async with await trio.open_tcp_stream("127.0.0.1", port_of([listener])) as client:
                served.append(await client.receive_some())

        async with listener, trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(dial)
            await settle()
            for _ in range(4):
                async with await listener.accept() as server:
                    await server.send_all(b"welcome")
        assert served == [b"welcome"] * 4

    run(check)


def test_names_agree_on_both_sides(run: Run) -> None:
    async def check() -> None:
        async with connected() as pair:
            client, server = pair.client.socket, pair.server.socket
            assert client.getsockname() == server.getpeername()
            assert client.getpeername() == server.getsockname() == pair.listener.socket.getsockname()
            assert (client.family, client.type) == (stdlib.AF_INET, stdlib.SOCK_STREAM)
            with pytest.raises(OSError, match="not connected"):
                pair.listener.socket.getpeername()

    run(check)


@pytest.fixture(scope="module")
def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's and a client's. RSA: signatures of other keys vary in length, and so would the traces."""
    ca = trustme.CA(key_type=trustme.KeyType.RSA)
    server, client = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    ca.issue_cert("bank.example", key_type=trustme.KeyType.RSA).configure_cert(server)
    ca.configure_trust(client)
    return server, client


def test_server_serves_many_at_once_with_and_without_tls(
    run: Run, contexts: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    async def check() -> None:
        (plain,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        (inner,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        secured = trio.SSLListener(inner, contexts[0], https_compatible=True)
        sent = bytes(range(256)) * 2048

        async def ask(port: int, *, tls: bool) -> None:
            stream: trio.abc.Stream = await trio.open_tcp_stream("127.0.0.1", port)
            if tls:
                stream = trio.SSLStream(stream, contexts[1], server_hostname="bank.example", https_compatible=True)
            async with stream, trio.open_nursery() as asking:
                asking.start_soon(stream.send_all, sent)
                got = bytearray()
                while len(got) < len(sent):
                    got += await stream.receive_some()
            assert got == sent

        async with trio.open_nursery() as nursery:
            await nursery.start(partial(trio.serve_listeners, echo, [plain, secured]))
            async with trio.open_nursery() as clients:
                for _ in range(5):
                    clients.start_soon(partial(ask, port_of([plain]), tls=False))
                    clients.start_soon(partial(ask, port_of([inner]), tls=True))
            nursery.cancel_scope.cancel()

    run(check)
