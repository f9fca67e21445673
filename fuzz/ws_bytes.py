"""WebSocket bytes in either direction: handshakes and frames, sound ones with odd ones among them."""

import base64
import hashlib
import random
from itertools import pairwise
from typing import Final

from fuzz.http_bytes import mutated
from fuzz.json_text import deep, encoded, odd, twisted

KEY: Final = b"dGhlIHNhbXBsZSBub25jZQ=="
GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
TEXT, BINARY, CLOSE, PING, PONG = 0x81, 0x82, 0x88, 0x89, 0x8A
ODD_FIRSTS: Final = (0xC2, 0xA1, 0x99, 0xF1, 0x83, 0x87, 0x8B, 0x8F, 0x03, 0x08, 0x09, 0x0A, 0x00, 0x80, 0x01, 0x02)
CODES: Final = (
    0,
    999,
    1000,
    1001,
    1002,
    1004,
    1005,
    1006,
    1007,
    1011,
    1013,
    1015,
    1016,
    2999,
    3000,
    4999,
    5000,
    65_535,
)
NOT_UTF8: Final = (b"\xff", b"caf\xc3", b"\xed\xa0\x80", b"\xc0\xaf", b"x" * 100 + b"\x80")
SIZES: Final = (
    0,
    1,
    2,
    3,
    125,
    126,
    127,
    959,
    960,
    961,
    1_920,
    9_600,
    65_534,
    65_535,
    65_536,
    65_537,
    98_304,
    98_305,
    200_000,
)
HUGE: Final = (1 << 20, 16 << 20, (16 << 20) + 1, 1 << 31, 1 << 32, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)
HANDSHAKE_HEADERS: Final = (
    b"Sec-WebSocket-Extensions: permessage-deflate",
    b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=99",
    b"Sec-WebSocket-Extensions: \xff", b"Sec-WebSocket-Protocol: a, b", b"Sec-WebSocket-Protocol: ,",
    b"Sec-WebSocket-Key: short",
    b"Sec-WebSocket-Version: 8", b"Sec-WebSocket-Version: 13", b"Origin: https://evil.example", b"Origin: \xe9",
    b"Host: b",
    b"Content-Length: 5", b"Transfer-Encoding: chunked", b"Connection: close", b"Upgrade: h2c",
    b"Authorization: Bearer \xe9", b"Expect: 100-continue",
    b"Cookie: " + b"a=b;" * 3_000, b"X: " + b"x" * 70_000, b"no colon", b"X\0: y", b" folded",
)  # fmt: skip
TARGETS: Final = (
    b"/voice?protocol=xml", b"/voice?protocol=", b"/voice?protocol=%FF", b"/voice?token=%00&token=x",
    b"/voice?" + b"a=b&" * 2_000, b"/", b"/voice/",
    b"//voice", b"/voice#x", b"http://x/voice", b"*", b"/\xe9", b"//[x/voice",
    b"/voice?protocol=binary&protocol=json", b"http://[::1/voice", b"",
)  # fmt: skip


def frame(first: int, payload: bytes, mask: bytes | None, *, says: int | None = None, width: int = 0) -> bytes:
    """`says`: the length that is told, the payload's own by default; `width`: in so many bytes, whatever it is."""
    size = len(payload) if says is None else says
    width = width or (0 if size < 126 else 2 if size < 0x10000 else 8)
    bit = 0x80 if mask is not None else 0
    length = {0: bytes((bit | size & 0x7F,)), 2: bytes((bit | 126,)), 8: bytes((bit | 127,))}[width]
    length += (size & (1 << 8 * width) - 1).to_bytes(width) if width else b""
    if mask is None:
        return bytes((first,)) + length + payload
    return bytes((first,)) + length + mask + masked(payload, mask)


def masked(payload: bytes, mask: bytes) -> bytes:
    if mask == bytes(4) or not payload:
        return payload
    size = len(payload)
    key = int.from_bytes((mask * (size // 4 + 1))[:size])
    return (int.from_bytes(payload) ^ key).to_bytes(size)


def upgrade(rng: random.Random, protocol: str) -> bytes:
    """A caller's request; one in six is not what it should be."""
    target = f"/voice?protocol={protocol}".encode()
    headers = [
        b"Host: voice",
        b"Upgrade: websocket",
        b"Connection: Upgrade",
        b"Sec-WebSocket-Key: " + KEY,
        b"Sec-WebSocket-Version: 13",
    ]
    what = rng.randrange(24)
    if what == 0:
        target = rng.choice(TARGETS)
    elif what == 1:
        del headers[rng.randrange(len(headers))]
    elif what == 2:
        headers += rng.choices(HANDSHAKE_HEADERS, k=rng.choice((1, 1, 2, 5)))
    method = b"GET" if what != 3 else rng.choice((b"POST", b"PRI", b"get", b"HEAD"))
    version = b"HTTP/1.1" if what != 4 else rng.choice((b"HTTP/1.0", b"HTTP/2.0", b"HTTP/9.9", b""))
    said = b"\r\n".join([b" ".join((method, target, version)), *headers, b"", b""])
    return mutated(said, rng) if what == 5 else said


def agreement(rng: random.Random | None, request: bytes) -> bytes:
    """A server's reply to a request; one in five is not what it should be, and without `rng` none."""
    key = next(
        (line.partition(b": ")[2] for line in request.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key:")),
        KEY,
    )
    accept = base64.b64encode(hashlib.sha1(key + GUID).digest())
    status, headers = (
        b"101 Switching Protocols",
        [b"Upgrade: websocket", b"Connection: Upgrade", b"Sec-WebSocket-Accept: " + accept],
    )
    what = rng.randrange(25) if rng is not None else 24
    if rng is None or what > 4:
        return b"\r\n".join([b"HTTP/1.1 " + status, *headers, b"", b""])
    if what == 0:
        status = rng.choice(
            (
                b"200 OK",
                b"100 Continue",
                b"302 Found\r\nLocation: /",
                b"404 No",
                b"502 Bad\r\nContent-Length: 99999",
                b"999 X",
                b"101",
                b"1O1 X",
                b"",
            )
        )
    elif what == 1:
        del headers[rng.randrange(3)]
    elif what == 2:
        headers[2] = b"Sec-WebSocket-Accept: " + rng.choice((b"wrong", b"", b"\xff" * 20, accept.lower()))
    elif what == 3:
        headers += rng.choices(HANDSHAKE_HEADERS, k=rng.choice((1, 2, 5)))
    said = b"\r\n".join([b"HTTP/1.1 " + status, *headers, b"", b""])
    return mutated(said, rng) if what == 4 else said


def caller_text(rng: random.Random) -> bytes:
    """A message of json mode, most of them sound."""
    pcm = base64.b64encode(bytes(rng.choice((960, 960, 960, 961, 0, 2, 65_536, 65_540)))).decode()
    message = {"type": "audio", "audio": pcm}
    what = rng.random()
    if what < 0.6:
        return encoded(message)
    if what < 0.7:
        return encoded(
            message | {"audio": rng.choice(("=", "AA", "A===", "AAAA\n", "é" * 40, "-_-_", "AAA=AAAA", "x" * 98_000))}
        )
    if what < 0.75:
        return encoded({"type": rng.choice(("end", "End", "", "hello"))})
    return encoded(twisted(message, rng)) if what < 0.95 else encoded(deep(rng))


def vapi_text(rng: random.Random) -> bytes:
    """A message of Vapi's, most of them sound."""
    role, status = rng.choice(("assistant", "user")), rng.choice(("started", "stopped"))
    said = "x" * rng.choice((10, 3_000, 200_000))
    messages = (
        {"type": "speech-update", "status": status, "role": role, "turn": 1},
        {"type": "transcript", "role": role, "transcriptType": "partial", "transcript": "hello"},
        {"type": "transcript", "role": role, "transcriptType": "final", "transcript": said},
        {"type": "user-interrupted"}, {"type": "hang"}, {"type": "status-update", "status": "in-progress"},
        {"type": "status-update", "status": "ended", "endedReason": "customer-ended-call"},
        {"type": "conversation-update", "conversation": [{"role": role, "content": said}]},
        {"type": "tool-calls", "toolCallList": [{"id": "x"}]}, {"type": "model-output", "output": "x"},
        {"type": "news"},
    )  # fmt: skip
    weights = (6, 3, 1, 3, 1, 1, 1, 2, 1, 1, 1)
    message = dict(rng.choices(messages, weights)[0])
    whole = {"message": message} if rng.random() < 0.3 else message
    what = rng.random()
    if what < 0.7:
        return encoded(whole)
    return encoded(twisted(whole, rng)) if what < 0.95 else encoded(rng.choice((odd(rng), deep(rng), [], "text")))


def odd_frame(rng: random.Random, mask: bytes | None) -> bytes:
    """One that must be refused, or that tells of a length it does not have."""
    small = rng.randbytes(rng.choice((0, 1, 4, 125)))
    what = rng.randrange(11)
    if what == 0:
        return frame(rng.choice(ODD_FIRSTS), small, mask)
    if what == 1:
        return frame(rng.choice((BINARY, TEXT, PING, CLOSE)), small, b"mask" if mask is None else None)
    if what == 2:
        return frame(rng.choice((TEXT, 0x01)), rng.choice(NOT_UTF8), mask)
    if what == 3:
        return frame(CLOSE, rng.choice(CODES).to_bytes(2) + rng.choice((b"", b"bye", b"\xff", b"r" * 123)), mask)
    if what == 4:
        return frame(CLOSE, rng.choice((b"", b"\x03", b"\x03\xe8")), mask)
    if what == 5:
        return frame(rng.choice((PING, PONG, CLOSE)), bytes(126), mask)
    if what == 6:
        return frame(rng.choice((BINARY, TEXT, 0x02, PING)), small, mask, says=rng.choice(HUGE), width=8)
    if what == 7:
        return frame(rng.choice((BINARY, TEXT)), small, mask, width=rng.choice((2, 8)))
    if what == 8:
        return frame(rng.choice((BINARY, TEXT)), small, mask, says=len(small) + rng.choice((1, 9, 5_000)))
    if what == 9:
        return rng.randbytes(rng.randint(1, 60))
    return mutated(frame(BINARY, bytes(960), mask), rng)


def fragments(rng: random.Random, first: int, payload: bytes, mask: bytes | None) -> bytes:
    """A message in frames, with control frames between; one in ten has no end."""
    count = rng.choice((2, 3, 10, 50))
    cuts = sorted(rng.randrange(len(payload) + 1) for _ in range(count - 1))
    bounds = [0, *cuts, len(payload)]
    said = b""
    for number, (start, end) in enumerate(pairwise(bounds)):
        last = number == count - 1 and rng.random() < 0.9
        said += frame((first & 0x0F if number == 0 else 0) | (0x80 if last else 0), payload[start:end], mask)
        if rng.random() < 0.2:
            said += frame(rng.choice((PING, PONG)), b"between", mask)
    return said
