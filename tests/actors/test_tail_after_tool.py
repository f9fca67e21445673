"""The tail is held while a tool is called, and until the assistant speaks of its answer, or for a bounded time."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from actors.control_message_watcher import ControlMessageWatcher
from runtime import limits
from runtime.channels import AssistantStarted, AssistantStopped, CallerInterrupted, Item, open_audio_channel
from runtime.leg import Closed
from runtime.record import Event
from runtime.settings import TailMode
from runtime.tool_pause import ToolPause
from tests.actors.dispatching import FREEZE, call, dispatching, hanging, lasting
from tests.actors.test_silence_padder import MODES, Padded, padding
from tests.fakes import FakeLeg, speech

STARTED, STOPPED = AssistantStarted(), AssistantStopped()
SETTLE, LATER = limits.TAIL_SETTLE_SECONDS, limits.TAIL_AFTER_TOOL_SECONDS


@asynccontextmanager
async def talking(mode: TailMode = "burst") -> AsyncIterator[tuple[Padded, ToolPause]]:
    async with padding(mode) as padded:
        yield padded, padded.record.tool_pause


async def say(padded: Padded, seconds: float) -> None:
    """A stretch of the assistant's speech, in real time."""
    items: tuple[Item, ...] = (STARTED, speech(seconds))
    for item in items:
        await padded.agent_audio.send(item)
    await trio.sleep(seconds)
    await padded.agent_audio.send(STOPPED)


def counts(padded: Padded) -> tuple[int, int, int]:
    """Tails paid, tails held, and those for which nothing was said behind the answer."""
    return tuple(padded.record.counts[name] for name in ("tails", "tails_held", "tails_held_in_vain"))  # type: ignore[return-value]


@MODES
async def test_one_tail_comes_behind_the_answer_when_a_filler_was_spoken_beside_the_tool(mode: TailMode) -> None:
    async with talking(mode) as (padded, pause):
        pause.on_called(0.0)
        pause.on_answered(0.0)
        await say(padded, 0.7)
        await trio.sleep_until(2.0)
        await say(padded, 0.5)
        await trio.sleep(5)
        assert padded.heard() == [("speech", 1.2), ("silence", 1.7)]
        assert padded.begins("silence") == pytest.approx(2.5 + SETTLE)
        assert counts(padded) == (1, 1, 0)


async def test_tail_is_held_when_the_filler_begins_behind_the_answer() -> None:
    async with talking() as (padded, pause):
        pause.on_called(0.0)
        pause.on_answered(0.01)
        await trio.sleep(0.3)  # as long as it takes to be synthesised
        await say(padded, 0.7)
        await trio.sleep(0.9)
        assert padded.heard() == [("speech", 0.7)]


async def test_tail_is_held_for_as_long_as_the_tool_runs() -> None:
    async with talking() as (padded, pause):
        pause.on_called(0.0)
        await say(padded, 0.7)
        await trio.sleep_until(14.0)
        pause.on_answered(14.0)
        await trio.sleep_until(14.0 + LATER - 0.01)
        assert padded.heard() == [("speech", 0.7)]
        await trio.sleep(1)
        assert padded.begins("silence") == pytest.approx(14.0 + LATER)
        assert counts(padded) == (1, 1, 1)


@MODES
async def test_caller_has_his_tail_four_seconds_behind_the_answer_when_nothing_is_said(mode: TailMode) -> None:
    async with talking(mode) as (padded, pause):
        pause.on_called(0.0)
        pause.on_answered(0.1)
        await say(padded, 0.7)
        await trio.sleep(10)
        assert padded.heard() == [("speech", 0.7), ("silence", 1.7)]
        ended = padded.leg.sent[-1].at + (limits.FRAME_SECONDS if mode == "paced" else 0)
        assert ended == pytest.approx(0.1 + LATER)
        assert counts(padded) == (1, 1, 1)


async def test_tail_is_paid_in_bounded_time_when_nobody_says_that_the_tool_is_done() -> None:
    async with talking() as (padded, pause):
        pause.on_called(0.0)
        await say(padded, 0.7)
        await trio.sleep(60)
        assert padded.begins("silence") == pytest.approx(limits.POST_SECONDS + LATER)


async def test_tail_is_held_through_both_when_one_tool_follows_the_other() -> None:
    async with talking() as (padded, pause):
        pause.on_called(0.0)
        pause.on_answered(0.1)
        await say(padded, 0.7)
        for at in (2.0, 4.0):
            await trio.sleep_until(at)
            pause.on_called(at)
            pause.on_answered(at + 0.1)
        await trio.sleep_until(4.1 + LATER - 0.01)
        assert padded.heard() == [("speech", 0.7)]
        await say(padded, 0.5)
        await trio.sleep(3)
        assert padded.heard() == [("speech", 1.2), ("silence", 1.7)]
        assert counts(padded) == (1, 1, 0)


async def test_next_tail_comes_at_once_when_the_one_before_was_held() -> None:
    async with talking() as (padded, pause):
        pause.on_called(0.0)
        pause.on_answered(0.1)
        await say(padded, 0.7)
        await trio.sleep_until(1.5)
        await say(padded, 0.5)
        await trio.sleep_until(10.0)
        await say(padded, 0.5)
        await trio.sleep(1)
        assert padded.begins("silence") == pytest.approx(10.5 + SETTLE)
        assert counts(padded) == (2, 1, 0)


async def test_rest_of_a_tail_is_paid_when_it_is_paced_and_a_tool_is_called_in_its_middle() -> None:
    async with talking("paced") as (padded, pause):
        await say(padded, 0.5)
        await trio.sleep(1)
        pause.on_called(trio.current_time())
        await trio.sleep(5)
        assert padded.heard() == [("speech", 0.5), ("silence", 1.7)]
        assert counts(padded) == (1, 0, 0)


async def test_tail_is_not_held_when_the_caller_interrupts() -> None:
    async with talking() as (padded, pause):
        pause.on_called(0.0)
        await say(padded, 0.7)
        await trio.sleep_until(2.0)
        await padded.agent_audio.send(CallerInterrupted(0.0))
        await trio.sleep(0.1)
        assert padded.heard() == [("speech", 0.7), ("silence", 1.7)]
        assert padded.begins("silence") == pytest.approx(2.0)


async def test_tail_is_held_when_vapi_announces_a_tool_call_whose_post_is_late() -> None:
    async with talking() as (padded, pause):
        watched = FakeLeg()
        watched.arrives('{"type":"tool-calls","toolCallList":[]}', Closed(1000))
        to_nobody, _ = open_audio_channel(1)
        await ControlMessageWatcher(watched, to_nobody, padded.record).run(trio.TASK_STATUS_IGNORED)
        await say(padded, 0.7)
        await trio.sleep_until(LATER - 0.01)
        assert padded.heard() == [("speech", 0.7)]
        pause.on_called(trio.current_time())
        await trio.sleep(1)
        assert padded.heard() == [("speech", 0.7)]


def ends_in(pause: ToolPause) -> float:
    return pause.ends_by(trio.current_time()) - trio.current_time()


@pytest.mark.parametrize("fate", ["answered", "fails", "takes too long"])
async def test_dispatcher_keeps_the_pause_until_the_post_is_answered_whatever_comes_of_it(fate: str) -> None:
    async with dispatching() as d, trio.open_nursery() as nursery:
        d.database.before = {"answered": lasting(5), "fails": lasting(5), "takes too long": hanging()}[fate]
        card_id = 999 if fate == "fails" else 5
        nursery.start_soon(d.post, call("a", card_id=card_id, new_status="frozen"))
        await trio.sleep(4.5)
        assert ends_in(d.record.tool_pause) == LATER, "it runs"
        await trio.sleep(11)
        answered_at = limits.TOOL_SECONDS if fate == "takes too long" else 5.0
        assert ends_in(d.record.tool_pause) == pytest.approx(answered_at + LATER - 15.5)


async def test_pause_ends_when_the_dispatcher_is_restarted_in_the_middle_of_a_tool() -> None:
    def sink(event: Event) -> None:
        if event.event == "tool-call":
            raise OSError("no space left on the disk")

    async with dispatching(sink=sink) as d:
        await d.post(call("a", **FREEZE))
        await trio.sleep(LATER)
        assert repr(d.supervisor) == "<call: dispatcher running (restarts: 1)>"
        assert ends_in(d.record.tool_pause) == 0
