"""Processes that share the callers' port: who leaves it turns nobody away."""

import socket
from collections.abc import Iterator
from contextlib import AsyncExitStack

import pytest
import trio

from runtime.errors import StartError
from runtime.guests import SharedListener
from runtime.listeners import bound, close_all, listen
from runtime.setting_values import Bind
from simulation.background import open_background
from tests.wire.machines import Machine, cable_or_skip

GUESTS = 300


async def test_port_is_shared_by_those_who_ask_for_it_and_closed_to_others() -> None:
    async with AsyncExitStack() as stack:
        first = await listen("PORT", Bind("127.0.0.1", 0), shared=True)
        stack.push_async_callback(close_all, first)
        at = bound(Bind("127.0.0.1", 0), first)
        stack.push_async_callback(close_all, await listen("PORT", at, shared=True))
        with pytest.raises(StartError, match="it is taken by another program"):
            await listen("PORT", at)


@pytest.fixture
def machine() -> Iterator[Machine]:
    """Whose kernel hands half-made connections of who leaves a port to the others, as docs/fleet.md says to set it."""
    with cable_or_skip() as cable:
        try:
            cable.near.set_kernel("ipv4.tcp_migrate_req", "1")
        except OSError as exc:
            pytest.skip(f"the kernel knows no tcp_migrate_req (Linux 5.14): {exc.strerror}")
        yield cable.near


async def test_nobody_is_turned_away_when_one_of_two_leaves_the_port(machine: Machine) -> None:
    trio.socket.set_custom_socket_factory(machine)
    served: dict[str, int] = {"stays": 0, "leaves": 0}

    async def serve(name: str, listener: SharedListener) -> None:
        while True:
            stream = await listener.accept()
            served[name] += 1
            await stream.send_all(name.encode())
            await stream.aclose()

    async def visit(guest: int, at: Bind) -> None:
        await trio.sleep(guest * 0.001)
        async with await trio.open_tcp_stream(at.host, at.port) as stream:
            assert await stream.receive_some()

    async with AsyncExitStack() as stack, open_background() as servers:
        listeners = {}
        at = Bind("127.0.0.1", 0)
        for name in served:
            (inner,) = await listen("PORT", at, shared=True)
            stack.push_async_callback(trio.aclose_forcefully, inner)
            at = bound(at, [inner])
            listeners[name] = SharedListener(inner)
            servers.start_soon(serve, name, listeners[name])
        with trio.fail_after(20):
            async with trio.open_nursery() as guests:
                for guest in range(GUESTS):
                    guests.start_soon(visit, guest, at)
                await trio.sleep(GUESTS * 0.001 / 2)
                await listeners["leaves"].leave()
                before = served["leaves"]
    assert served["stays"] + served["leaves"] == GUESTS
    assert served["leaves"] == before > 0


async def test_who_has_connected_is_accepted_before_the_port_is_left() -> None:
    (inner,) = await listen("PORT", Bind("127.0.0.1", 0), shared=True)
    listener, at = SharedListener(inner), bound(Bind("127.0.0.1", 0), [inner])
    guests = [socket.create_connection((at.host, at.port)) for _ in range(20)]  # wait in the kernel
    accepted: list[trio.SocketStream] = []

    async def accept() -> None:
        while True:
            accepted.append(await listener.accept())

    try:
        async with open_background() as nursery:
            nursery.start_soon(accept)
            await listener.leave()
            assert len(accepted) == len(guests)
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection((at.host, at.port))
    finally:
        for guest in guests:
            guest.close()
        for stream in accepted:
            await stream.aclose()
