"""`python -m bench`: wrong use is one clear line and exit code 2."""

import importlib.util
from typing import Any

import pytest
from typer.testing import CliRunner

from bench.cli import app


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--calls", "1,many"], "'many' is not a number of calls"),
        (["--calls", "0"], "'0' is not a number of calls"),
        (["--only", "audio,video"], "'video' is not one of: audio, setup, webhook, growth"),
        (["--transport", "quic"], "'quic' is not one of: tls, plain"),
        (["--repetitions", "0"], "--repetitions 0 is not between"),
        (["--seconds", "nan"], "--seconds nan is not between"),
        (["--results", "/dev/null/x"], "/dev/null/x"),
    ],
)
def test_wrong_use_is_one_line(arguments: list[str], says: str) -> None:
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 2
    assert says in done.stderr
    assert done.stderr.count("\n") == 1


def test_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec

    def find(name: str, *rest: Any) -> Any:
        return None if name == "picows" else real(name, *rest)

    monkeypatch.setattr(importlib.util, "find_spec", find)
    done = CliRunner().invoke(app, [])
    assert done.exit_code == 2
    assert done.stderr == "bench: the bench needs picows: install its extra (pip install '.[bench]')\n"
