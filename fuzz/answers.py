"""What came back from a door, judged: HTTP answers with 2xx or 4xx and nothing else, or a WebSocket."""

import re
from collections.abc import Iterator
from typing import Final

_HEAD: Final = re.compile(rb"HTTP/1\.[01] (\d{3})[^\r\n]*\r\n((?:[^\r\n]+\r\n)*)\r\n")
_LENGTH: Final = re.compile(rb"(?im)^content-length: *(\d+)\r?$")
_CHUNKED: Final = re.compile(rb"(?im)^transfer-encoding: *chunked")
_TRANSFER: Final = re.compile(rb"(?i)transfer-encoding")
_CHUNK: Final = re.compile(rb"([0-9a-fA-F]+)\r\n")


class NotHttp(Exception):
    """The bytes are not a row of HTTP answers."""


def answers(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(status, body) of each answer, in order; what was cut short comes with what there is. Raises NotHttp."""
    at = 0
    while at < len(data):
        head = _HEAD.match(data, at)
        if head is None:
            if b"\r\n\r\n" in data[at:] or not b"HTTP/1.1 ".startswith(data[at : at + 9]):
                raise NotHttp(f"at byte {at}: {data[at : at + 80]!r}")
            return
        status, at = int(head[1]), head.end()
        if status == 101:
            yield status, data[at:]
            return
        body, at = _body(data, at, head[2])
        yield status, body


def _body(data: bytes, at: int, headers: bytes) -> tuple[bytes, int]:
    if data.startswith(b"HTTP/1.", at):  # the answer to a HEAD, or one that has none
        return b"", at
    if (length := _LENGTH.search(headers)) is not None:
        end = at + int(length[1])
        return data[at:end], end
    if _CHUNKED.search(headers) is None:
        return b"", at
    body = b""
    while (size := _CHUNK.match(data, at)) is not None:
        at = size.end() + int(size[1], 16)
        body += data[size.end() : at]
        at += 2
        if not int(size[1], 16):
            break
    return body, at


def wrong_with(data: bytes, said: bytes, *, upgrades: bool) -> str | None:
    """Why these bytes may not have come from a door to whom has `said` that; None when they may.

    `upgrades`: to a WebSocket, or to nothing. Of 5xx only one is right: 501 is what RFC 9112 §6.1 asks for when a
    request's Transfer-Encoding is not understood, and says of the server that it works.
    """
    try:
        statuses = [status for status, _ in answers(data)]
    except NotHttp as exc:
        return f"not HTTP {exc}"
    allowed = {100, *([101] if upgrades else []), *([501] if _TRANSFER.search(said) else [])}
    bad = [status for status in statuses if not (200 <= status < 300 or 400 <= status < 500 or status in allowed)]
    return f"answered {bad[0]}" if bad else None
