"""Our leg beside trio-websocket alone and beside RFC 6455: what is delivered, which code is told, what is on the wire.

The issue's list of streams is generated (tests/runtime/tap_streams.py), played to both (plays.py), and judged by a
referee that knows the RFC alone (rfc6455.py). Where the library falls short, and where our leg differs, stands below by
name, a test for each. In the rest they agree.
"""

from collections.abc import Callable

import attrs
import hypothesis
import pytest

from tests.peers import Who
from tests.runtime.plays import PIECE_SECONDS, Outcome, Play, Subject, Taking, our_leg, outcome_of, the_library
from tests.runtime.rfc6455 import BINARY, CLOSE, LAST, PING, PONG, TEXT, frame, judge
from tests.runtime.tap_streams import SMALL, goodbyes, mask_of, plays

EXAMPLES = 40  # of each property, for each side; 4,000 take a minute or two


def say_the_same(play: Play) -> None:
    verdict = judge(play.data, masked=play.who == "caller", most=play.most)
    ours = outcome_of(play, our_leg)
    library = outcome_of(attrs.evolve(play, taking="prompt", glued=False), the_library)
    assert ours.messages == library.messages == verdict.messages
    at_the_end = {1006 if play.ends else None}
    if 1009 in verdict.codes:
        assert ours.closed is not None  # "what follows a message too long", below
    elif not verdict.whole:
        assert ours.closed in {library.closed, *at_the_end}  # "half a frame", below
    elif len(verdict.codes) > 1:
        assert ours.closed in verdict.codes
    else:
        assert {ours.closed} == {library.closed} == (verdict.codes or at_the_end)
    said = ours.said(play.who)
    closes = [frame for frame in said if frame.first == CLOSE]
    assert [frame.first for frame in said] == [PONG] * len(verdict.pings) + [CLOSE] * len(closes)
    assert [frame.payload for frame in said[: len(verdict.pings)]] == verdict.pings
    assert len(closes) == (ours.closed not in (None, 1006))
    assert all(code_of(frame.payload) in (verdict.codes or {ours.closed}) for frame in closes)
    assert ours.left is (ours.closed is not None)


def code_of(payload: bytes) -> int:
    return int.from_bytes(payload[:2]) if payload else 1005


@hypothesis.settings(max_examples=EXAMPLES)
@hypothesis.given(plays("caller"))
def test_caller_is_heard_and_answered_as_the_library_would_when_he_says_anything(play: Play) -> None:
    say_the_same(play)


@hypothesis.settings(max_examples=EXAMPLES)
@hypothesis.given(plays("vapi"))
def test_vapi_is_heard_and_answered_as_the_library_would_when_it_says_anything(play: Play) -> None:
    say_the_same(play)


def close_in_order(play: Play) -> None:
    ours = outcome_of(play, our_leg)
    assert ours.in_order
    assert ours.left
    verdict = judge(play.data, masked=play.who == "caller", most=play.most)
    assert ours.messages == verdict.messages[: len(ours.messages)]
    *pongs, last = ours.said(play.who)
    assert (last.first, code_of(last.payload)) == (CLOSE, 1000)
    assert [frame.first for frame in pongs] == [PONG] * len(pongs)
    assert [frame.payload for frame in pongs] == verdict.pings[: len(pongs)]


@hypothesis.settings(max_examples=EXAMPLES)
@hypothesis.given(goodbyes("caller"))
def test_leg_closes_in_order_when_the_caller_is_in_the_middle_of_anything(play: Play) -> None:
    close_in_order(play)


@hypothesis.settings(max_examples=EXAMPLES)
@hypothesis.given(goodbyes("vapi"))
def test_leg_closes_in_order_when_vapi_is_in_the_middle_of_anything(play: Play) -> None:
    close_in_order(play)


@attrs.frozen
class Seen:
    """What a play came to. `said`: Close codes, and pongs as their payload. `raises`: in the library's reader."""

    closed: int | None
    said: tuple[int | bytes, ...] = ()
    left: bool = True
    messages: tuple[bytes | str, ...] = ()
    raises: bool = False

    @classmethod
    def of(cls, outcome: Outcome, who: Who) -> "Seen":
        said = tuple(code_of(one.payload) if one.first == CLOSE else one.payload for one in outcome.said(who))
        return cls(outcome.closed, said, outcome.left, tuple(outcome.messages), bool(outcome.raised))


@attrs.frozen
class Difference:
    """`name`: what trio-websocket 0.12.2 does alone. `rfc`: what RFC 6455 demands. `says`: the peer, in one piece."""

    name: str
    rfc: str
    says: Callable[[bytes | None], bytes]
    library: Seen
    leg: Seen
    who: Who = "vapi"
    ends: bool = False
    taking: Taking = "prompt"
    glued: bool = False

    @property
    def play(self) -> Play:
        pieces = [self.says(mask_of(self.who))]
        return Play(self.who, pieces, SMALL, ends=self.ends, taking=self.taking, glued=self.glued)


LONG = bytes(SMALL + 1)
DIFFERENCES = [
    Difference(
        "says nothing to a frame that is refused, and as a client stays connected",
        "§7.1.7: say Close, with a code that tells why, and close",
        lambda mask: frame(BINARY | 0x40, b"", mask),
        Seen(1002, left=False),
        Seen(1002, (1002,)),
    ),
    Difference(
        "says nothing to a frame that is refused",
        "§7.1.7: say Close, with a code that tells why",
        lambda mask: frame(BINARY | 0x40, b"", mask),
        Seen(1002),
        Seen(1002, (1002,)),
        who="caller",
    ),
    Difference(
        "says nothing to text that is not UTF-8",
        "§8.1, §7.4.1: fail the connection; 1007",
        lambda mask: frame(TEXT, b"caf\xc3", mask),
        Seen(1007),
        Seen(1007, (1007,)),
        who="caller",
    ),
    Difference(
        "says nothing to a Close whose code must not be sent",
        "§7.4.1: 1005 MUST NOT be set in a Close; §7.1.7",
        lambda mask: frame(CLOSE, (1005).to_bytes(2), mask),
        Seen(1002),
        Seen(1002, (1002,)),
        who="caller",
    ),
    Difference(
        "says nothing to a Close with half a code",
        "§5.5.1: a body begins with a code of two bytes; §7.1.7",
        lambda mask: frame(CLOSE, b"\x03", mask),
        Seen(1002),
        Seen(1002, (1002,)),
        who="caller",
    ),
    Difference(
        "refuses a code that was registered later",
        "§7.4.2, §11.7: 1000 to 2999 are the registry's, and 1014 is in it",
        lambda mask: frame(CLOSE, (1014).to_bytes(2), mask),
        Seen(1002),
        Seen(1002, (1002,)),  # as the library: a peer that is leaving is told so, and left
        who="caller",
    ),
    Difference(
        "stays connected when a message is too long",
        "§7.1.7: close the connection",
        lambda mask: frame(BINARY, LONG, mask),
        Seen(1009, (1009,), left=False),
        Seen(1009, (1009,)),
        who="caller",
    ),
    Difference(
        "raises on a ping behind a message too long",
        "§7.1.7: process no more data",
        lambda mask: frame(BINARY, LONG, mask) + frame(PING, b"", mask),
        Seen(1009, (1009,), left=False, raises=True),
        Seen(1009, (1009,)),
        who="caller",
    ),
    Difference(
        "raises on a second message too long",
        "§7.1.7: process no more data",
        lambda mask: frame(BINARY, LONG, mask) * 2,
        Seen(1009, (1009,), left=False, raises=True),
        Seen(1009, (1009,)),
        who="caller",
    ),
    Difference(
        "forgets what came before a message too long, when nobody has received it yet",
        "nothing",
        lambda mask: frame(BINARY, b"ab", mask) + frame(BINARY, LONG, mask),
        Seen(1009, (1009,), left=False),
        Seen(1009, (1009,), messages=(b"ab",)),
        taking="late",
    ),
    Difference(
        "forgets what came together with the request",
        "§4.1: a client waits for the answer; nothing for a server",
        lambda mask: frame(BINARY, b"ab", mask),
        Seen(None, left=False),
        Seen(None, left=False, messages=(b"ab",)),
        who="caller",
        glued=True,
    ),
    # Here it is our leg that differs: a data frame is looked at when it is whole. To the RFC it is the same.
    Difference(
        "looks into half a frame, when more may come",
        "§8.1 does not say when: fail the connection over what is not UTF-8",
        lambda mask: frame(TEXT, b"\xff and more", mask)[:-1],
        Seen(1007),
        Seen(None, left=False),
        who="caller",
    ),
    Difference(
        "looks into half a frame, when nothing more comes",
        "§7.1.5: without a Close the code is 1006",
        lambda mask: frame(TEXT, b"\xff and more", mask)[:-1],
        Seen(1007),
        Seen(1006),
        who="caller",
        ends=True,
    ),
]


each_difference = pytest.mark.parametrize("difference", DIFFERENCES, ids=lambda difference: difference.name)


@each_difference
def test_library_alone_falls_short_by_name(difference: Difference) -> None:
    play = difference.play
    assert Seen.of(outcome_of(play, the_library), play.who) == difference.library


@each_difference
def test_leg_does_what_the_rfc_demands_where_the_library_falls_short(difference: Difference) -> None:
    play = difference.play
    assert Seen.of(outcome_of(play, our_leg), play.who) == difference.leg


# The library may hear the Close before its receiver hears of the message; by §7.1.5 either code is right.
@pytest.mark.parametrize("subject", [our_leg, the_library])
def test_one_close_goes_out_when_the_peers_own_follows_a_message_too_long(subject: Subject) -> None:
    play = Play("vapi", [frame(BINARY, LONG, None) + frame(CLOSE, b"\x03\xe8", None)], SMALL)
    outcome = outcome_of(play, subject)
    assert outcome.closed in (1000, 1009)
    assert [code_of(said.payload) for said in outcome.said("vapi")] == [1009]


# W5: the library raises in its reader (its issue #184), and waits for the Close for ever.
@pytest.mark.parametrize("who", ["caller", "vapi"])
@pytest.mark.parametrize("leaves_at", [0, PIECE_SECONDS / 2])
def test_leg_closes_in_order_when_a_ping_comes_as_it_closes(who: Who, leaves_at: float) -> None:
    ping, close = frame(PING, b"p", mask_of(who)), frame(CLOSE, b"\x03\xe8", mask_of(who))
    play = Play(who, [ping, ping, close], SMALL, leaves_at=leaves_at)
    library, ours = outcome_of(play, the_library), outcome_of(play, our_leg)
    assert (library.raised != [], library.in_order) == (True, None)
    assert (ours.raised, ours.in_order) == ([], True)
    assert [said.first for said in ours.said(who)] in ([PONG, CLOSE], [CLOSE])


@pytest.mark.parametrize("who", ["caller", "vapi"])
def test_leg_closes_in_order_when_the_peer_is_in_the_middle_of_fragments(who: Who) -> None:
    mask = mask_of(who)
    pieces = [frame(0x02, b"be", mask), frame(LAST, b"gun", mask), frame(BINARY, b"ab", mask), frame(PING, b"", mask)]
    close_in_order(Play(who, [*pieces, frame(CLOSE, b"\x03\xe8", mask)], SMALL, leaves_at=PIECE_SECONDS / 2))


@pytest.mark.parametrize("ends", [False, True])
@pytest.mark.parametrize("who", ["caller", "vapi"])
def test_all_is_heard_when_it_comes_in_one_segment_with_the_handshake(who: Who, ends: bool) -> None:
    mask = mask_of(who)
    said = frame(BINARY, b"ab", mask) + frame(0x01, b"c", mask) + frame(PING, b"p", mask) + frame(LAST, b"d", mask)
    play = Play(who, [said + frame(CLOSE, b"\x0f\xa0busy", mask)], SMALL, ends=ends, glued=True)
    assert Seen.of(outcome_of(play, our_leg), who) == Seen(4000, (b"p", 4000), messages=(b"ab", "cd"))


@pytest.mark.parametrize("who", ["caller", "vapi"])
def test_ping_is_answered_at_once_when_nobody_receives_the_audio_behind_it(who: Who) -> None:
    mask = mask_of(who)
    pieces = [frame(PING, b"p", mask) + frame(BINARY, b"ab", mask) + frame(BINARY, b"cd", mask)]
    ours = outcome_of(Play(who, pieces, SMALL, taking="never"), our_leg)
    assert [said.payload for said in ours.said(who)] == [b"p"]
