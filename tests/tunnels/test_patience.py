"""When a tunnel is started again, and when it is given up."""

import hypothesis
from hypothesis import strategies as st

from runtime import limits
from runtime.tunnels.facts import Busy, Failed, Fatal
from runtime.tunnels.patience import Patience


def test_start_is_given_up_when_the_trouble_is_fatal() -> None:
    assert Patience(6, starts=1).pause(Fatal("tunnel_auth", "x"), 0, 0) is None
    assert Patience(6, starts=1).pause(Fatal("tunnel_auth", "x"), 3600, 0) is None


@hypothesis.given(st.integers(1, 12), st.integers(1, 12))
def test_start_is_repeated_as_often_as_allowed_when_it_is_busy(attempts: int, starts: int) -> None:
    pause = Patience(attempts, starts).pause(Busy("x"), 0, 0)
    assert (pause is None) == (starts >= attempts)
    if pause is not None:
        most = limits.TUNNEL_RETRY_SECONDS * 2.0 ** (starts - 1)
        assert 0 <= pause <= min(most, limits.TUNNEL_RETRY_MOST_SECONDS)


def test_agent_is_started_again_at_once_when_it_held_for_a_while() -> None:
    patience = Patience(2, starts=2)
    assert patience.pause(Failed("x"), limits.TUNNEL_STEADY_SECONDS, 100) == 0
    assert patience.starts == 0


def test_all_starts_rest_when_one_was_rate_limited() -> None:
    patience = Patience(6, starts=1)
    pause = patience.pause(Busy("x", 60.0), 0, 1000)
    assert pause is not None
    assert 60 <= pause <= 90
    assert patience.rest_seconds(1030) == pause - 30
    assert patience.rest_seconds(1100) == 0
