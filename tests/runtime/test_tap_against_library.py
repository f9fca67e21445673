from unittest import mock

import hypothesis
import pytest
from hypothesis import strategies as st

from runtime import limits
from tests.peers import Who
from tests.runtime.plays import Outcome, Play, Subject, our_leg, perform, the_library
from tests.runtime.rfc6455 import CLOSE, PONG, Verdict, judge
from tests.runtime.tap_streams import plays
from tests.virtual_time import run_in_virtual_time

EXAMPLES = 300

def outcome_of(play: Play, subject: Subject) -> Outcome:
    outcomes: list[Outcome] = []

    async def main() -> None:
        outcomes.append(await perform(play, subject))

    with mock.patch.multiple(limits, CALLER_TEXT_BYTES=play.most, VAPI_MESSAGE_BYTES=play.most):
        run_in_virtual_time(main)
    return outcomes[0]


def check(play: Play) -> None:
    verdict = judge(play.data, play.who == "caller", play.most)
    ours = outcome_of(play, our_leg)
    library = outcome_of(attrs.evolve(play, glued=False), the_library)
    at_the_end = frozenset((1006 if play.ends else None,))
    assert ours.messages == verdict.messages == library.messages
    if 1009 in verdict.codes:
        assert ours.closed is not None
    elif not verdict.whole:
        assert ours.closed in {library.closed, *at_the_end}
    elif len(verdict.codes) > 1:
        assert ours.closed in verdict.codes
    else:
        assert {ours.closed} == {library.closed} == (verdict.codes or at_the_end)
    assert ours.left is (ours.closed is not None)
    assert not ours.raised
    said = ours.said(play.who)
    assert [frame.first for frame in said] == [PONG] * len(verdict.pings) + [CLOSE] * (ours.closed not in (None, 1006))
    assert [frame.payload for frame in said if frame.first == PONG] == verdict.pings
    owed = verdict.codes or {ours.closed}
    assert all((int.from_bytes(frame.payload[:2]) or 1005) in owed for frame in said if frame.first == CLOSE)

import attrs

@pytest.mark.parametrize("who", ["caller", "vapi"])
@hypothesis.settings(max_examples=EXAMPLES)
@hypothesis.given(st.data())
def test_x(who: Who, data) -> None:
    check(data.draw(plays(who)))
