"""The main job, end to end, on real sockets and a real PostgreSQL."""

import pytest

from actors import tail
from tests.world import open_world


@pytest.mark.parametrize("protocol", ["binary", "json"])
@pytest.mark.parametrize("tail_mode", ["burst", "paced"])
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


async def test_caller_never_takes_its_turn_when_the_tail_is_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail, "TAIL_BYTES", 0)
    async with open_world() as world:
        report = await world.call(patience_seconds=3.0)
    assert report.ending == "deadlock"
    assert "silence" in report.outcome


@pytest.mark.parametrize(
    "knobs",
    [
        {"envelope": "message"},
        {"streams_silence": True},
        {"arguments_as": "string", "calls_together": True},
        {"late_stopped_ms": 300.0},
        {"late_stopped_ms": -100.0},
        {"silent_texts": frozenset({"speech-update"})},
        {"close_before_ended": True, "odd_chunks": False, "chunk_ms": 90.0},
        {"redeliver": True},
    ],
    ids=lambda knobs: "+".join(knobs),
)
async def test_call_does_what_its_scenario_says_when_vapi_varies(knobs: dict[str, object]) -> None:
    import attrs

    async with open_world() as world:
        world.cloud.behaviour = attrs.evolve(world.cloud.behaviour, **knobs)
        checks = await world.judge(await world.call())
    assert not [check for check in checks if not check.passed]


async def test_calls_do_not_meet_when_several_run_at_once() -> None:
    import trio

    async with open_world() as world:
        outcomes = []

        async def one() -> None:
            outcomes.append((await world.short_call()).ending)

        async with trio.open_nursery() as nursery:
            for _ in range(8):
                nursery.start_soon(one)
        assert outcomes == ["caller_hung_up"] * 8
        assert len(world.cloud.calls) == 8
        for call in world.cloud.calls:
            await world.ended(call)
            assert call.received_texts == ['{"type":"end-call"}']
