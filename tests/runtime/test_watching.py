"""What there is to look at: levels, a call's story, the pulse, readiness."""

import json
import math
from array import array

import pytest
import trio

from db.door import DatabaseUnavailable, PoolStatistics
from runtime import frames, limits
from runtime.leg import Audio, MaskedAudio
from runtime.levels import SILENT_DB, Levels, level_db
from runtime.pulse import Pulse
from runtime.readiness import Readiness
from runtime.story import CallStory, StoredEvents
from tests.fakes import new_record


def tone(peak: int, samples: int = 480) -> bytes:
    return array("h", [round(peak * math.sin(n / 4)) for n in range(samples)]).tobytes()


@pytest.mark.parametrize(("peak", "db"), [(0, SILENT_DB), (1, -90), (327, -40), (3_276, -20), (32_767, 0)])
def test_level_is_the_peak_in_db_below_the_loudest(peak: int, db: int) -> None:
    assert level_db(array("h", [0, -peak, 0]).tobytes()) == db


def test_level_of_the_lowest_sample_and_of_nothing() -> None:
    assert level_db(array("h", [-32_768]).tobytes()) == 0
    assert level_db(b"") == SILENT_DB


def test_levels_look_at_one_frame_in_25_and_tell_only_what_is_new() -> None:
    levels, total, looked = Levels(), 0, 0
    for number in range(100):
        total += limits.FRAME_BYTES
        if total >= levels.look_at_bytes:
            levels.look(tone(3_276), number * limits.FRAME_SECONDS, total)
            looked += 1
    assert looked == 4
    assert levels.since(2) == [(1.0, -20), (1.5, -20)]
    assert levels.since(levels.next) == []
    assert levels.now_db(1.9) == -20
    assert levels.now_db(1.5 + limits.LEVEL_FRESH_SECONDS + 0.1) == SILENT_DB, "an old level says nothing about now"


def test_levels_keep_their_numbers_when_the_older_half_goes() -> None:
    levels = Levels()
    for number in range(limits.LEVELS_KEPT + 1):
        levels.look(b"\0\0", float(number), 0)
    assert levels.next == limits.LEVELS_KEPT + 1
    assert len(levels.times) == limits.LEVELS_KEPT // 2 + 1
    assert levels.since(limits.LEVELS_KEPT)[0][0] == limits.LEVELS_KEPT


def told(story: CallStory, *events: tuple[float, str, str]) -> CallStory:
    for t, who, event in events:
        story.on_event(t, who, event, {"turn": 1})
    return story


def test_story_tells_how_long_the_caller_waited_for_each_answer() -> None:
    story = told(
        CallStory(),
        (0.5, "agent", "turn-started"), (1.0, "agent", "turn-stopped"),  # the greeting answers nobody
        (2.0, "caller", "turn-started"), (3.0, "caller", "turn-stopped"),
        (3.2, "caller", "turn-started"), (4.0, "caller", "turn-stopped"),  # he went on: only the last counts
        (4.8, "agent", "turn-started"), (5.0, "agent", "turn-stopped"), (5.5, "agent", "turn-started"),
    )  # fmt: skip
    assert story.turn_latencies == [0.8]
    assert story.turns == {"agent": 3, "caller": 2}
    assert story.speaking == {"agent"}
    assert story.turn_latency_ms == {"last": 800.0, "median": 800.0, "most": 800.0}


def test_story_knows_the_tool_that_runs_and_how_each_was_answered() -> None:
    story, answered = CallStory(), []
    story.on_tool = answered.append
    story.on_event(1.0, "tool", "tool-call", {"id": "t", "name": "replace_card", "arguments": {}})
    assert story.tool_running == "replace_card"
    for more in (
        {"result": 1, "duplicate": False},
        {"error": "no", "duplicate": False},
        {"result": 1, "duplicate": True},
    ):
        story.on_event(1.5, "tool", "tool-answer", {"id": "t", "name": "replace_card", "seconds": 0.5, **more})
    assert story.tool_running is None
    assert [run.outcome for run in story.tools] == ["result", "error", "duplicate"]
    assert answered == story.tools


def test_events_are_kept_short_and_few_with_their_numbers() -> None:
    events = StoredEvents()
    events.add(1.0, "tool", "tool-answer", {"name": "x", "seconds": 1, "result": "y" * limits.STORY_EVENT_BYTES})
    kept = json.loads(events.lines[0])
    assert kept["data"] == {"name": "x", "seconds": 1, "shortened": True}
    for number in range(limits.STORY_EVENTS + 10):
        events.add(float(number), "agent", "turn-started", {})
    assert len(events.lines) <= limits.STORY_EVENTS
    assert json.loads(events.since(events.next - 1)[0])["n"] == events.next - 1
    assert len(events.since(0)) == len(events.lines), "what is gone is gone; its number tells"


def test_story_of_a_record_holds_no_personal_data_unless_it_may() -> None:
    async def main() -> None:
        record = new_record()
        record.event("caller", "transcript", text="my name is Dana Whitfield")
        assert b"Dana" not in b"".join(record.story.events.lines)
        record.story.private = StoredEvents()
        record.event("caller", "transcript", text="my name is Dana Whitfield")
        assert b"Dana" not in b"".join(record.story.events.lines)
        assert b"Dana Whitfield" in record.story.private.lines[0]

    trio.run(main)


async def test_pulse_tells_how_late_the_loop_is(autojump_clock: trio.testing.MockClock) -> None:
    seen: list[float] = []
    pulse = Pulse(seen.append)
    async with trio.open_nursery() as nursery:
        await nursery.start(pulse.run)
        await trio.sleep(1.05)
        assert len(seen) == 10
        autojump_clock.jump(0.25)  # nothing ran meanwhile
        await trio.sleep(0.01)
        assert pulse.lag_seconds == pytest.approx(0.2, abs=0.06)
        await trio.sleep(2)
        assert pulse.lag_seconds < 0.01
        assert pulse.worst_seconds == pytest.approx(0.2, abs=0.06)
        await trio.sleep(limits.PULSE_WINDOW_SECONDS + 1)
        assert pulse.worst_seconds < 0.01
        nursery.cancel_scope.cancel()


class Moody:
    """A database that answers, refuses or hangs. Mutable: `mood`, `asked`."""

    mood = "up"
    asked = 0

    busy = False

    def statistics(self) -> PoolStatistics:
        return PoolStatistics(10 if self.busy else 1, 0, 10, last_query_worked=True)

    async def ping(self) -> None:
        self.asked += 1
        await trio.sleep(1_000 if self.mood == "hangs" else 0)
        if self.mood == "down":
            raise DatabaseUnavailable("refused")


async def test_readiness_asks_the_database_once_for_many_and_says_why_not(
    autojump_clock: trio.testing.MockClock,
) -> None:
    database = Moody()
    ready = Readiness(database)  # type: ignore[arg-type]
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(ready.look)
    assert (database.asked, ready.why_not, ready.database_state) == (1, [], "up")
    for mood, word in (("down", "refused"), ("hangs", "no answer within 2 s")):
        database.mood = mood
        await trio.sleep(limits.READY_KEPT_SECONDS)
        await ready.look()
        assert word in ready.why_not[0]
    database.mood = "up"
    await trio.sleep(limits.READY_KEPT_SECONDS)
    await ready.look()
    assert ready.why_not == []
    database.mood, database.busy = "hangs", True
    await trio.sleep(limits.READY_KEPT_SECONDS)
    await ready.look()
    assert ready.why_not == [], "all connections are at work: it answers others"
    ready.draining = True
    assert "drains" in ready.why_not[0]


def test_events_of_one_call_hold_so_many_bytes_and_no_more() -> None:
    events = StoredEvents()
    for number in range(900):
        events.add(float(number), "caller", "transcript", {"text": "x" * 3_000})
    assert events.size_bytes == sum(map(len, events.lines)) <= limits.STORY_BYTES
    assert [json.loads(line)["n"] for line in events.since(events.first, 2)] == [events.first, events.first + 1]


def test_level_of_a_long_message_is_that_of_its_first_frame() -> None:
    long = tone(3_276) + tone(32_000, 100_000)
    masked = MaskedAudio(b"...." + b"\1\2\3\4" + frames.xored(long, b"\1\2\3\4"), 8, len(long))
    assert level_db(Audio(long).first_frame) == level_db(masked.first_frame) == -20
    assert level_db(b"\0\0\0") == SILENT_DB, "half a sample is none"


def test_long_names_of_tools_are_cut_because_a_model_makes_them_up() -> None:
    story = CallStory()
    story.on_event(1.0, "tool", "tool-call", {"id": "t", "name": "x" * 60_000, "arguments": {}})
    assert len(story.tool_running or "") == limits.AUDIT_CHARACTERS
    story.on_event(1.0, "tool", "tool-answer", {"id": "t", "name": "x" * 60_000, "seconds": 0.1, "duplicate": False})
    assert len(story.tools[0].name) == limits.AUDIT_CHARACTERS
