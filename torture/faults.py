"""The faults of a plan, made to happen: on the network, in the cloud, the engine, the database, and to the process."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

import trio

from simulation.network import Link, Side, close_with_reset
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


def _half_close(link: Link, _fault: Fault) -> None:
    with suppress(OSError):
        link.client.shutdown(trio.socket.SHUT_WR)


def _corrupt(side_that_sends: Side) -> Callable[[Link, Fault], None]:
    def act(link: Link, fault: Fault) -> None:
        pipe = link.half(side_that_sends).outbound
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
    _reset_all(world, port)
    world.breaking.add(port)
    yield
    world.breaking.discard(port)


def _restarting(world: World, port: int) -> Iterator[None]:
    """Those that are open now break, and nobody answers."""
    _reset_all(world, port)
    yield from _refusing(world, port)


def _reset_all(world: World, port: int) -> None:
    for link in world.network.links_to(port):
        if link.open:
            link.reset()


def _stalling(world: World, port: int) -> Iterator[None]:
    """Those that are open now deliver nothing."""
    held = [link for link in world.network.links_to(port) if link.open]
    for link in held:
        link.cut()
    yield
    for link in held:
        link.deafen("client", 0.0)
        link.deafen("server", 0.0)


async def _vapi_hangs_up(world: World, _fault: Fault) -> None:
    await trio.lowlevel.checkpoint()
    for call in world.cloud.calls:
        call.end("assistant-ended-call", by="assistant")


def _for_a_while(part: str, knob: str, value: Callable[[float], Any], usual: Any, *, times: int = 1) -> Act:
    """A knob of the world's `engine` or `database` stands differently for `times` the fault's seconds."""

    async def happen(world: World, fault: Fault) -> None:
        target = getattr(world, part)
        setattr(target, knob, value(fault.seconds))
        await trio.sleep(fault.seconds * times)
        setattr(target, knob, usual)

    return happen


async def _sigterm(world: World, _fault: Fault) -> None:
    await trio.lowlevel.checkpoint()
    world.terminate()


ACTS: Final[dict[FaultKind, Act]] = {
    "caller resets": _on_caller(lambda link, _: close_with_reset(link.client)),
    "caller leaves without a word": _on_caller(lambda link, _: link.client.close()),
    "caller vanishes": _on_caller(lambda link, _: link.cut()),
    "caller reads nothing": _on_caller(lambda link, _: link.deafen("client")),
    "caller stalls": _on_caller(_stall),
    "caller half-closes": _on_caller(_half_close),
    "vapi resets": _on_vapi(lambda link, _: link.reset()),
    "vapi vanishes": _on_vapi(lambda link, _: link.cut()),
    "vapi reads nothing": _on_vapi(lambda link, _: link.deafen("server")),
    "vapi stalls": _on_vapi(_stall),
    "vapi restarts": _at_port("sockets", _restarting),
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
    "engine fails": _for_a_while("engine", "fail_status", lambda seconds: 503 if seconds > 1.0 else 400, None),
    "engine is slow": _for_a_while("engine", "delay_seconds", lambda seconds: seconds, 0.0),
    "engine resets": _at_port("engine", _resetting),
    "database is away": _for_a_while("database", "away", lambda _: True, False),
    "database is slow": _for_a_while("database", "seconds", lambda seconds: seconds, 0.0, times=2),
    "database breaks": _for_a_while("database", "breaks", lambda _: True, False),
    "sigterm": _sigterm,
    "second sigterm": _sigterm,
}
