"""What watching costs: paired with ours, whatever the order; and an onlooker who sees nothing does not go unnoticed."""

import asyncio
import json
import os
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from bench.load.failure import LoadFailure
from bench.load.onlooker import Onlooker
from bench.outcome import Outcome
from bench.plan import Plan
from bench.processes import open_program
from bench.recordings import WAV_BYTES_PER_SECOND, WAV_HEADER_BYTES, Recordings
from bench.results import document
from bench.tables import print_tables
from bench.usage import Memory
from bench.watching import MANNERS, Decoding, Looked, Manner, WatchedWindow
from bench.watching_figures import kib_per_call, ratio
from bench.windows import FailedWindow
from tests.bench.windows import window

FACTORS: dict[Manner, float] = {"ours": 1.0, "idle_console": 1.0, "watched": 1.5, "recorded": 2.0}


def watched(repetitions: int = 7) -> Outcome:
    """Ours costs 10 ms per call second; whatever is done beside it makes the process dearer by its factor."""
    outcome = Outcome(Plan())
    for repetition in range(repetitions):
        for calls in (1, 20, 100):
            for manner in MANNERS:
                factor = FACTORS[manner]
                one = window(
                    "ours", "tls", calls, repetition,
                    cpu_seconds=0.02 * calls * factor, memory=Memory(70 + calls * factor / 8, None, None),
                )  # fmt: skip
                looked = Looked(2.0, 40_960.0, 30_720.0) if manner == "watched" else None
                outcome.watching.windows.append(WatchedWindow(manner, one, looked))
    outcome.watching.decodings.append(Decoding(0.5, 0.3, 120.0))
    return outcome


def test_figures_are_paired_with_ours_of_the_same_repetition() -> None:
    told = json.loads(json.dumps(document(watched(), finished_at="2026-11-23T00:00:00+00:00")))["watching"]
    assert told["watched"]["tls_20"]["cpu_ratio"] == {"n": 7, "median": 1.5, "q1": 1.5, "q3": 1.5}
    assert told["watched"]["tls_20"]["more_cpu_ms_per_second"]["median"] == 100.0
    assert told["watched"]["tls_100"]["scrape_bytes"]["median"] == 30_720
    assert told["recorded"]["tls_100"]["cpu_seconds_per_call_second"]["median"] == 0.02
    assert told["recorded"]["kib_per_call"]["median"] == 256.0
    assert told["kib_per_call_between_calls"] == [20, 100]
    assert told["decoding_cpu_seconds_per_call_minute"]["median"] == 0.1
    assert "cpu_ratio" not in told["ours"]["tls_1"]


def test_repetition_without_ours_is_left_out() -> None:
    windows = watched().watching.windows
    del windows[0]  # ours of the first, with one call
    found = ratio(windows, "recorded", 1, lambda one: one.cpu_per_call)
    assert found is not None
    assert found.n == 6
    assert ratio(windows[:1], "watched", 1, lambda one: one.cpu_per_call) is None
    assert kib_per_call(windows[:2], "watched") is None


def test_lost_frame_and_window_that_was_not_measured_are_held_against_watching() -> None:
    outcome = watched()
    assert [verdict.outcome for verdict in outcome.verdicts] == ["held"]
    outcome.watching.failed.append(FailedWindow("ours", "tls", 100, 3, "watched: the console's stream ended"))
    assert [(verdict.outcome, verdict.spread.median) for verdict in outcome.verdicts] == [("missed", 20_000.0)]


def test_table_names_each_manner_beside_ours() -> None:
    console = Console(width=180, record=True, file=StringIO())
    print_tables(watched(), console)
    told = console.export_text()
    assert "100 idle console" in told
    assert "1.50 [1.50-1.50]" in told
    assert "recorded 256 [256-256]" in told
    assert "decoding 0.100 [0.100-0.100] CPU s per minute of call, after calls of 6.0 s" in told
    assert "2.0 states a second, 40 KiB; figures of 30 KiB" in told


async def test_recordings_are_as_long_as_their_samples(tmp_path: Path) -> None:
    for number in range(2):
        (tmp_path / f"c-{number}.wav").write_bytes(bytes(WAV_HEADER_BYTES + 3 * WAV_BYTES_PER_SECOND // 2))
    (tmp_path / "c-2.frames").touch()
    recordings = Recordings(tmp_path)
    async with open_program("ours", ("this",), core=None, folder=tmp_path, environ={}) as program:
        assert await recordings.wait_decoded(2, program) == 3.0
    recordings.remove_all()
    assert sorted(os.listdir(tmp_path)) == ["c-2.frames", "ours.log"]


ANSWERS = {
    b"/calls ": b'{"calls": [{"id": "c-1", "phase": "over"}, {"id": "c-2", "phase": "live"}]}',
    b"/metrics ": b"voice_calls 1\n",
}


async def look(*, refusing: bytes = b"", closing: bool = False) -> dict[str, float]:
    """At a console that sends a state in two pieces and then waits, refuses one path, or closes the stream."""

    answering: list[asyncio.Task[None] | None] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answering.append(asyncio.current_task())
        target = (await reader.readuntil(b"\r\n\r\n")).split(b" ", 2)[1] + b" "
        status = b"503 Full" if refusing and target.startswith(refusing) else b"200 OK"
        writer.write(b"HTTP/1.1 " + status + b"\r\nConnection: close\r\n\r\n")
        if target == b"/events?call=c-2 " and not closing and status == b"200 OK":
            for piece in (b"retry: 1000\nevent: st", b"ate\ndata: {}\n\n"):
                writer.write(piece)
                await asyncio.sleep(0.02)
            await reader.read()  # until the page is closed
        else:
            writer.write(ANSWERS.get(target, b"8 pages are open already"))
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    onlooker = Onlooker(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
    try:
        await onlooker.begin()
        return await onlooker.end()
    finally:
        await onlooker.stop()
        server.close()
        await asyncio.gather(*(task for task in answering if task is not None), return_exceptions=True)


def test_onlooker_reads_a_running_calls_stream_and_the_figures() -> None:
    seen = asyncio.run(look())
    assert (seen["states"], seen["scrapes"]) == (1, 1)
    assert seen["stream_bytes"] == len("retry: 1000\nevent: state\ndata: {}\n\n")
    assert seen["scrape_bytes"] == len(ANSWERS[b"/metrics "])


def test_onlooker_who_sees_nothing_says_so() -> None:
    with pytest.raises(LoadFailure, match="stream ended, its status was 200"):
        asyncio.run(look(closing=True))
    with pytest.raises(LoadFailure, match="stream ended, its status was 503"):
        asyncio.run(look(refusing=b"/events"))
    with pytest.raises(LoadFailure, match="the console answered 503"):
        asyncio.run(look(refusing=b"/metrics"))
