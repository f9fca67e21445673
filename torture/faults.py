"""The faults of a plan, made to happen: on the network, in the cloud, the engine, the database, and to the process."""

import struct
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

import trio

from simulation.network import Link, Side
from torture.guests import visit
from torture.plan import Fault, FaultKind
from torture.world import Struck, World

Act = Callable[[World, Fault], Awaitable[None]]
SIDES: Final[tuple[Side, ...]] = ("client", "server")


async def misfortunes(world: World) -> None:
    """All faults and guests of the plan, each at its time."""
    async with trio.open_nursery() as nursery:
        for fault in world.plan.faults:
            nursery.start_soon(_happen, world, fault)
        for guest in world.plan.guests:
            nursery.start_soon(visit, world, guest)


async def _happen(world: World, fault: Fault) -> None:
    await trio.sleep_until(fault.at)
    world.chronicle.add("-", "network", fault.kind, call=fault.call, seconds=round(fault.seconds, 2))
    await ACTS[fault.kind](world, fault)


def _on_caller(act: Callable[[Link, Fault], None]) -> Act:
    """Befalls the connection between one caller and the product."""

    async def happen(world: World, fault: Fault) -> None:
        await trio.lowlevel.checkpoint()
        link = world.link_of(fault.call)
        if link is not None and not link.client.closed:
            world.struck.append(Struck(trio.current_time(), fault.kind, fault.call))
            act(link, fault)

    return happen


def _on_vapi(act: Callable[[Link, Fault], None]) -> Act:
    """Befalls the newest connection between the product and Vapi's call sockets."""

    async def happen(world: World, fault: Fault) -> None:
        await trio.lowlevel.checkpoint()
        links = world.network.links_to(world.cloud.transport_port)
        if links and not links[-1].client.closed:
            if len(world.calls) == len(links) == 1:
                world.struck.append(Struck(trio.current_time(), fault.kind, 0))
            act(links[-1], fault)

    return happen


def _stall(link: Link, fault: Fault) -> None:
    """A line that is dead already stays so."""
    for side in SIDES:
        if link.half(side).inbound.held_until < trio.current_time() + fault.seconds:
            link.deafen(side, fault.seconds)


def _reset_by_caller(link: Link, _fault: Fault) -> None:
    link.client.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, struct.pack("ii", 1, 0))
    link.client.close()


def _half_close(link: Link, _fault: Fault) -> None:
    with suppress(OSError):
        link.client.shutdown(trio.socket.SHUT_WR)


def _corrupt(side_that_sends: str) -> Callable[[Link, Fault], None]:
    def act(link: Link, fault: Fault) -> None:
        pipe = link.half("client" if side_that_sends == "client" else "server").outbound
        pipe.corrupt_at = pipe.sent_bytes + int(fault.seconds * 1000)

    return act


def _at_port(which: str, change: Callable[[World, int], "Iterator[None]"]) -> Act:
    """Befalls the connections to one server for `seconds`."""

    async def happen(world: World, fault: Fault) -> None:
        ports = {
            "rest": world.cloud.port,
            "sockets": world.cloud.transport_port,
            "webhooks": world.webhook_port,
            "engine": world.engine.port,
        }
        with contextmanager(change)(world, ports[which]):
            await trio.sleep(fault.seconds)

    return happen


def _refusing(world: World, port: int) -> Iterator[None]:
    world.network.refused.add(port)
    yield
    world.network.refused.discard(port)


def _silent(world: World, port: int) -> Iterator[None]:
    world.network.silent.add(port)
    yield
    world.network.silent.discard(port)


def _resetting(world: World, port: int) -> Iterator[None]:
    """Those that are open now break; so does each that is made, when a request may be under way."""
    for link in world.network.links_to(port):
        if link.open:
            link.reset()
    world.breaking.add(port)
    yield
    world.breaking.discard(port)


def _stalling(world: World, port: int) -> Iterator[None]:
    """Those that are open now deliver nothing."""
    held = [link for link in world.network.links_to(port) if link.open]
    for link in held:
        link.cut()
    yield
    for link in held:
        link.deafen("client", 0.0)
        link.deafen("server", 0.0)


async def _vapi_restarts(world: World, fault: Fault) -> None:
    """Everything at Vapi's socket host breaks, and nobody answers there for a while."""
    for link in world.network.links_to(world.cloud.transport_port):
        if link.open:
            link.reset()
    world.network.refused.add(world.cloud.transport_port)
    await trio.sleep(fault.seconds)
    world.network.refused.discard(world.cloud.transport_port)


async def _vapi_hangs_up(world: World, _fault: Fault) -> None:
    await trio.lowlevel.checkpoint()
    for call in world.cloud.calls:
        call.end("assistant-ended-call", by="assistant")


async def _engine_fails(world: World, fault: Fault) -> None:
    world.engine.fail_status = 503 if fault.seconds > 1.0 else 400
    await trio.sleep(fault.seconds)
    world.engine.fail_status = None


async def _engine_is_slow(world: World, fault: Fault) -> None:
    world.engine.delay_seconds = fault.seconds
    await trio.sleep(fault.seconds)
    world.engine.delay_seconds = 0.0


async def _database_is_away(world: World, fault: Fault) -> None:
    world.database.away = True
    await trio.sleep(fault.seconds)
    world.database.away = False


async def _database_is_slow(world: World, fault: Fault) -> None:
    world.database.seconds = fault.seconds
    await trio.sleep(fault.seconds * 2)
    world.database.seconds = 0.0


async def _database_breaks(world: World, fault: Fault) -> None:
    world.database.breaks = True
    await trio.sleep(fault.seconds)
    world.database.breaks = False


async def _sigterm(world: World, _fault: Fault) -> None:
    await trio.lowlevel.checkpoint()
    world.terminate()


ACTS: Final[dict[FaultKind, Act]] = {
    "caller resets": _on_caller(_reset_by_caller),
    "caller leaves without a word": _on_caller(lambda link, _: link.client.close()),
    "caller vanishes": _on_caller(lambda link, _: link.cut()),
    "caller reads nothing": _on_caller(lambda link, _: link.deafen("client")),
    "caller stalls": _on_caller(_stall),
    "caller half-closes": _on_caller(_half_close),
    "vapi resets": _on_vapi(lambda link, _: link.reset()),
    "vapi vanishes": _on_vapi(lambda link, _: link.cut()),
    "vapi reads nothing": _on_vapi(lambda link, _: link.deafen("server")),
    "vapi stalls": _on_vapi(_stall),
    "vapi restarts": _vapi_restarts,
    "vapi hangs up": _vapi_hangs_up,
    "caller's bytes are corrupted": _on_caller(_corrupt("client")),
    "vapi's bytes are corrupted": _on_vapi(_corrupt("server")),
    "rest refuses": _at_port("rest", _refusing),
    "rest is silent": _at_port("rest", _silent),
    "rest resets": _at_port("rest", _resetting),
    "sockets refuse": _at_port("sockets", _refusing),
    "sockets are silent": _at_port("sockets", _silent),
    "webhooks reset": _at_port("webhooks", _resetting),
    "webhooks stall": _at_port("webhooks", _stalling),
    "engine refuses": _at_port("engine", _refusing),
    "engine fails": _engine_fails,
    "engine is slow": _engine_is_slow,
    "engine resets": _at_port("engine", _resetting),
    "database is away": _database_is_away,
    "database is slow": _database_is_slow,
    "database breaks": _database_breaks,
    "sigterm": _sigterm,
    "second sigterm": _sigterm,
}
