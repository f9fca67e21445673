"""Connections to the webhook door, as bytes: HTTP/1.1 as it is, as it may be, and as it must not be."""

import random
from typing import Final

import attrs

from fuzz.script import HalfClose, Leave, Pause, Script, Send, Step, pieces
from fuzz.vapi_bodies import body

UPGRADE: Final = (
    b"GET /tool HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
H2C: Final = (
    b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
    b"HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
)
HTTP2: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
HEADERS_FRAME: Final = bytes((0, 0, 5, 1, 5, 0, 0, 0, 1)) + b"\x82\x86\x84\x41\x00"
TLS_HELLO: Final = b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03" + bytes(160)
METHODS: Final = (
    b"GET",
    b"HEAD",
    b"PUT",
    b"DELETE",
    b"OPTIONS",
    b"TRACE",
    b"CONNECT",
    b"PATCH",
    b"PRI",
    b"post",
    b"X" * 200,
    b"G\0T",
    b"",
    b"QUERY",
)
PATHS: Final = (
    b"/", b"/tool/", b"//tool", b"/tool?x=%00", b"/tool%2f", b"/p/pod/tool", b"/p/other/tool", b"/p//tool",
    b"/p/%ff/tool",
    b"/p/../tool", b"*", b"http://x/tool", b"http://[::1/tool", b"x", b"", b"/healthz", b"/healthz?" + b"q" * 3_000,
    b"/static/x",
    b"/\xe9", b"/%", b"/tool#f", b"/p/a b/tool", b"/" + b"a" * 17_000, b"://", b"/p/\xf0\x9f\x98\x80/tool",
    b"//[x/tool",
)  # fmt: skip
VERSIONS: Final = (
    b"HTTP/1.0",
    b"HTTP/1.1 ",
    b"HTTP/2.0",
    b"HTTP/9.9",
    b"HTTP/1.",
    b"http/1.1",
    b"",
    b"HTTP/1.11",
    b"ICY/1.1",
)
HEADERS: Final = (
    b"Connection: close", b"Connection: keep-alive", b"Connection: Upgrade", b"Upgrade: websocket", b"Upgrade: h2c",
    b"Expect: 100-continue", b"Expect: 200-ok", b"Origin: https://bank.example", b"Origin:",
    b"Sec-Fetch-Site: cross-site",
    b"Content-Type: text/plain", b"Content-Type: multipart/form-data; boundary=",
    b"Content-Type: application/x-www-form-urlencoded",
    b"Content-Type: application/json; charset=utf-7", b"Content-Type: \xff", b"Content-Encoding: gzip", b"Host:",
    b"Host: a, b",
    b"Host: x:99999", b"Host: [", b"Host: \xe9", b"Cookie: " + b"a=b;" * 800, b"Cookie: \xff=\x01",
    b"Range: bytes=0-", b"If-None-Match: *",
    b"X: " + b"x" * 15_000, b"X: " + b"x" * 70_000, b"no colon", b": no name", b" folded", b"X\0: y", b"X: \0",
    b"X : y", b"X:\ty", b"\xff: \xff",
    b"Authorization: Basic \xff", b"Authorization: Bearer " + b"\xe9" * 20, b"X-Vapi-Secret: \xe9",
    b"X-Voice-Secret: .",
    b"X-Voice-Secret: \xe9.\xe9", b"X-Voice-Secret: 00.\xe9", b"X-HTTP-Method-Override: PUT",
    b"Transfer-Encoding: identity",
    b"Accept-Encoding: *;q=x", b"Forwarded: for=_", b"X-Forwarded-Proto: https", b"TE: trailers", b"Trailer: X",
    b"HTTP2-Settings: \xff",
    b"Proxy-Connection: keep-alive", b"Accept: " + b"*/*," * 500, b"Max-Forwards: 0", b"Date: x",
    b"Sec-WebSocket-Key: x", b"Accept-Language: \xe9",
)  # fmt: skip
LENGTHS: Final = (
    b"-1",
    b"+5",
    b"5, 5",
    b"5, 6",
    b"",
    b"0x5",
    b"9" * 30,
    b"9" * 5_000,
    b"2097153",
    b"1e3",
    b"5 ",
    b"\xb2",
    b"5\r\nContent-Length: 6",
    b"1_0",
    b"007",
)
ENCODINGS: Final = (
    b"Chunked",
    b"chunked, chunked",
    b"gzip, chunked",
    b"xchunked",
    b"chunked, identity",
    b"",
    b" chunked ",
    b"chunked\r\nTransfer-Encoding: chunked",
    b"chunked;q=1",
    b"chun\x0bked",
)
CHUNKS: Final = (
    b"0\r\n\r\n",
    b"-1\r\n",
    b"5\r\nab",
    b"FFFFFFFFFFFFFFFFF\r\n",
    b"5;x=" + b"y" * 9_000 + b"\r\nabcde\r\n",
    b"zz\r\n",
    b"\r\n",
    b"5\nabcde\n",
    b"0\r\nX: y\r\n\r\n",
    b"0\r\nX: y\r\n" * 200,
    b"1\r\nab\r\n",
    b"0x5\r\nabcde\r\n",
    b" 5\r\nabcde\r\n",
)
WORDS: Final = (
    b"\r\n",
    b"\r",
    b"\n",
    b"\0",
    b"\xff",
    b": ",
    b"\r\n\r\n",
    b"HTTP/1.1",
    b"Content-Length: 9\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Upgrade: websocket\r\n",
    b"0\r\n\r\n",
    b"X",
)


@attrs.frozen
class Known:
    """What a request may know of the world: secrets by what they open, and Vapi's id of the call that is live."""

    secrets: tuple[bytes, ...]
    """Of a live call, of a call that is over, and the fleet's."""
    call_id: str


def http_script(rng: random.Random, known: Known) -> Script:
    """One connection."""
    said = _said(rng, known)
    if rng.random() < 0.35:
        said = mutated(said, rng)
    steps = _paced(said, rng)
    end = rng.random()
    if end < 0.15:
        steps.append(HalfClose())
    elif end < 0.35:
        steps += [Pause(rng.choice((0.0, 0.05, 1.0))), Leave(reset=rng.random() < 0.3)]
    elif end < 0.75:
        steps += [Pause(rng.choice((0.3, 2.0))), Leave()]
    return Script(tuple(steps), deaf=rng.random() < 0.03)


def _said(rng: random.Random, known: Known) -> bytes:
    made = b""
    for _ in range(rng.choice((1, 1, 1, 1, 1, 2, 3, 8))):
        what = rng.random()
        if what < 0.80:
            made += request(rng, known)
        elif what < 0.97:
            made += rng.choice(
                (
                    UPGRADE,
                    UPGRADE + b"X",
                    UPGRADE + rng.randbytes(20),
                    H2C,
                    H2C + HTTP2,
                    HTTP2,
                    HTTP2 + HEADERS_FRAME,
                    TLS_HELLO,
                )
            )
        else:
            made += rng.randbytes(rng.randint(0, 300))
    return made


def request(rng: random.Random, known: Known) -> bytes:
    """One request, with about one thing odd about it."""
    odd = rng.randrange(14)
    method = rng.choice(METHODS) if odd == 0 else b"POST"
    path = rng.choice(PATHS) if odd in (1, 0) else rng.choice((b"/p/pod/tool", b"/p/pod/tool", b"/tool"))
    version = rng.choice(VERSIONS) if odd == 2 else b"HTTP/1.1"
    headers = [b"Host: tools"] if odd != 3 else [b"Host: a", b"Host: b"][: rng.randrange(3)]
    if rng.random() < 0.8:
        headers.append(_secret(rng, known))
    if odd in (4, 5):
        headers += rng.choices(HEADERS, k=rng.choice((1, 1, 2, 5, 150)))
    content = body(rng, known.call_id)
    framing, sent = _framed(content, odd, rng)
    headers += framing
    rng.shuffle(headers)
    end = rng.choice((b"\n", b"\r\r\n", b"\r")) if odd == 6 and rng.random() < 0.3 else b"\r\n"
    return end.join([b" ".join((method, path, version)), *headers, b"", b""]) + sent


def _secret(rng: random.Random, known: Known) -> bytes:
    secret = known.secrets[0] if rng.random() < 0.7 else rng.choice((*known.secrets, b"", b"0" * 32 + b"." + b"0" * 64))
    name = (
        b"X-Voice-Secret: "
        if rng.random() < 0.85
        else rng.choice((b"X-Vapi-Secret: ", b"Authorization: Bearer ", b"x-voice-secret:"))
    )
    return name + (secret if rng.random() < 0.95 else mutated(secret, rng).replace(b"\n", b"").replace(b"\r", b""))


def _framed(content: bytes, odd: int, rng: random.Random) -> tuple[list[bytes], bytes]:
    """How the body's length is told, and the body as it is sent."""
    right = b"Content-Length: %d" % len(content)
    if odd == 7:
        return [b"Content-Length: " + rng.choice(LENGTHS)], content
    if odd == 8:
        return [b"Content-Length: %d" % max(0, len(content) + rng.choice((-1, 1, -9, 9, 100_000)))], content
    if odd == 9:
        return [b"Transfer-Encoding: " + rng.choice(ENCODINGS)], _chunked(content, rng)
    if odd == 10:  # which of the two is believed is what smuggling lives on
        return [right, b"Transfer-Encoding: chunked"], _chunked(content, rng)
    if odd == 11:
        return [b"Transfer-Encoding: chunked"], rng.choice((b"", _chunked(content, rng)[:-5])) + rng.choice(CHUNKS)
    if odd == 12:
        return [b"Transfer-Encoding: chunked"], _chunked(content, rng)
    return ([] if odd == 13 else [right]), content


def _chunked(content: bytes, rng: random.Random) -> bytes:
    cuts = [rng.randrange(len(content) + 1) for _ in range(rng.choice((0, 1, 3, 40)))]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces(content, cuts)) + b"0\r\n\r\n"


def mutated(data: bytes, rng: random.Random) -> bytes:
    """A few bytes turned, cut, doubled, moved, or put where they do not belong."""
    raw = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(raw) + 1)
        match rng.randrange(6):
            case 0:
                raw[at : at + 1] = bytes(byte ^ (1 << rng.randrange(8)) for byte in raw[at : at + 1])
            case 1:
                del raw[at : at + rng.randint(1, 40)]
            case 2:
                raw[at:at] = rng.choice(WORDS)
            case 3:
                raw += raw[at : at + 4_000]
            case 4:
                raw[at:at] = rng.randbytes(rng.randint(1, 30))
            case _:
                del raw[at:]
    return bytes(raw)


def _paced(said: bytes, rng: random.Random) -> list[Step]:
    how = rng.random()
    if how < 0.5:
        return [Send(said)]
    count = rng.choice((1, 2, 5, 30)) if how < 0.9 else 60
    steps: list[Step] = []
    for piece in pieces(said, [rng.randrange(len(said) + 1) for _ in range(count)]):
        steps += [Send(piece), Pause(rng.choice((0.0, 0.001, 0.05, 0.4)))]
    return steps
