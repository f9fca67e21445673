"""runtime/logs.py: what a line on standard error may cost a call."""

import json
import os
from collections.abc import Iterator

import pytest
import structlog
import trio

from runtime import logs
from runtime.logs import LossyStderr, configure_logging
from runtime.supervisor import Started, open_supervisor


@pytest.fixture
def lines() -> Iterator["Lines"]:
    """What is written to standard error, as JSON; logging is put back as it was."""
    before = structlog.get_config()
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(logs, "STDERR", writing)
            yield Lines(reading)
    finally:
        structlog.configure(**before)
        os.close(reading)
        os.close(writing)


class Lines:
    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def read(self) -> list[dict[str, object]]:
        try:
            return [json.loads(line) for line in os.read(self._descriptor, 65_536).splitlines()]
        except BlockingIOError:
            return []


def test_every_line_names_its_pod_and_the_call_and_actor_if_it_has_any(lines: Lines) -> None:
    configure_logging("info", "pod-7")
    structlog.get_logger().info("about_nobody")
    structlog.get_logger(actor="Tunnel").info("of_an_actor")
    first, second = lines.read()
    assert (first["pod"], first["actor"], first["call_id"]) == ("pod-7", None, None)
    assert (second["pod"], second["actor"]) == ("pod-7", "Tunnel")
    assert {"level", "timestamp", "event"} <= set(first)


def test_lines_below_the_level_are_not_written(lines: Lines) -> None:
    configure_logging("warning", "pod-7")
    structlog.get_logger().info("not so important")
    structlog.get_logger().warning("important")
    assert [line["event"] for line in lines.read()] == ["important"]


async def test_lines_of_a_call_s_actors_name_the_call_and_the_actor(lines: Lines) -> None:
    configure_logging("info", "pod-7")

    class Talker:
        async def run(self, task_status: Started) -> None:
            task_status.started()
            structlog.get_logger().info("said")
            await trio.sleep_forever()

    async def one_call(call_id: str) -> None:
        structlog.contextvars.bind_contextvars(call_id=call_id)
        async with open_supervisor(call_id, structlog.get_logger()) as supervisor:
            await supervisor.start("Talker", Talker)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(one_call, "c-1")
        nursery.start_soon(one_call, "c-2")
    said = lines.read()
    assert sorted((str(line["call_id"]), line["actor"]) for line in said) == [("c-1", "Talker"), ("c-2", "Talker")]


def test_traceback_is_in_the_line_and_shows_no_values(lines: Lines) -> None:
    configure_logging("info", "pod-7")
    secret = "sk-" + "x" * 20
    try:
        raise ValueError("of what went wrong")
    except ValueError:
        structlog.get_logger().exception("failed")
    (line,) = lines.read()
    assert "of what went wrong" in str(line["exception"])
    assert secret not in json.dumps(line)


def test_line_is_written_whole_when_the_pipe_takes_a_part_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = bytearray()

    def write_a_part(_descriptor: int, data: bytes) -> int:
        taken.extend(data[:3])
        return len(data[:3])

    monkeypatch.setattr(os, "write", write_a_part)
    LossyStderr().write("a line of some length\n")
    assert taken == b"a line of some length\n"


def test_line_is_lost_and_nothing_raised_when_the_reader_has_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    monkeypatch.setattr(logs, "STDERR", writing)
    LossyStderr().write("for nobody\n")
    os.close(writing)
