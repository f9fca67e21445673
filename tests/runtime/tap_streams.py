"""Byte streams to play to a WebSocket (tests/runtime/plays.py): frames in order, odd ones between, cut anywhere."""

from itertools import pairwise
from typing import get_args

from hypothesis import strategies as st

from tests.peers import Who
from tests.runtime.plays import Play, Taking
from tests.runtime.rfc6455 import BINARY, CLOSE, CONTINUED, LAST, PING, PONG, TEXT, frame

MASK = b"\x9a\x01\x00\x7f"
SMALL, LARGE = 200, 66_000
"""Bytes that a message may have: `LARGE` has room for lengths of 64 bits."""


def mask_of(who: Who) -> bytes | None:
    return MASK if who == "caller" else None


def patterned(size: int) -> bytes:
    """No two neighbouring frames look alike when they are shifted."""
    return (bytes(range(251)) * (size // 251 + 1))[:size]


def _payloads(most: int) -> st.SearchStrategy[bytes]:
    sizes = [0, 1, 2, 125, 126, 127, most - 1, most] + [65_535, 65_536] * (most > 65_536)
    return st.sampled_from(sizes).map(patterned)


def _texts(most: int) -> st.SearchStrategy[bytes]:
    """Also one of more bytes than characters, and more than `most`."""
    texts = ["", "a", "é", "x" * most, "😀" * 40, "é" * (most // 2 + 1), "é" * most]
    return st.sampled_from(texts).map(str.encode)


@st.composite
def _fragments(draw: st.DrawFn, most: int, mask: bytes | None) -> bytes:
    """A message in two to four frames, cut anywhere, with control frames between."""
    is_text = draw(st.booleans())
    payload = draw(_texts(most) if is_text else _payloads(most))
    cuts = sorted(draw(st.lists(st.integers(0, len(payload)), min_size=1, max_size=3)))
    bounds = list(pairwise([0, *cuts, len(payload)]))
    said = b""
    for number, (start, end) in enumerate(bounds):
        first = (TEXT if is_text else BINARY) & 0x0F if number == 0 else CONTINUED
        last = LAST if number == len(bounds) - 1 else 0
        said += frame(first | last, payload[start:end], mask)
        if not last and draw(st.booleans()):
            said += draw(_controls(mask))
    return said


def _controls(mask: bytes | None) -> st.SearchStrategy[bytes]:
    payloads = st.sampled_from([b"", b"\0\0\0\1", b"other", patterned(125)])
    return st.builds(frame, st.sampled_from([PING, PONG]), payloads, st.just(mask))


def _closes(mask: bytes | None) -> st.SearchStrategy[bytes]:
    codes = st.sampled_from([1000, 1001, 1002, 1007, 1009, 1010, 1011, 1013, 3000, 4999])
    reasons = st.sampled_from(["", "bye", "r" * 123, "é" * 61])
    payloads = st.just(b"") | st.builds(lambda code, reason: code.to_bytes(2) + reason.encode(), codes, reasons)
    return payloads.map(lambda payload: frame(CLOSE, payload, mask))


def sound(most: int, mask: bytes | None) -> st.SearchStrategy[bytes]:
    """What a peer may say, the Close excepted."""
    return st.one_of(
        _payloads(most).map(lambda payload: frame(BINARY, payload, mask)),
        _texts(most).map(lambda payload: frame(TEXT, payload, mask)),
        _fragments(most, mask),
        _controls(mask),
    )


def _unsound(most: int, mask: bytes | None) -> st.SearchStrategy[bytes]:
    other_mask = MASK if mask is None else None
    bit = 0 if mask is None else 0x80
    firsts = [bit << 4 | code for bit in (1, 2, 4) for code in (BINARY, TEXT, PING)]  # placeholders, replaced below
    firsts = [BINARY | 0x40, TEXT | 0x20, PING | 0x10, 0x41]  # reserved bits
    firsts += [0x83, 0x87, 0x8B, 0x8F, 0x03]  # opcodes that mean nothing
    firsts += [0x08, 0x09, 0x0A]  # control frames in fragments
    firsts += [CONTINUED, LAST, 0x01, 0x02]  # fragments, out of place or without an end
    texts = [b"\xff", b"caf\xc3", b"\xed\xa0\x80", b"\xc0\xaf", "x".encode() * 100 + b"\x80" + b"x" * 20]
    closes = [b"\x03", b"\x03\xe7", b"\x03\xec", b"\x03\xed", b"\x03\xee", b"\x03\xf7", b"\x03\xf8", b"\x0b\xb7", b"\x13\x88"]
    closes += [b"\0\0", b"\xff\xff", b"\x03\xe8\xc3\x28"]
    lengths = [bytes((126, 0, 5)), bytes((127,)) + (126).to_bytes(8), bytes((127, 0x80)) + bytes(7)]  # longer than need be
    return st.one_of(
        st.builds(lambda first, body: frame(first, body, mask), st.sampled_from(firsts), _payloads(125)),
        st.sampled_from([BINARY, TEXT, PING, CLOSE, 0x01]).map(lambda first: frame(first, b"", other_mask)),
        st.sampled_from(texts).map(lambda text: frame(TEXT, text, mask)),
        st.sampled_from(texts).map(lambda text: frame(0x01, text, mask) + frame(LAST, b"", mask)),
        st.sampled_from(closes).map(lambda payload: frame(CLOSE, payload, mask)),
        st.sampled_from([PING, PONG, CLOSE]).map(lambda first: frame(first, patterned(126), mask)),
        st.sampled_from([BINARY, TEXT, 0x02]).map(lambda first: frame(first, b"x" * (most + 1), mask)),
        st.just(frame(0x02, patterned(most), mask) + frame(LAST, b"x", mask)),
        st.builds(
            lambda first, length: bytes((first, length[0] | bit)) + length[1:] + patterned(140),
            st.sampled_from([BINARY, TEXT, PING]),
            st.sampled_from(lengths),
        ),
        st.binary(max_size=20),
    )


@st.composite
def plays(draw: st.DrawFn, who: Who) -> Play:
    most, mask = draw(st.sampled_from([SMALL, SMALL, SMALL, LARGE])), mask_of(who)
    said = draw(st.lists(sound(most, mask), max_size=6))
    if draw(st.booleans()):
        said.insert(draw(st.integers(0, len(said))), draw(_unsound(most, mask)))
    if draw(st.booleans()):
        said.append(draw(_closes(mask)))
        said += draw(st.lists(sound(most, mask), max_size=1))
    data = bytearray(b"".join(said))
    if data and draw(st.sampled_from([True, False, False, False])):
        data[draw(st.integers(0, len(data) - 1))] ^= 1 << draw(st.integers(0, 7))
    if draw(st.sampled_from([True, False, False])):
        del data[draw(st.integers(0, len(data))) :]
    return Play(
        who,
        draw(cut(bytes(data))),
        most,
        ends=draw(st.booleans()),
        taking=draw(st.sampled_from(get_args(Taking))),
        glued=draw(st.booleans()),
    )


@st.composite
def cut(draw: st.DrawFn, data: bytes) -> list[bytes]:
    """Everywhere, when it is short; else in a few places, or nowhere."""
    if len(data) <= 100 and draw(st.booleans()):
        return [data[at : at + 1] for at in range(len(data))]
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=5)))
    return [data[start:end] for start, end in pairwise([0, *cuts, len(data)]) if end > start]
