"""A call that cannot be set up: the caller is told why, nothing is left running, and the next call works."""

import attrs
import pytest
import trio

from runtime import limits
from tests.world import World, open_world


async def refused(world: World) -> str:
    report = await world.call()
    assert report.close_code == 1011
    assert not report.received
    return report.close_reason or ""


async def next_call_works(world: World) -> None:
    assert (await world.short_call()).ending == "caller_hung_up"
    await world.ended(world.cloud.calls[-1])


@pytest.mark.parametrize(
    ("knobs", "reason", "line"),
    [
        ({"reject_status": 400}, "vapi_rejected", "refused the call's settings"),
        ({"reject_status": 429}, "vapi_no_slot", "no free slot"),
        ({"reject_status": 500}, "vapi_down", "with 500"),
        ({"html_error": 502}, "vapi_down", "with 502"),
        ({"html_error": 403}, "vapi_down", "with 403"),
    ],
)
async def test_caller_is_told_why_when_vapi_refuses(
    knobs: dict[str, object], reason: str, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "VAPI_SLOT_SECONDS", 0.1)
    async with open_world() as world:
        sound = world.cloud.behaviour
        world.cloud.behaviour = attrs.evolve(sound, **knobs)
        assert await refused(world) == f"callee_no_answer: {reason}"
        assert line in world.event("call-over")[-1].data["detail"]
        world.cloud.behaviour = sound
        await next_call_works(world)


async def test_caller_is_told_why_when_the_key_is_wrong() -> None:
    async with open_world(VAPI_API_KEY="wrong") as world:
        assert await refused(world) == "callee_no_answer: vapi_rejected"
        detail = world.event("call-over")[-1].data["detail"]
        assert "VAPI_API_KEY" in detail
        assert "wrong" not in detail.replace("wrong,", "")
        world.cloud.api_key = "wrong"
        await next_call_works(world)


async def test_caller_is_told_why_when_vapi_is_down() -> None:
    async with open_world(VAPI_BASE_URL="http://127.0.0.1:9") as world:
        assert await refused(world) == "callee_no_answer: vapi_down"
        assert "cannot be reached" in world.event("call-over")[-1].data["detail"]


async def test_caller_is_told_why_when_all_slots_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "VAPI_SLOT_SECONDS", 0.1)
    async with open_world() as world:
        world.cloud.slots = 0
        assert await refused(world) == "callee_no_answer: vapi_no_slot"
        world.cloud.slots = 1
        await next_call_works(world)


async def test_vapi_call_is_ended_when_its_reply_comes_too_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "VAPI_CREATE_SECONDS", 0.3)
    monkeypatch.setattr(limits, "LOST_REPLY_POLL_SECONDS", 0.2)
    async with open_world() as world:
        sound = world.cloud.behaviour
        world.cloud.behaviour = attrs.evolve(sound, post_delay_seconds=1.0)
        assert await refused(world) == "callee_no_answer: vapi_down"
        await world.ended(world.cloud.calls[0])
        world.cloud.behaviour = sound
        await next_call_works(world)
    assert world.doors.house.vapi_calls.counts == {"orphans_ended": 1}


async def test_vapi_call_is_ended_when_its_reply_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LOST_REPLY_POLL_SECONDS", 0.2)
    async with open_world() as world:
        sound = world.cloud.behaviour
        world.cloud.behaviour = attrs.evolve(sound, lose_reply=True)
        assert await refused(world) == "callee_no_answer: vapi_down"
        await world.ended(world.cloud.calls[0])
        world.cloud.behaviour = sound
        await next_call_works(world)


async def test_vapi_call_is_ended_when_the_caller_leaves_during_setup() -> None:
    async with open_world() as world:
        sound = world.cloud.behaviour
        world.cloud.behaviour = attrs.evolve(sound, post_delay_seconds=1.0)
        with trio.move_on_after(0.4):
            await world.call()
        left_at = trio.current_time()
        # The caller's call is gone at once, while the POST is still in flight.
        await world.until(lambda: world.event("call-over"), 0.5)
        assert trio.current_time() - left_at < 0.5
        assert not world.event("call-created")
        call = await world.until(lambda: world.cloud.calls and world.cloud.calls[0])
        await world.ended(call)
        assert call.ended_by == "client"
        world.cloud.behaviour = sound
        await next_call_works(world)
    assert world.doors.house.vapi_calls.counts == {"orphans_ended": 1}
