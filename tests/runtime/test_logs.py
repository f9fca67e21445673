"""runtime/logs.py: what a line on standard error may cost a call."""

import os

import pytest

from runtime import logs
from runtime.logs import LossyStderr


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
