"""Those who should not have come: what the open internet sends to a port. Each leaves by itself in a few seconds."""

import struct
from collections.abc import Sequence
from typing import Final

import trio

from torture.plan import Guest, GuestKind
from torture.world import World

STAY_SECONDS = 7.0
KEY = "dGhlIHNhbXBsZSBub25jZQ=="


def _upgrade(path: str = "/voice") -> bytes:
    return (
        f"GET {path} HTTP/1.1\r\nHost: voice\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    ).encode()


def _frame(first: int, payload: bytes) -> bytes:
    """A client's frame, masked with zeros."""
    if len(payload) < 126:
        head = bytes([first, 0x80 | len(payload)])
    elif len(payload) < 65_536:
        head = bytes([first, 0x80 | 126]) + struct.pack("!H", len(payload))
    else:
        head = bytes([first, 0x80 | 127]) + struct.pack("!Q", len(payload))
    return head + bytes(4) + payload


def _post(path: str, body: bytes, headers: str = "") -> bytes:
    return (
        f"POST {path} HTTP/1.1\r\nHost: tools\r\nContent-Type: application/json\r\n{headers}"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body


VOICE: Final[dict[GuestKind, Sequence[bytes]]] = {
    "says nothing": (),
    "speaks HTTP": (b"GET / HTTP/1.1\r\nHost: voice\r\n\r\n",),
    "sends garbage": (bytes(range(256)) * 4,),
    "leaves in the handshake": (_upgrade()[:60],),
    "sends text in binary mode": (_upgrade(), _frame(0x81, b"hello")),
    "sends half a sample": (_upgrade(), _frame(0x82, b"odd")),
    "sends a huge frame": (_upgrade(), _frame(0x82, bytes(200_000))),
    "sends a reserved bit": (_upgrade(), _frame(0xC2, bytes(960))),
}
WEBHOOK: Final[dict[GuestKind, Sequence[bytes]]] = {
    "sends bytes behind its upgrade": (_upgrade("/tool") + b"!",),
    "posts without a secret": (_post("/tool", b"{}"),),
    "sends the rest behind its answer": (
        b"POST /tool HTTP/1.1\r\nHost: tools\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"0\r\n\r\nX",
    ),
    "posts garbage": (_post("/p/torture/tool", b"\xff\x00{", "X-Voice-Secret: 00.00\r\n"),),
}


async def visit(world: World, guest: Guest) -> None:
    """Connect, send what this kind of guest sends, read until the door is shut or patience ends, leave."""
    await trio.sleep_until(guest.at)
    world.chronicle.add("-", "guest", guest.kind)
    port, lines = world.voice_port, VOICE.get(guest.kind)
    if lines is None:
        port, lines = world.webhook_port, WEBHOOK[guest.kind]
    heard = bytearray()
    with trio.move_on_after(STAY_SECONDS):
        try:
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                for line in lines:
                    await stream.send_all(line)
                    await trio.sleep(0.2)
                if guest.kind == "leaves in the handshake":
                    return
                while data := await stream.receive_some():
                    heard += data
        except (OSError, trio.BrokenResourceError):
            pass  # the door was shut in its face
    world.chronicle.add("-", "guest", "has left", kind=guest.kind, heard_bytes=len(heard))
