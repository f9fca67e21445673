"""The addresses that `voice serve` would listen on: free, or taken, and by whom where that can be told."""

import errno
import os
import socket
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import trio

from runtime.doctor.finding import Finding, one_line
from runtime.listeners import shared_sockets
from runtime.setting_values import Bind
from runtime.settings import Reading, Settings

ANSWER_SECONDS: Final = 2.0  # for somebody on this machine to answer GET /healthz
ANSWER_BYTES: Final = 4_096
WILDCARDS: Final = ("0.0.0.0", "::")
HANDED_ON: Final = Path("/proc/sys/net/ipv4/tcp_migrate_req")  # Linux 5.14: half-made connections of who leaves a port


async def look_at_voice_door(reading: Reading) -> Sequence[Finding]:
    settings = reading.settings
    found = [await _door("voice door", "PORT", _voice(settings), settings)]
    if settings.voice_port_shared and not _hands_on():
        line = "VOICE_PORT_SHARED=on: this kernel resets callers who connect in the moment that a pod leaves the port"
        advice = "as root: sysctl -w net.ipv4.tcp_migrate_req=1 (Linux 5.14)"
        found.append(Finding("warning", "voice door", line, advice))
    return found


def _hands_on() -> bool:
    try:
        return HANDED_ON.read_text().strip() == "1"
    except OSError:
        return False


async def look_at_webhook_door(reading: Reading) -> Sequence[Finding]:
    return [await _door("webhook door", "WEBHOOK_BIND", reading.settings.webhook_bind, reading.settings)]


async def look_at_console_door(reading: Reading) -> Sequence[Finding]:
    if reading.settings.console_bind is None:
        return [Finding("ok", "console door", "none (CONSOLE_BIND=none)")]
    return [await _door("console door", "CONSOLE_BIND", reading.settings.console_bind, reading.settings)]


def _voice(settings: Settings) -> Bind:
    return Bind(settings.voice_host, settings.port)


async def _door(name: str, setting: str, bind: Bind, settings: Settings) -> Finding:
    others = {"PORT": _voice(settings), "WEBHOOK_BIND": settings.webhook_bind, "CONSOLE_BIND": settings.console_bind}
    for other, theirs in others.items():
        if other == setting:
            break
        if theirs is not None and _same(bind, theirs):
            return Finding("wrong", name, f"{setting}: {bind} is {other}'s address too", f"set {setting} to another")
    shared = setting == "PORT" and settings.voice_port_shared
    finding = (
        _unix_door(name, setting, bind.unix_path) if bind.unix_path else await _tcp_door(name, setting, bind, shared)
    )
    return finding or await _taken(name, setting, bind, settings)


def _same(one: Bind, other: Bind) -> bool:
    if one.unix_path or other.unix_path:
        return one.unix_path == other.unix_path
    hosts = {one.host, other.host}
    v4_alone = "0.0.0.0" in hosts and any(":" in host for host in hosts)  # it covers no address of IPv6
    same_host = len(hosts) == 1 or (not v4_alone and not hosts.isdisjoint(WILDCARDS))
    return same_host and one.port == other.port != 0


async def _tcp_door(name: str, setting: str, bind: Bind, shared: bool) -> Finding | None:
    """None: it is taken. A `shared` one is free for who shares it."""
    try:
        if shared:
            for sock in await shared_sockets(bind):
                sock.close()
        else:
            for listener in await trio.open_tcp_listeners(bind.port, host=bind.host):
                await trio.aclose_forcefully(listener)
    except socket.gaierror as exc:
        line = f"{setting}: the name {bind.host!r} is not known: {one_line(exc.strerror)}"
        return Finding("wrong", name, line, "use an address of this machine; 127.0.0.1, or 0.0.0.0 for all")
    except OSError as exc:
        if exc.errno == errno.EADDRINUSE:
            return None
        line, advice = f"{setting}: cannot listen on {bind}: {one_line(exc.strerror)}", f"set {setting} to another"
        if exc.errno == errno.EACCES:
            advice = "ports below 1024 are root's: choose one above, or give the program CAP_NET_BIND_SERVICE"
        elif exc.errno == errno.EADDRNOTAVAIL:
            advice = "it is no address of this machine: use 127.0.0.1, or 0.0.0.0 for all"
        return Finding("wrong", name, line, advice)
    free = "is free, or shared by pods" if shared else "is free"
    return Finding("ok", name, f"{bind} {free}" if bind.port else f"{bind}: a free port is picked at the start")


def _unix_door(name: str, setting: str, path: str) -> Finding | None:
    """None: somebody listens there. What is there stays as it is."""
    folder = Path(path).parent
    if not os.access(folder, os.W_OK | os.X_OK):
        line = f"{setting}: no socket can be made in {folder}, which is not there or not to be written to"
        return Finding("wrong", name, line, f"make the folder for this user, or set {setting}")
    try:
        is_socket = stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError:
        return Finding("ok", name, f"unix:{path} is free")
    if not is_socket:
        return Finding("wrong", name, f"{setting}: {path} is there, and is no socket", f"move it, or set {setting}")
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        if probe.connect_ex(path) in (0, errno.EAGAIN, errno.EINPROGRESS):
            return None
    return Finding("ok", name, f"unix:{path} is free: what an earlier process left there is replaced")


async def _taken(name: str, setting: str, bind: Bind, settings: Settings) -> Finding:
    advice = f"if it is the one you mean, nothing; to start another, stop it or set {setting}"
    if await is_voice_serve(settings.webhook_bind):
        if setting == "WEBHOOK_BIND":
            return Finding("warning", name, f"{bind} is taken by a `voice serve`: it answers /healthz", advice)
        line = f"{bind} is taken, probably by the `voice serve` that answers /healthz at {settings.webhook_bind}"
        return Finding("warning", name, line, advice)
    where = f"`ss -ltnp 'sport = :{bind.port}'` shows it" if not bind.unix_path else f"`ss -lxp` shows it ({bind})"
    line = f"{setting}: {bind} is taken by another program, not by a `voice serve` that answers"
    return Finding("wrong", name, line, f"{where}: stop it, or set {setting}")


async def is_voice_serve(webhook: Bind) -> bool:
    """Whether a process like this one answers there."""
    request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    said = b""
    try:
        with trio.fail_after(ANSWER_SECONDS):
            async with await _connected(webhook.seen_from_here) as stream:
                await stream.send_all(request)
                while len(said) < ANSWER_BYTES and (piece := await stream.receive_some(ANSWER_BYTES)):
                    said += piece
    except (OSError, trio.TooSlowError, trio.BrokenResourceError):
        pass
    head, _, body = said.partition(b"\r\n\r\n")
    return head.startswith(b"HTTP/1.1 200") and b'"nonce"' in body


async def _connected(bind: Bind) -> trio.SocketStream:
    if bind.unix_path:
        return await trio.open_unix_socket(bind.unix_path)
    return await trio.open_tcp_stream(bind.host, bind.port)
