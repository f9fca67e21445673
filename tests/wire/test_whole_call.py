"""The main job, end to end, on real sockets; every variation of it is in virtual time, in tests/whole/."""

import pytest

from tests.world import open_world


@pytest.mark.parametrize(("protocol", "tail_mode"), [("binary", "burst"), ("json", "paced")])
async def test_call_does_what_its_scenario_says_when_held(protocol: str, tail_mode: str) -> None:
    async with open_world(TAIL_MODE=tail_mode) as world:
        report = await world.call(protocol)
        checks = await world.judge(report)
    assert not [check for check in checks if not check.passed]
    assert len(checks) == 11
    # Each of the agent's stretches of speech is followed by its tail, and by no more than that. (The caller
    # hangs up during the last one.)
    assert [round(turn.tail_ms or 0) for turn in report.turns[:-1]] == pytest.approx([1700] * 2, abs=25)
    assert [event.data["name"] for event in world.event("tool-call")] == [
        "display_card_info_by_last4",
        "request_card_replacement",
    ]
