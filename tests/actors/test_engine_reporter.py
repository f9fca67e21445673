"""actors/engine_reporter.py: what the engine is told, and what becomes of a report that it does not take."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from actors.engine_reporter import EngineReporter
from runtime import limits
from runtime.supervisor import Exit, Restart, Supervisor, open_supervisor
from tests.fakes import FakeHttp, captured_log

EVENTS_URL = "http://engine:6100/simulations/sim-1/events"


@asynccontextmanager
async def reporting(
    http: FakeHttp, simulation_id: str | None = "sim-1"
) -> AsyncIterator[tuple[EngineReporter, Supervisor]]:
    """A reporter at work for the body, under a supervisor like the process's."""
    reporter = EngineReporter(http, "http://engine:6100", simulation_id)  # type: ignore[arg-type]
    log, _ = captured_log()
    async with open_supervisor("process", log) as process:
        await process.start(
            "EngineReporter", lambda: reporter, restart=Restart(), finish=reporter.close,
            stop_seconds=limits.REPORT_FLUSH_SECONDS,
        )  # fmt: skip
        yield reporter, process


def names(http: FakeHttp) -> list[str]:
    return [body["data"]["name"] for _, _, body in http.requests]


@pytest.mark.parametrize(
    "result", [{"card": {"status": "frozen"}}, {"error": "There is no card 9."}, None, [1], "text"]
)
async def test_engine_is_sent_the_documented_event_when_a_tool_was_called(result: object) -> None:
    http = FakeHttp()
    async with reporting(http) as (reporter, _):
        reporter.report("get_card", {"card_id": 5}, result)
    data = {"name": "get_card", "arguments": {"card_id": 5}, "result": result}
    expected = {"service": "agent", "event_type": "agent_tool_call", "data": data}
    assert http.requests == [("POST", EVENTS_URL, expected)]
    assert reporter.counts == {"reported": 1}


async def test_nothing_is_sent_when_no_simulation_is_named() -> None:
    http = FakeHttp()
    async with reporting(http, None) as (reporter, _):
        for _ in range(2 * limits.REPORTS_ITEMS):
            reporter.report("get_card", {}, None)
    assert http.tried == 0
    assert reporter.counts == {}


async def test_report_never_waits_when_the_engine_is_slow() -> None:
    http = FakeHttp(seconds=1.5)
    async with reporting(http) as (reporter, _):
        for n in range(3):
            reporter.report(f"tool-{n}", {}, None)
        assert trio.current_time() == 0
    assert names(http) == ["tool-0", "tool-1", "tool-2"]


async def test_reports_keep_their_order_when_the_engine_comes_back() -> None:
    http = FakeHttp(down=True)
    async with reporting(http) as (reporter, _):
        for n in range(5):
            reporter.report(f"tool-{n}", {}, None)
        await trio.sleep(60)
        assert http.requests == []
        assert 8 <= http.tried <= 40, "it backs off, at most 5 s"
        http.down = False
        await trio.sleep(6)
    assert names(http) == [f"tool-{n}" for n in range(5)]
    assert reporter.counts == {"reported": 5}


async def test_report_is_tried_again_when_the_engine_has_an_error_of_its_own() -> None:
    http = FakeHttp(status=503)
    async with reporting(http) as (reporter, _):
        reporter.report("a", {}, None)
        await trio.sleep(10)
        http.status = 202
        await trio.sleep(6)
    assert set(names(http)) == {"a"}
    assert reporter.counts == {"reported": 1}


@pytest.mark.parametrize("status", [400, 401, 404, 409, 422])
async def test_report_is_dropped_and_counted_when_the_engine_refuses_it(status: int) -> None:
    http = FakeHttp(status=status)
    async with reporting(http) as (reporter, _):
        reporter.report("a", {}, None)
        await trio.sleep(1)
        http.status = 200
        reporter.report("b", {}, None)
    assert names(http) == ["a", "b"]
    assert reporter.counts == {"reported": 1, "dropped": 1, "dropped_refused": 1}


async def test_report_is_dropped_and_counted_when_the_engine_redirects() -> None:
    http = FakeHttp(status=307)
    async with reporting(http) as (reporter, _):
        reporter.report("a", {}, None)
    assert reporter.counts["reported"] == 0
    assert reporter.counts["dropped"] == 1


async def test_report_is_not_sent_again_when_the_engine_may_have_it() -> None:
    http = FakeHttp(seconds=60)
    async with reporting(http) as (reporter, _):
        reporter.report("a", {}, None)
        await trio.sleep(10)
    assert http.tried == 1
    assert reporter.counts == {"dropped": 1, "dropped_unconfirmed": 1}


async def test_report_is_dropped_and_counted_when_the_queue_is_full() -> None:
    http = FakeHttp(down=True)
    async with reporting(http) as (reporter, _):
        for n in range(limits.REPORTS_ITEMS + 1 + 7):  # one is in hand
            reporter.report(f"tool-{n}", {}, None)
        assert reporter.counts == {"dropped": 7, "dropped_queue_full": 7}
        http.down = False
        await trio.sleep(10)
    assert names(http) == [f"tool-{n}" for n in range(limits.REPORTS_ITEMS + 1)]


async def test_what_is_queued_is_flushed_when_the_process_stops() -> None:
    http = FakeHttp(seconds=0.5)
    async with reporting(http) as (reporter, process):
        for n in range(6):
            reporter.report(f"tool-{n}", {}, None)
    assert trio.current_time() == 3
    assert len(http.requests) == 6
    assert process.exits == [Exit("EngineReporter")]


async def test_process_stops_in_bounded_time_when_the_engine_is_away() -> None:
    http = FakeHttp(down=True)
    async with reporting(http) as (reporter, _):
        reporter.report("a", {}, None)
    assert trio.current_time() == limits.REPORT_FLUSH_SECONDS
    assert reporter.counts == {"dropped": 1, "dropped_cancelled": 1}


async def test_every_report_is_counted_when_the_process_stops_while_the_engine_is_away() -> None:
    http = FakeHttp(down=True)
    async with reporting(http) as (reporter, _):
        for n in range(5):
            reporter.report(f"tool-{n}", {}, None)
    reporter.drop_rest()
    assert reporter.counts == {"dropped": 5, "dropped_cancelled": 1, "dropped_not_flushed": 4}


async def test_rest_is_counted_as_dropped_when_asked_after_the_flush() -> None:
    reporter = EngineReporter(FakeHttp(), "http://engine:6100", "sim-1")  # type: ignore[arg-type]
    for n in range(3):
        reporter.report(f"tool-{n}", {}, None)
    reporter.close()
    reporter.drop_rest()
    reporter.report("late", {}, None)
    assert reporter.counts["dropped"] == 4
    assert reporter.counts["dropped_not_flushed"] == 3


async def test_queue_stays_when_the_reporter_is_cancelled_in_the_middle_of_a_report() -> None:
    http = FakeHttp(seconds=1)
    reporter = EngineReporter(http, "http://engine:6100", "sim-1")  # type: ignore[arg-type]
    for n in range(3):
        reporter.report(f"tool-{n}", {}, None)
    with trio.move_on_after(0.5):
        await reporter.run(trio.TASK_STATUS_IGNORED)
    assert reporter.counts == {"dropped": 1, "dropped_cancelled": 1}
    reporter.close()
    await reporter.run(trio.TASK_STATUS_IGNORED)
    assert names(http) == ["tool-1", "tool-2"]


async def test_report_is_counted_and_the_queue_stays_when_one_cannot_be_written_as_json() -> None:
    http = FakeHttp()
    async with reporting(http) as (reporter, process):
        reporter.report("good", {}, None)
        reporter.report("bad", {"half a pair": "\ud800"}, None)
        reporter.report("good", {}, None)
        await trio.sleep(1)
        assert repr(process) == "<process: EngineReporter running (restarts: 1)>"
    assert names(http) == ["good", "good"]
    assert reporter.counts["dropped"] == 1
