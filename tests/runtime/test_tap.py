"""runtime/tap.py and runtime/frames.py, as bytes: what is taken, what is handed on to the library, and what waits."""

from collections.abc import Iterable

import hypothesis
import pytest
from hypothesis import strategies as st

from runtime import frames, limits
from runtime.leg import MaskedAudio, Text
from runtime.tap import Side, Tap
from tests.runtime.rfc6455 import BINARY, CLOSE, LAST, PING, PONG, TEXT, Frame, frame, frames_of
from tests.runtime.tap_streams import MASK, patterned

MOST = 100_000
REQUEST = b"GET /voice HTTP/1.1\r\nHost: voice\r\nUpgrade: websocket\r\n\r\n"
SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"
both_sides = pytest.mark.parametrize("side", ["server", "client"])


def head_of(side: Side) -> bytes:
    return REQUEST if side == "server" else SWITCHING


def said(side: Side, first: int, payload: bytes = b"") -> bytes:
    """A frame of the peer's."""
    return frame(first, payload, MASK if side == "server" else None)


def opened(side: Side, most_bytes: int = MOST) -> Tap:
    """Behind its handshake, with nothing handed on."""
    tap = Tap(side, most_bytes)
    tap.feed(head_of(side))
    tap.open()
    tap.for_library.clear()
    return tap


def taken(tap: Tap) -> list[bytes | str]:
    """All that the tap takes now, without what it is wrapped in."""
    messages: list[bytes | str] = []
    while (message := tap.next()) is not None:
        messages.append(message.data if isinstance(message, Text) else message.pcm)
    return messages


def fed(tap: Tap, *pieces: bytes) -> list[bytes | str]:
    messages: list[bytes | str] = []
    for piece in pieces:
        tap.feed(piece)
        messages += taken(tap)
    return messages


def each_byte(data: bytes) -> Iterable[bytes]:
    return (data[at : at + 1] for at in range(len(data)))


@both_sides
def test_what_follows_the_head_waits_until_the_handshake_is_over(side: Side) -> None:
    tap = Tap(side, MOST)
    behind = said(side, BINARY, b"ab") + said(side, PING, b"p")
    assert fed(tap, head_of(side) + behind) == []
    assert tap.for_library == head_of(side)
    assert tap.kept_bytes == len(behind)
    assert tap.waits
    tap.open()
    assert not tap.waits
    assert taken(tap) == [b"ab"]
    assert tap.for_library == head_of(side) + said(side, PING, b"p")


@both_sides
def test_head_is_handed_on_alone_wherever_it_is_cut(side: Side) -> None:
    head, behind = head_of(side), said(side, TEXT, b"hi")
    for at in range(len(head + behind)):
        tap = Tap(side, MOST)
        fed(tap, (head + behind)[:at], (head + behind)[at:])
        tap.open()
        assert taken(tap) == ["hi"]
        assert tap.for_library == head


@both_sides
@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\n", b"\n\r\n"])
def test_head_may_end_in_bare_line_feeds(side: Side, end: bytes) -> None:
    tap = Tap(side, MOST)
    head = head_of(side).removesuffix(b"\r\n\r\n") + end
    fed(tap, head + said(side, BINARY, b"ab"))
    tap.open()
    assert taken(tap) == [b"ab"]
    assert tap.for_library == head


@pytest.mark.parametrize("status", [b"200 OK", b"1010 Odd", b"404 Not Found", b"100 Continue"])
def test_all_is_handed_on_when_a_server_does_not_switch(status: bytes) -> None:
    tap = Tap("client", MOST)
    answer = b"HTTP/1.1 " + status + b"\r\n\r\n" + said("client", BINARY, b"no frame")
    assert fed(tap, answer, b"more") == []
    tap.open()
    assert fed(tap, b"still") == []
    assert tap.for_library == answer + b"morestill"


@both_sides
def test_all_is_handed_on_when_a_head_does_not_end(side: Side) -> None:
    tap = Tap(side, MOST)
    endless = bytes(limits.HEAD_BYTES)
    assert fed(tap, endless, b"x", b"\r\n\r\n" + said(side, BINARY, b"ab")) == []
    tap.open()
    assert taken(tap) == []
    assert tap.for_library == endless + b"x\r\n\r\n" + said(side, BINARY, b"ab")


@both_sides
@pytest.mark.parametrize("size", [0, 1, 2, 125, 126, 127, 65_535, 65_536, MOST])
def test_whole_message_is_taken_whatever_its_length(side: Side, size: int) -> None:
    tap = opened(side)
    audio, text = patterned(size), "t" * size
    assert fed(tap, said(side, BINARY, audio) + said(side, TEXT, text.encode())) == [audio, text]
    assert not tap.for_library
    assert not tap.kept_bytes


def test_masked_audio_is_taken_in_the_frame_that_it_came_in() -> None:
    tap = opened("server")
    tap.feed(said("server", BINARY, b"one") + said("server", BINARY, patterned(200)))
    first, second = tap.next(), tap.next()
    assert first == MaskedAudio(said("server", BINARY, b"one"), 6, 3)
    assert second == MaskedAudio(said("server", BINARY, patterned(200)), 8, 200)
    assert isinstance(second, MaskedAudio)
    assert (second.mask, second.pcm) == (MASK, patterned(200))


@both_sides
@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 960, 65_535, 65_536, MOST + 1])
def test_frame_by_itself_is_the_same_when_it_is_not_fed(side: Side, size: int) -> None:
    alone = said(side, BINARY, patterned(size))
    tap, fed_tap = opened(side), opened(side)
    fed_tap.feed(alone)
    audio = tap.lone(alone)
    assert audio == (fed_tap.next() if 126 <= size <= 65_535 else None)
    assert fed(tap, said(side, TEXT, b"next")) == ["next"]
    assert not tap.for_library


@both_sides
def test_frame_is_fed_when_it_is_not_alone_or_not_whole_or_odd(side: Side) -> None:
    alone = said(side, BINARY, patterned(960))
    others = [alone[:at] for at in range(len(alone))] + [alone + alone[:at] for at in (1, 100, len(alone))]
    others += [said(side, first, patterned(960)) for first in (TEXT, PING, CLOSE, 0x00, LAST, 0x02, 0xC2)]
    others += [frame(BINARY, patterned(960), None if side == "server" else MASK)]
    tap = opened(side)
    assert [tap.lone(other) for other in others] == [None] * len(others)
    assert opened(side, most_bytes=959).lone(alone) is None
    for before in (alone[:1], said(side, 0x02, b"begun"), said(side, 0x02) + said(side, LAST), b"\xff\xff"):
        tap = opened(side)
        fed(tap, before)
        assert tap.lone(alone) is None
    tap = opened(side)
    tap.feed(alone)
    tap.feed(said(side, TEXT, b"waits"))
    assert tap.next() is not None
    assert tap.lone(alone) is None
    tap = Tap(side, MOST)
    assert tap.lone(alone) is None
    tap.feed(head_of(side))
    assert tap.lone(alone) is None
    tap.open()
    assert tap.lone(alone) is not None
    tap.closing = True
    assert tap.lone(alone) is None


@both_sides
def test_messages_are_the_same_when_their_frames_come_byte_by_byte(side: Side) -> None:
    messages: list[bytes | str] = [b"", "", b"ab", "é", patterned(126), "😀" * 50]
    frames_said = [
        said(side, TEXT, message.encode()) if isinstance(message, str) else said(side, BINARY, message)
        for message in messages
    ]
    between = said(side, PING, b"p")
    tap = opened(side)
    assert fed(tap, *each_byte(between.join(frames_said))) == messages
    assert tap.for_library == between * (len(messages) - 1)
    assert not tap.kept_bytes


@both_sides
def test_frame_is_the_same_wherever_it_is_cut(side: Side) -> None:
    said_of = said(side, BINARY, patterned(126)) + said(side, TEXT, "é".encode()) + said(side, PONG, b"1")
    for at in range(len(said_of)):
        tap = opened(side)
        assert fed(tap, said_of[:at], said_of[at:]) == [patterned(126), "é"]
        assert tap.for_library == said(side, PONG, b"1")


@both_sides
def test_control_frames_are_handed_on_in_their_order_and_remembered(side: Side) -> None:
    tap = opened(side)
    controls = [said(side, PING, b"a"), said(side, PONG, b"\0\0\0\7"), said(side, PONG, patterned(125))]
    assert fed(tap, controls[0], said(side, BINARY, b"ab"), controls[1]) == [b"ab"]
    assert tap.pong == b"\0\0\0\7"
    assert fed(tap, controls[2]) == []
    assert tap.pong == patterned(125)
    assert tap.for_library == b"".join(controls)
    assert not tap.close_read


@both_sides
def test_all_is_handed_on_behind_the_peers_close(side: Side) -> None:
    tap = opened(side)
    behind = said(side, BINARY, b"ab") + b"\xff\xff"
    assert fed(tap, said(side, TEXT, b"last") + said(side, CLOSE, b"\x03\xe8") + behind) == ["last"]
    assert tap.close_read
    assert tap.for_library == said(side, CLOSE, b"\x03\xe8") + behind


@both_sides
@pytest.mark.parametrize("by_byte", [False, True])
def test_what_follows_a_message_in_fragments_waits_until_it_is_given_back(side: Side, by_byte: bool) -> None:
    tap = opened(side)
    message = (
        said(side, 0x01, b"a") + said(side, PING, b"p") + said(side, 0x00) + said(side, PONG, b"q")
        + said(side, LAST, b"b")
    )  # fmt: skip
    behind = said(side, BINARY, b"next") + said(side, PING, b"late")
    for piece in each_byte(message + behind) if by_byte else [message + behind]:
        assert fed(tap, piece) == []
    assert tap.waits
    assert tap.for_library == message
    assert tap.pong == b"q"
    tap.given_back()
    assert taken(tap) == [b"next"]
    assert tap.for_library == message + said(side, PING, b"late")
    assert fed(tap, said(side, 0x02, b"1") + said(side, LAST) + said(side, TEXT, b"t")) == []
    tap.given_back()
    assert taken(tap) == ["t"]


@both_sides
def test_message_that_the_library_gives_unasked_changes_nothing(side: Side) -> None:
    tap = opened(side)
    fed(tap, said(side, 0x02, b"1"))
    tap.given_back()  # an earlier one
    assert fed(tap, said(side, LAST, b"2") + said(side, TEXT, b"t")) == []
    tap.given_back()
    assert taken(tap) == ["t"]


def odd_frames(side: Side) -> list[bytes]:
    bit = 0x80 if side == "server" else 0
    reserved = [said(side, first, b"ab") for first in (0xC2, 0xA2, 0x92, 0xC1, 0xC9, 0x42, 0xD8)]
    unknown = [said(side, 0x80 | opcode, b"ab") for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)]
    masks = [frame(first, b"ab", None if side == "server" else MASK) for first in (BINARY, TEXT, PING, CLOSE)]
    tails = bit // 0x80 * MASK + patterned(130)
    lengths = [
        bytes((BINARY, bit | 126, 0, 125)) + tails,
        bytes((TEXT, bit | 127)) + (65_535).to_bytes(8) + tails,
        bytes((BINARY, bit | 127)) + (1 << 63).to_bytes(8) + tails,
    ]
    controls = [said(side, first, patterned(126)) for first in (PING, PONG, CLOSE)]
    controls += [said(side, first, b"ab") for first in (0x08, 0x09, 0x0A)]
    texts = [said(side, TEXT, text) for text in (b"\xff", b"caf\xc3", b"\xed\xa0\x80", b"\xc0\xaf")]
    long = [said(side, first, bytes(MOST + 1)) for first in (BINARY, TEXT)] + [said(side, 0x01, bytes(4 * MOST + 1))]
    out_of_place = [said(side, 0x00, b"ab"), said(side, LAST, b"ab")]
    return reserved + unknown + masks + lengths + controls + texts + long + out_of_place


@both_sides
def test_all_is_handed_on_from_the_first_odd_frame(side: Side) -> None:
    before, behind = said(side, TEXT, b"fine"), said(side, BINARY, b"ab") + said(side, PING)
    for odd in odd_frames(side):
        tap = opened(side)
        assert fed(tap, before + odd + behind, behind) == ["fine"], odd[:20]
        assert tap.for_library == odd + behind + behind, odd[:20]
        assert not tap.close_read
        tap.given_back()
        assert fed(tap, behind) == []


@both_sides
def test_all_is_handed_on_when_a_message_begins_within_another(side: Side) -> None:
    for odd in (said(side, BINARY, b"ab"), said(side, TEXT, b"ab"), said(side, 0x01, b"ab"), said(side, 0x02, b"ab")):
        tap = opened(side)
        assert fed(tap, said(side, 0x02, b"first") + odd + said(side, BINARY, b"ab")) == []
        assert tap.for_library == said(side, 0x02, b"first") + odd + said(side, BINARY, b"ab")


@both_sides
def test_odd_frame_is_handed_on_before_it_is_whole(side: Side) -> None:
    tap = opened(side)
    begun = said(side, BINARY, bytes(1_000_000))[:20]
    assert fed(tap, begun) == []
    assert tap.for_library == begun


# The library counts characters (trio-websocket 0.12.2, `len()` of the message).
@both_sides
def test_text_may_have_more_bytes_than_characters(side: Side) -> None:
    tap = opened(side, most_bytes=200)
    assert fed(tap, said(side, TEXT, ("é" * 200).encode()), said(side, BINARY, b"ab")) == ["é" * 200, b"ab"]
    in_parts = said(side, 0x01, "é".encode()) + said(side, LAST, ("é" * 199).encode())
    assert fed(tap, in_parts + said(side, BINARY, b"ab")) == []
    assert tap.waits
    assert tap.for_library == in_parts
    tap.given_back()
    assert taken(tap) == [b"ab"]
    assert fed(tap, said(side, TEXT, ("é" * 201).encode()), said(side, BINARY, b"ab")) == []
    assert tap.for_library == in_parts + said(side, TEXT, ("é" * 201).encode()) + said(side, BINARY, b"ab")


@both_sides
@pytest.mark.parametrize("was_said", ["nothing", "a fragment", "all fragments", "half a frame"])
def test_only_the_peers_close_is_handed_on_when_we_have_said_close(side: Side, was_said: str) -> None:
    begun, rest = {
        "nothing": (b"", b""),
        "a fragment": (said(side, 0x02, b"begun"), said(side, LAST, b"over")),
        "all fragments": (said(side, 0x02, b"be") + said(side, LAST, b"gun"), b""),
        "half a frame": (said(side, BINARY, b"half")[:-2], b"lf"),
    }[was_said]
    tap = opened(side)
    fed(tap, begun)
    tap.for_library.clear()
    tap.closing = True
    assert not tap.waits
    data = said(side, BINARY, b"ab") + said(side, TEXT, b"\xff") + said(side, PING, b"p")
    parts = said(side, 0x01, b"a") + said(side, PING) + said(side, LAST, b"b")
    assert fed(tap, *each_byte(rest + data + parts + data + said(side, CLOSE, b"\x03\xe8"))) == []
    assert tap.for_library == said(side, CLOSE, b"\x03\xe8")
    assert tap.close_read


@both_sides
def test_long_message_is_kept_in_its_pieces_until_it_is_whole(side: Side) -> None:
    payload = patterned(2 * 1024 * 1024)
    whole = said(side, BINARY, payload)
    tap = opened(side, most_bytes=len(payload))
    for at in range(0, len(whole), 1_000):
        assert tap.next() is None
        assert tap.kept_bytes == at
        tap.feed(whole[at : at + 1_000])
    assert taken(tap) == [payload]
    assert not tap.kept_bytes


# --- runtime/frames.py

SIZES = [0, 1, 3, 4, 125, 126, 127, 65_535, 65_536, 70_001]


def test_payload_is_masked_as_the_rfc_shows() -> None:
    assert frames.xored(b"Hello", b"\x37\xfa\x21\x3d") == b"\x7f\x9f\x4d\x51\x58"  # RFC 6455 §5.7


@hypothesis.given(st.binary(max_size=50), st.binary(min_size=4, max_size=4))
def test_masking_twice_changes_nothing(data: bytes, mask: bytes) -> None:
    masked = frames.xored(data, mask)
    assert masked == bytes(byte ^ mask[at % 4] for at, byte in enumerate(data))
    assert frames.xored(masked, mask) == data


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("first", [BINARY, TEXT])
def test_frames_are_well_formed_whatever_their_length(first: int, size: int) -> None:
    payload = patterned(size)
    for encoder, masked in ((frames.ServerFrames(), False), (frames.ClientFrames(), True)):
        assert list(frames_of(encoder.frame(first, payload), masked)) == [Frame(first, payload)]


@pytest.mark.parametrize("size", SIZES)
def test_frame_that_is_masked_anew_says_the_same(size: int) -> None:
    encoder = frames.ClientFrames()
    old = frame(BINARY, patterned(size), MASK)
    new = encoder.remasked(old, len(old) - size)
    assert list(frames_of(new, masked=True)) == [Frame(BINARY, patterned(size))]
    assert len(new) == len(old)
    assert new[: len(old) - size - 4] == old[: len(old) - size - 4]
    assert new[len(old) - size - 4 : len(old) - size] != MASK


def test_each_frame_of_a_client_has_a_mask_of_its_own() -> None:
    encoder = frames.ClientFrames()
    masks = [encoder.frame(BINARY, b"")[2:] for _ in range(600)]
    masks += [encoder.remasked(frame(BINARY, b"", MASK), 6)[2:] for _ in range(600)]
    assert len(set(masks)) == len(masks)
