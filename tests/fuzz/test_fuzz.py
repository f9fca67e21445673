"""The fuzzing as its users start it, and the defects that it must find: an oracle that flags nothing proves nothing."""

import os
import re
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from fuzz import jobs
from fuzz.batch import TARGETS, Target
from fuzz.jobs import batches, run_guarded
from runtime import http_door
from runtime.http_door import ContainedTCPServer
from runtime.tap import Tap
from runtime.voice_door import VoiceDoor

ROOT = Path(__file__).parents[2]
WALL_SECONDS = 120  # 10 on two idle cores, and tests run beside it
Plant = Callable[[pytest.MonkeyPatch], None]


def python_fuzz(*options: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "fuzz", *options]
    return subprocess.run(
        command, cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, timeout=WALL_SECONDS, check=False
    )


def test_nothing_is_flagged_in_two_hundred_cases() -> None:
    done = python_fuzz("--cases", "200", "--seed", "7", "--jobs", "2")
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert re.search(r"200 cases \(webhook 140, caller 40, vapi 20\), seed 7, .*: 0 flagged", done.stdout)
    # What is worth sending did come through.
    for what in ("webhook: answered 200", "webhook: answered 400", "webhook: answered 401", "caller: answered 101",
                 "caller: ended: half_a_sample", "caller: ended: malformed_message", "vapi: ended: vapi_lost",
                 "vapi: ended: callee_no_answer", "vapi: ended: call_ended"):  # fmt: skip
        assert re.search(rf"{what} [1-9]", done.stdout), f"no {what} in two hundred cases"


def test_connection_is_not_left_waiting_for_an_app_that_was_cut_off() -> None:
    """More had come behind requests that were never answered: the reader waited, and a place was lost for ever."""
    assert run_guarded(0, "webhook", range(2250, 2500)).flags == []


def test_a_case_is_the_same_when_another_process_replays_it() -> None:
    first, second = (python_fuzz("--seed", "7", "--replay", "caller:0..9").stdout for _ in range(2))
    assert "answered 101" in first
    assert first == second


@pytest.mark.parametrize("replay", ["webhook", "nobody:3", "vapi:1..", "caller:-1"])
def test_fuzz_says_what_to_write_when_a_case_makes_no_sense(replay: str) -> None:
    done = python_fuzz("--replay", replay)
    assert done.returncode == 2
    assert done.stderr.startswith("fuzz: --replay")


def test_cases_are_numbered_and_none_is_left_out() -> None:
    planned = list(batches(1_000))
    for target in TARGETS:
        cases = [case for batch in planned if batch.target == target for case in batch.cases]
        assert sorted(cases) == list(range(len(cases)))
    assert sum(len(batch.cases) for batch in planned) == 1_000


def no_barrier(patch: pytest.MonkeyPatch) -> None:
    """What hypercorn raises goes where it likes."""

    async def bare(serve: Callable[[], Awaitable[None]], _stream: Any) -> None:
        await serve()

    patch.setattr(http_door, "behind_the_barrier", bare)


def app_that_raises(patch: pytest.MonkeyPatch) -> None:
    """A post that cannot be read is an error of ours."""
    patch.setattr("runtime.webhook.BadPost", KeyError)


def connection_left_open(patch: pytest.MonkeyPatch) -> None:
    """Nobody looks at idle connections."""

    async def never(_self: ContainedTCPServer) -> None:
        await trio.sleep_forever()

    patch.setattr(ContainedTCPServer, "_idle_timeout", never)
    patch.setattr("runtime.limits.HTTP_IDLE_SECONDS", 1e9)


def decoder_that_loops(patch: pytest.MonkeyPatch) -> None:
    """A frame that is not whole is looked at again, and again."""
    honest = Tap.next

    def eager(self: Tap) -> Any:
        while (message := honest(self)) is None and self.kept_bytes:
            pass
        return message

    patch.setattr(Tap, "next", eager)
    patch.setattr(jobs, "BATCH_WALL_SECONDS", 2)


def reader_that_raises(patch: pytest.MonkeyPatch) -> None:
    """A message of Vapi's that nobody has heard of is an error of ours."""

    def strict(text: str) -> Any:
        return {"speech-update": None}[text]

    patch.setattr("actors.control_message_watcher.parse_vapi_message", strict)


def leg_left_open(patch: pytest.MonkeyPatch) -> None:
    """A caller who says nothing in his handshake is waited for."""
    patch.setattr("runtime.limits.HANDSHAKE_SECONDS", 1e9)


def door_that_falls(patch: pytest.MonkeyPatch) -> None:
    async def fall(self: VoiceDoor, *_arguments: Any) -> None:
        self.end_calls_now()
        await trio.lowlevel.checkpoint()

    patch.setattr(VoiceDoor, "_call", fall)


@pytest.mark.parametrize(
    ("plant", "target", "cases"),
    [
        (no_barrier, "webhook", 60),
        (app_that_raises, "webhook", 10),
        (connection_left_open, "webhook", 20),
        (decoder_that_loops, "caller", 10),
        (leg_left_open, "caller", 30),
        (reader_that_raises, "vapi", 10),
        (door_that_falls, "caller", 10),
    ],
)  # so many, from 0 on, find it
def test_fuzz_finds_the_defect_when_it_is_planted(
    plant: Plant, target: Target, cases: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not run_guarded(7, target, range(cases)).flags
    plant(monkeypatch)
    assert run_guarded(7, target, range(cases)).flags
