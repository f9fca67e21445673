"""The page at /metrics: what Prometheus reads, and its conventions."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from runtime.errors import CallerError, VendorError
from runtime.house import House
from runtime.metrics import ENDINGS, NO_ANSWER_CAUSES, Metrics, all_tools
from runtime.record import Ending
from runtime.story import ToolRun
from tests.fakes import new_record
from tests.runtime.metrics_page import OPENMETRICS, Watch, families, figures, open_house

NAME = re.compile(r"voice_[a-z]+(_[a-z]+)*")
UNITS = ("seconds", "bytes")
OTHER_UNITS = ("milliseconds", "ms", "minutes", "kilobytes", "kb", "percent")


@pytest.fixture
async def house() -> AsyncIterator[House]:
    async with open_house() as opened:
        yield opened


async def test_both_formats_are_parsed_and_tell_the_same(house: House) -> None:
    text, openmetrics = await families(house), await families(house, OPENMETRICS)
    ours = [
        {key: value for key, value in figures(one).items() if key[0].startswith("voice_")}
        for one in (text, openmetrics)
    ]
    assert ours[0] == ours[1]
    assert len(ours[0]) > 200


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", "text/plain; version=0.0.4; charset=utf-8"),
        ("*/*", "text/plain; version=0.0.4; charset=utf-8"),
        ('text/plain;version=x";q=', "text/plain; version=0.0.4; charset=utf-8"),
        (OPENMETRICS, "application/openmetrics-text; version=1.0.0; charset=utf-8"),
        ("application/openmetrics-text;version=a.b\x00", "application/openmetrics-text; version=1.0.0; charset=utf-8"),
    ],
)
async def test_format_is_the_one_that_accept_names(house: House, accept: str, expected: str) -> None:
    page, content_type = await house.metrics.page(accept)
    assert content_type == expected
    assert page.endswith(b"# EOF\n") == ("openmetrics" in expected)


async def test_names_and_units_follow_the_conventions(house: House) -> None:
    for family in await families(house):
        words = family.name.split("_")
        if family.name.startswith("voice_"):
            assert NAME.fullmatch(family.name), family.name
            assert family.documentation.endswith("."), family.name
        assert family.documentation, family.name
        assert not set(words) & set(OTHER_UNITS), family.name
        assert family.type in ("counter", "gauge", "histogram"), family.name
        if (unit := set(words) & set(UNITS)) and family.name.startswith("voice_"):
            assert words[-1] in unit, family.name
        for sample in family.samples:
            assert sample.name.endswith("_total") == (family.type == "counter"), sample.name
            assert all(re.fullmatch(r"[a-z_]+", label) for label in sample.labels), sample


async def test_labels_stay_few_when_everything_has_happened(house: House) -> None:
    record = new_record()
    for number in range(100):
        house.metrics.call_over(record, Ending("vapi", f"word-{number}", 1011))
        house.metrics.call_over(record, Ending("vapi", f"callee_no_answer: cause-{number}", 1011))
        house.metrics.tool_answered(ToolRun(f"tool-{number}", "error", 0.01))
    for family in await families(house):
        children = {
            frozenset(sample.labels.items()) for sample in family.samples if not sample.name.endswith("_bucket")
        }
        most = 30 if "tool" not in family.name else 4 * (1 + len(all_tools()))  # by outcome; and `unknown`
        assert len(children) <= most, family.name
    moved = figures(await families(house))
    assert moved["voice_calls_ended_total", frozenset({("ended_by", "vapi"), ("reason", "other")})] == 100
    assert moved["voice_calls_not_answered_total", frozenset({("cause", "other")})] == 100
    assert moved["voice_tool_calls_total", frozenset({("tool", "unknown"), ("outcome", "error")})] == 100


async def test_hostile_text_is_escaped_when_it_is_a_label() -> None:
    hostile = 'a"} 1\nvoice_calls 9\\\n# EOF'
    async with open_house() as calm:
        settings = attrs.evolve(calm.settings, pod_id=hostile)
    async with open_house(settings=settings) as house:
        for accept in ("", OPENMETRICS):
            (info,) = [one for one in await families(house, accept) if one.name.startswith("voice_build")]
            assert [sample.labels["pod"] for sample in info.samples] == [hostile]


def test_every_way_to_end_is_known() -> None:
    words = {(by, kind.word) for by, root in (("caller", CallerError), ("vapi", VendorError)) for kind in below(root)}
    own = {
        ("caller", "call_ended"),
        ("vapi", "call_ended"),
        ("runtime", "shutting_down"),
        ("runtime", "internal_error"),
    }
    assert words | own == set(ENDINGS)


def below(kind: Any) -> list[Any]:
    """The classes of errors that are raised: ours, and not a test's."""
    found = [one for one in kind.__subclasses__() if one.__module__.startswith("runtime.")]
    return [*found, *(deeper for one in found for deeper in below(one))]


def test_every_cause_of_no_answer_is_known() -> None:
    source = Path("runtime/errors.py").read_text()
    listed = source[source.index("cause: str") : source.index("line: str")]
    assert set(re.findall(r"\b(?:vapi|tunnel)_[a-z_]+", listed)) == set(NO_ANSWER_CAUSES)


async def test_two_processes_share_nothing() -> None:
    one, other = Metrics(), Metrics()
    one.loop_lag(0.5)
    assert b"voice_loop_lag_seconds_count 1.0" in (await one.page(""))[0]
    assert b"voice_loop_lag_seconds_count 0.0" in (await other.page(""))[0]


async def test_histograms_move_when_something_is_observed(house: House) -> None:
    watch, record = await Watch.begun(house), new_record()
    house.metrics.loop_lag(0.003)
    house.metrics.switchboard_turn(0.0004)
    house.metrics.tool_answered(ToolRun("verify_caller", "result", 0.02))
    house.metrics.tool_answered(ToolRun("verify_caller", "duplicate", 0.001))
    assert await watch.moved() == {
        "voice_loop_lag_seconds_count": 1, "voice_switchboard_turn_seconds_count": 1,
        "voice_tool_calls_total{result,verify_caller}": 1, "voice_tool_calls_total{duplicate,verify_caller}": 1,
        "voice_tool_duration_seconds_count{verify_caller}": 2,
    }  # fmt: skip
    record.live_at, record.teardown_seconds = record.started_at + 0.8, 0.05
    record.story.turn_latencies += [0.7, 0.9]
    record.peaks |= {"caller_audio_seconds": 0.04, "agent_audio_seconds": 2.5, "tool_posts_items": 1}
    house.metrics.call_over(record, Ending("vapi", "callee_no_answer: tunnel_busy", 1011))
    assert await watch.moved() == {
        "voice_calls_ended_total{vapi,callee_no_answer}": 1, "voice_calls_not_answered_total{tunnel_busy}": 1,
        "voice_call_setup_seconds_count": 1, "voice_call_teardown_seconds_count": 1,
        "voice_call_duration_seconds_count": 1, "voice_turn_latency_seconds_count": 2,
        "voice_channel_peak_seconds_count{caller_audio}": 1, "voice_channel_peak_seconds_count{agent_audio}": 1,
        "voice_tool_queue_peak_posts_count": 1,
    }  # fmt: skip


async def test_calls_have_their_turn_while_a_page_is_made(house: House) -> None:
    turns = 0

    async def other_calls() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other_calls)
        read = await families(house)
        nursery.cancel_scope.cancel()
    assert turns >= len(read) - 2  # it may not have begun at the first, and have ended before the last
