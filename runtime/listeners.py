"""The addresses that the doors listen on: had, or told in one line why not."""

import errno
import os
import socket as stdlib_socket
import stat
import sys
from contextlib import AsyncExitStack, suppress

import attrs
import trio

from runtime import limits
from runtime.errors import StartError
from runtime.setting_values import Bind
from runtime.settings import Settings


async def listen(setting: str, bind: Bind, *, shared: bool = False) -> list[trio.SocketListener]:
    """`shared`: with all processes of this user that listen there so; the kernel spreads connections over them.

    Raises StartError in one line when the address cannot be had.
    """
    if shared and sys.platform != "linux":
        raise StartError("VOICE_PORT_SHARED=on: only Linux spreads callers over processes; leave it off")
    try:
        if bind.unix_path is not None:
            return [trio.SocketListener(_unix_socket(bind.unix_path))]
        if shared:
            return [_listening(sock) for sock in await shared_sockets(bind)]
        return await trio.open_tcp_listeners(bind.port, host=bind.host)
    except OSError as exc:
        if exc.errno == errno.EADDRINUSE:
            why = "it is taken by another program, perhaps a `voice serve`; stop that one or choose another"
        else:
            why = exc.strerror or str(exc)
        raise StartError(f"{setting}: cannot listen on {bind}: {why}") from exc


async def shared_sockets(bind: Bind) -> list[trio.socket.SocketType]:
    """Bound to each address of the host, not listening: nobody comes to them, and nobody else gets the port."""
    found: list[trio.socket.SocketType] = []
    addresses = await trio.socket.getaddrinfo(
        bind.host, bind.port, type=trio.socket.SOCK_STREAM, flags=trio.socket.AI_PASSIVE
    )
    try:
        for family, kind, protocol, _, address in addresses:
            found.append(trio.socket.socket(family, kind, protocol))
            found[-1].setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_REUSEADDR, 1)
            found[-1].setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_REUSEPORT, 1)
            if family == trio.socket.AF_INET6:
                found[-1].setsockopt(trio.socket.IPPROTO_IPV6, trio.socket.IPV6_V6ONLY, 1)
            await found[-1].bind(address)
    except OSError:
        for sock in found:
            sock.close()
        raise
    return found


def _listening(sock: trio.socket.SocketType) -> trio.SocketListener:
    sock.listen(limits.VOICE_BACKLOG_CONNECTIONS)
    return trio.SocketListener(sock)


def _unix_socket(path: str) -> trio.socket.SocketType:
    with suppress(FileNotFoundError):
        if stat.S_ISSOCK(os.stat(path).st_mode) and not _answers(path):
            os.unlink(path)  # left behind by an earlier process
    sock = stdlib_socket.socket(stdlib_socket.AF_UNIX, stdlib_socket.SOCK_STREAM)
    try:
        sock.bind(path)
        os.chmod(path, 0o660)  # a gateway is of the socket's group: nobody else has business here
        sock.listen(128)
    except OSError:
        sock.close()
        raise
    return trio.socket.from_stdlib_socket(sock)


def _answers(path: str) -> bool:
    with stdlib_socket.socket(stdlib_socket.AF_UNIX) as probe:
        probe.setblocking(False)  # its backlog may be full
        return probe.connect_ex(path) in (0, errno.EAGAIN, errno.EINPROGRESS)


def bound(bind: Bind, listeners: list[trio.SocketListener]) -> Bind:
    """The address with the port that was picked, if one was."""
    return bind if bind.unix_path else attrs.evolve(bind, port=int(listeners[0].socket.getsockname()[1]))


@attrs.frozen
class Listeners:
    """Of the three doors; the console's are none where it has no door."""

    voice: list[trio.SocketListener]
    webhook: list[trio.SocketListener]
    console: list[trio.SocketListener]


async def listen_on_all(settings: Settings, stack: AsyncExitStack) -> Listeners:
    """`stack` closes them."""

    async def opened(setting: str, bind: Bind | None, shared: bool = False) -> list[trio.SocketListener]:
        listeners = [] if bind is None else await listen(setting, bind, shared=shared)
        stack.push_async_callback(close_all, listeners)
        return listeners

    return Listeners(
        voice=await opened("PORT", Bind(settings.voice_host, settings.port), settings.voice_port_shared),
        webhook=await opened("WEBHOOK_BIND", settings.webhook_bind),
        console=await opened("CONSOLE_BIND", settings.console_bind),
    )


async def close_all(listeners: list[trio.SocketListener]) -> None:
    for listener in listeners:
        await trio.aclose_forcefully(listener)
