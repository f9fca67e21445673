"""What a peer may say to a WebSocket, for hypothesis: frames in order, odd ones between, cut anywhere."""

from itertools import pairwise
from typing import get_args

from hypothesis import strategies as st

from tests.peers import Who
from tests.runtime.plays import PIECE_SECONDS, Play, Taking
from tests.runtime.rfc6455 import BINARY, CLOSE, CONTINUED, LAST, PING, PONG, TEXT, frame

MASK = b"\x9a\x01\x00\x7f"
SMALL, LARGE = 200, 66_000
"""Bytes that a message may have; `LARGE` has room for lengths of 64 bits."""

_CLOSE_CODES = (1000, 1001, 1002, 1007, 1009, 1010, 1011, 1013, 3000, 4999)
_ODD_CLOSE_CODES = (0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65_535)
_ODD_FIRSTS = (
    *(BINARY | 0x40, TEXT | 0x20, PING | 0x10, 0x41),  # reserved bits
    *(0x83, 0x87, 0x8B, 0x8F, 0x03),  # opcodes that mean nothing
    *(0x08, 0x09, 0x0A),  # control frames in fragments
    *(CONTINUED, LAST, 0x01, 0x02),  # fragments out of place, or without an end
)
_NOT_UTF8 = (b"\xff", b"caf\xc3", b"\xed\xa0\x80", b"\xc0\xaf", b"x" * 100 + b"\x80" + b"x" * 20)
_ODD_LENGTHS = (  # longer than they need to be, or negative
    bytes((126, 0, 5)),
    bytes((127,)) + (126).to_bytes(8),
    bytes((127,)) + (1 << 63).to_bytes(8),
)


def mask_of(who: Who) -> bytes | None:
    return MASK if who == "caller" else None


def patterned(size: int) -> bytes:
    """No byte is like the one a whole number of masks before it."""
    return (bytes(range(251)) * (size // 251 + 1))[:size]


def _payloads(most: int) -> st.SearchStrategy[bytes]:
    sizes = [0, 1, 2, 125, 126, 127, most - 1, most] + [65_535, 65_536] * (most > 65_536)
    return st.sampled_from(sizes).map(patterned)


def _texts(most: int) -> st.SearchStrategy[bytes]:
    """Also of more bytes than `most`, though not of more characters."""
    return st.sampled_from(["", "a", "é", "x" * most, "😀" * 40, "é" * (most // 2 + 1), "é" * most]).map(str.encode)


def _controls(mask: bytes | None) -> st.SearchStrategy[bytes]:
    payloads = st.sampled_from([b"", b"\0\0\0\1", b"other", patterned(125)])
    return st.builds(frame, st.sampled_from([PING, PONG]), payloads, st.just(mask))


@st.composite
def _in_fragments(draw: st.DrawFn, most: int, mask: bytes | None) -> bytes:
    """A message in two to four frames, cut anywhere, with control frames between."""
    is_text = draw(st.booleans())
    payload = draw(_texts(most) if is_text else _payloads(most))
    cuts = sorted(draw(st.lists(st.integers(0, len(payload)), min_size=1, max_size=3)))
    parts = [payload[start:end] for start, end in pairwise([0, *cuts, len(payload)])]
    said = frame(1 if is_text else 2, parts[0], mask)
    for part in parts[1:-1]:
        said += draw(st.just(b"") | _controls(mask)) + frame(CONTINUED, part, mask)
    return said + draw(st.just(b"") | _controls(mask)) + frame(LAST, parts[-1], mask)


def _sound(most: int, mask: bytes | None) -> st.SearchStrategy[bytes]:
    """Anything but a Close."""
    return st.one_of(
        _payloads(most).map(lambda payload: frame(BINARY, payload, mask)),
        _texts(most).map(lambda payload: frame(TEXT, payload, mask)),
        _in_fragments(most, mask),
        _controls(mask),
    )


def _closes(mask: bytes | None) -> st.SearchStrategy[bytes]:
    reasons = st.sampled_from(["", "bye", "r" * 123, "é" * 61])
    payloads = st.builds(
        lambda code, reason: code.to_bytes(2) + reason.encode(), st.sampled_from(_CLOSE_CODES), reasons
    )
    return (st.just(b"") | payloads).map(lambda payload: frame(CLOSE, payload, mask))


def _odd(most: int, mask: bytes | None) -> st.SearchStrategy[bytes]:
    wrong_mask = MASK if mask is None else None
    bit = 0 if mask is None else 0x80
    return st.one_of(
        st.builds(frame, st.sampled_from(_ODD_FIRSTS), _payloads(125), st.just(mask)),
        st.sampled_from([BINARY, TEXT, PING, CLOSE, 0x01]).map(lambda first: frame(first, b"", wrong_mask)),
        st.sampled_from(_NOT_UTF8).map(lambda text: frame(TEXT, text, mask)),
        st.sampled_from(_NOT_UTF8).map(lambda text: frame(0x01, text, mask) + frame(LAST, b"", mask)),
        st.sampled_from(_ODD_CLOSE_CODES).map(lambda code: frame(CLOSE, code.to_bytes(2), mask)),
        st.sampled_from([b"\x03", b"\x03\xe8\xc3\x28"]).map(lambda payload: frame(CLOSE, payload, mask)),
        st.sampled_from([PING, PONG, CLOSE]).map(lambda first: frame(first, patterned(126), mask)),
        st.sampled_from([BINARY, TEXT, 0x02]).map(lambda first: frame(first, b"x" * (most + 1), mask)),
        st.just(frame(0x02, patterned(most), mask) + frame(LAST, b"x", mask)),
        st.builds(
            lambda first, length: bytes((first, length[0] | bit)) + length[1:] + patterned(140),
            st.sampled_from([BINARY, TEXT, PING]),
            st.sampled_from(_ODD_LENGTHS),
        ),
        st.binary(max_size=20),
    )


@st.composite
def _cut(draw: st.DrawFn, said: list[bytes]) -> list[bytes]:
    """Frame by frame, byte by byte, in one, or anywhere."""
    data = b"".join(said)
    how = draw(st.sampled_from(["frames", "frames", "bytes", "anywhere", "anywhere"]))
    if how == "frames":
        return [piece for piece in said if piece]
    if how == "bytes" and len(data) <= 100:
        return [data[at : at + 1] for at in range(len(data))]
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=5)))
    return [data[start:end] for start, end in pairwise([0, *cuts, len(data)]) if end > start]


@st.composite
def plays(draw: st.DrawFn, who: Who) -> Play:
    """Sound for the most part, and odd anywhere."""
    most, mask = draw(st.sampled_from([SMALL, SMALL, SMALL, LARGE])), mask_of(who)
    said = draw(st.lists(_sound(most, mask), max_size=6))
    if draw(st.booleans()):
        said.insert(draw(st.integers(0, len(said))), draw(_odd(most, mask)))
    if draw(st.booleans()):
        said.append(draw(_closes(mask)))
        said += draw(st.lists(_sound(most, mask), max_size=1))
    if said and draw(st.sampled_from([True, False, False])):
        said[-1] = said[-1][: draw(st.integers(0, len(said[-1])))]
    pieces = draw(_cut(said))
    if pieces and draw(st.sampled_from([True, False, False, False])):  # one bit is another
        number = draw(st.integers(0, len(pieces) - 1))
        piece = bytearray(pieces[number])
        piece[draw(st.integers(0, len(piece) - 1))] ^= 1 << draw(st.integers(0, 7))
        pieces[number] = bytes(piece)
    return Play(
        who,
        pieces,
        most,
        ends=draw(st.booleans()),
        taking=draw(st.sampled_from(["prompt", "late", "at once", "some at once"])),
        glued=draw(st.booleans()),
    )


@st.composite
def goodbyes(draw: st.DrawFn, who: Who) -> Play:
    """Sound, with a Close at the end, while we close at any time before, also as a piece comes."""
    most, mask = SMALL, mask_of(who)
    pieces = draw(_cut(draw(st.lists(_sound(most, mask), min_size=1, max_size=6))))
    return Play(
        who,
        [*pieces, frame(CLOSE, b"\x03\xe8", mask)],
        most,
        taking=draw(st.sampled_from(get_args(Taking))),
        leaves_at=PIECE_SECONDS / 2 * draw(st.integers(-1, 2 * len(pieces))),
    )
