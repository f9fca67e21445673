"""The attacks, each for a process of its own: `python -m fuzz.siege_attacks NAME PORT SECRET COUNT SECONDS`.

Plain non-blocking sockets: an attacker must be cheaper than whom it attacks. COUNT connections are kept open and are
replaced when they are closed; what is done on each is a row of bytes and the pauses between them.
"""

import resource
import selectors
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from itertools import repeat
from typing import Final

import attrs

Said = Iterator[tuple[bytes, float]]
"""Pieces, and how long to wait behind each. At its end the connection is left alone until it is closed."""
SPARE_FILES: Final = 200
DIALS_AT_ONCE: Final = 200
MIB: Final = 1024 * 1024
UPGRADE: Final = (
    b"GET /voice HTTP/1.1\r\nHost: voice\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


def _head(secret: str, framing: str) -> bytes:
    return f"POST /tool HTTP/1.1\r\nHost: x\r\nX-Voice-Secret: {secret}\r\n{framing}\r\n\r\n".encode()


def silence(_secret: str) -> Said:
    return iter(())


def slow_heads(_secret: str) -> Said:
    yield b"POST /tool HTTP/1.1\r\nHost: x\r\n", 0.5
    yield from repeat((b"X-A: b\r\n", 0.5))


def slow_handshakes(_secret: str) -> Said:
    yield UPGRADE, 0.5
    yield from repeat((b"X-A: b\r\n", 0.5))


def slow_bodies(secret: str) -> Said:
    yield _head(secret, "Content-Length: 2000000"), 0.5
    yield from repeat((b" ", 0.5))


def endless_bodies(secret: str) -> Said:
    yield _head(secret, "Transfer-Encoding: chunked"), 0.0
    yield from repeat((b"10000\r\n" + b" " * 0x10000 + b"\r\n", 0.0))


def nested_json(secret: str) -> Said:
    """One after the other, on one connection: deep, wide, and as much as is read into objects."""
    deep = b'{"message":{"type":"tool-calls","x":' + b"[" * (2 * MIB - 100)
    wide = b'{"message":{"type":"tool-calls","x":[' + b'{"a":[]},' * 200_000 + b"0]}}"
    objects = b'{"message":{"type":"tool-calls","toolCallList":[' + b"[[]]," * 25_000 + b"0]}}"
    nests = b'{"message":{"type":"tool-calls","toolCallList":[' + b"[" * 900 + b"]" * 900 + b"]}}"
    keys = b'{"message":{"type":"tool-calls","call":{' + b",".join(b'"%d":0' % n for n in range(150_000)) + b"}}}"
    while True:
        for body in (deep, wide, objects, nests, keys):
            yield _head(secret, f"Content-Length: {len(body)}") + body, 0.05


def resets(_secret: str) -> Said:
    """A request, a byte behind it, and gone."""
    yield b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nX", -1.0


ATTACKS: Final[dict[str, Callable[[str], Said]]] = {
    attack.__name__: attack
    for attack in (silence, slow_heads, slow_handshakes, slow_bodies, endless_bodies, nested_json, resets)
}


@attrs.define(eq=False)
class Guest:
    """One connection. Mutable: `rest` of what is being said, and when the next piece is due."""

    socket: socket.socket
    said: Said
    due: float
    rest: bytes = b""
    leaves: bool = False


@attrs.define(eq=False)
class Attack:
    """Mutable: who is connected; `dialled`, how often anybody was."""

    name: str
    port: int
    secret: str
    count: int
    guests: dict[int, Guest] = attrs.field(factory=dict)
    dialled: int = 0
    _watch: selectors.BaseSelector = attrs.field(factory=selectors.DefaultSelector)

    def run(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (now := time.monotonic()) < until:
            for _ in range(min(DIALS_AT_ONCE, self.count - len(self.guests))):
                self._dial(now)
            for key, _ in self._watch.select(0.01):
                self._hear(key.data)
            for guest in [guest for guest in self.guests.values() if guest.due <= now]:
                self._say(guest, now)

    def _dial(self, now: float) -> None:
        made = socket.socket()
        made.setblocking(False)
        made.connect_ex(("127.0.0.1", self.port))
        guest = Guest(made, ATTACKS[self.name](self.secret), now + 0.01)
        self.guests[made.fileno()] = guest
        self._watch.register(made, selectors.EVENT_READ, guest)
        self.dialled += 1

    def _hear(self, guest: Guest) -> None:
        try:
            if guest.socket.recv(65536):
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        self._drop(guest)

    def _drop(self, guest: Guest) -> None:
        self._watch.unregister(guest.socket)
        del self.guests[guest.socket.fileno()]
        guest.socket.close()

    def _say(self, guest: Guest, now: float) -> None:
        if guest.leaves:
            guest.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._drop(guest)
            return
        pause = 0.0
        if not guest.rest:
            guest.rest, pause = next(guest.said, (b"", 3600.0))
            guest.leaves = pause < 0
        guest.due = now + max(pause, 0.0)
        try:
            guest.rest = guest.rest[guest.socket.send(guest.rest) :] if guest.rest else b""
        except BlockingIOError:
            guest.due = now + 0.005
        except OSError:
            self._drop(guest)


def main(name: str, port: str, secret: str, count: str, seconds: str) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = int(count) + SPARE_FILES
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))
    attack = Attack(name, int(port), secret, min(int(count), hard - SPARE_FILES))
    attack.run(float(seconds))
    sys.stdout.write(f"dialled {attack.dialled}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
