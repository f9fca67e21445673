"""RFC 6455 as a referee: what a stream of frames says, and which Close is owed to who said it.

Written from the RFC and nothing else, so that neither our tap nor the library is judged by itself. Without extensions.
"""

import codecs
from collections.abc import Iterator
from itertools import cycle
from typing import Final

import attrs

BINARY, TEXT, CLOSE, PING, PONG = 0x82, 0x81, 0x88, 0x89, 0x8A
CONTINUED, LAST = 0x00, 0x80
_OPCODES: Final = (0, 1, 2, 8, 9, 10)
# §7.4.1, and those that IANA has registered since.
_CLOSE_CODES: Final = (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014)


@attrs.frozen
class Violation(Exception):
    """`codes`: any of these says what was wrong."""

    codes: frozenset[int]


@attrs.frozen
class Frame:
    first: int
    payload: bytes


@attrs.frozen
class Verdict:
    """`codes`: of the Close that ends the connection, the peer's own (1005: without a code) or any of these, which we
    owe him; none while nothing has ended it. `whole`: nothing is left to wait for, so all of this is final."""

    messages: list[bytes | str]
    pings: list[bytes]
    codes: frozenset[int]
    whole: bool


def frame(first: int, payload: bytes, mask: bytes | None) -> bytes:
    """A well-formed header, whatever `first` is. `mask`: a client's; a server sends none."""
    size = len(payload)
    bit = 0 if mask is None else 0x80
    if size < 126:
        head = bytes((first, bit | size))
    elif size < 0x10000:
        head = bytes((first, bit | 126)) + size.to_bytes(2)
    else:
        head = bytes((first, bit | 127)) + size.to_bytes(8)
    return head + (payload if mask is None else mask + _masked(payload, mask))


def frames_of(data: bytes, masked: bool) -> Iterator[Frame | None]:
    """All frames; None at the end if the last one is not whole. Raises Violation."""
    at = 0
    while at < len(data):
        found = _frame_at(data, at, masked)
        if found is None:
            yield None
            return
        yield found[0]
        at = found[1]


def judge(data: bytes, masked: bool, most: int) -> Verdict:
    """What came behind the handshake. `masked`: from a client. `most`: bytes or characters of a message."""
    messages: list[bytes | str] = []
    pings: list[bytes] = []
    message: _Message | None = None
    try:
        for said in frames_of(data, masked):
            if said is None:
                return Verdict(messages, pings, frozenset(), whole=False)
            if said.first == CLOSE:
                return Verdict(messages, pings, frozenset((_close_code(said.payload),)), whole=True)
            if said.first == PING:
                pings.append(said.payload)
            elif said.first != PONG:
                message = _continued(message, said, most)
                if said.first & LAST:
                    messages.append(message.whole)
                    message = None
    except Violation as exc:
        return Verdict(messages, pings, exc.codes, whole=True)
    return Verdict(messages, pings, frozenset(), whole=True)


@attrs.define
class _Message:
    """Mutable: `parts`. Text is decoded as it comes (§8.1)."""

    parts: list[bytes] | list[str]
    decoder: codecs.IncrementalDecoder | None

    @property
    def whole(self) -> bytes | str:
        return b"".join(self.parts) if self.decoder is None else "".join(self.parts)  # type: ignore[arg-type]


def _continued(message: _Message | None, said: Frame, most: int) -> _Message:
    if (message is None) is (said.first & 0x0F == 0):  # §5.4
        raise Violation(frozenset((1002,)))
    if message is None:
        message = _Message([], codecs.getincrementaldecoder("utf-8")() if said.first & 0x0F == 1 else None)
    codes = set()
    part: bytes | str = said.payload
    if message.decoder is not None:
        try:
            part = message.decoder.decode(said.payload, final=bool(said.first & LAST))
        except UnicodeDecodeError:
            codes.add(1007)
            part = said.payload.decode(errors="replace")
    message.parts.append(part)  # type: ignore[arg-type]
    if sum(map(len, message.parts)) > most:
        codes.add(1009)
    if codes:
        raise Violation(frozenset(codes))
    return message


def _close_code(payload: bytes) -> int:
    """§5.5.1, §7.4."""
    if not payload:
        return 1005
    code = int.from_bytes(payload[:2])
    if len(payload) == 1 or not (code in _CLOSE_CODES or 3000 <= code <= 4999):
        raise Violation(frozenset((1002,)))
    try:
        payload[2:].decode()
    except UnicodeDecodeError:
        raise Violation(frozenset((1007,))) from None
    return code


def _frame_at(data: bytes, at: int, masked: bool) -> tuple[Frame, int] | None:
    """§5.2, §5.5: the frame there, and where it ends."""
    if len(data) < at + 2:
        return None
    first, second, body = data[at], data[at + 1], at + 2
    size = second & 0x7F
    width = {126: 2, 127: 8}.get(size, 0)
    if len(data) < body + width:
        return None
    if width:
        size = int.from_bytes(data[body : body + width])
        body += width
    opcode, final = first & 0x0F, bool(first & 0x80)
    if (
        first & 0x70
        or opcode not in _OPCODES
        or bool(second & 0x80) is not masked
        or (width and size < (126 if width == 2 else 0x10000))
        or size >> 63
        or (opcode >= 8 and (size > 125 or not final))
    ):
        raise Violation(frozenset((1002,)))
    mask = data[body : body + 4] if masked else bytes(4)
    body += 4 * masked
    if len(data) < body + size:
        return None
    return Frame(first, _masked(data[body : body + size], mask)), body + size


def _masked(payload: bytes, mask: bytes) -> bytes:
    if not any(mask):
        return payload
    return bytes(byte ^ key for byte, key in zip(payload, cycle(mask), strict=False))
