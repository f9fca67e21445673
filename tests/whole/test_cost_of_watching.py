"""What watching costs per frame, counted: no Python call into metrics, logs, console or recording."""

import sys
from collections import Counter
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest
import trio

from runtime import limits
from runtime.recording import Recording
from simulation.scenario import AgentTurn
from tests.endings.stage import open_stage, words
from tests.house_rules import ROOT

SECONDS = 15.0
WATCHING = {
    *(f"runtime/{name}.py" for name in ("levels", "story", "logs", "pulse", "history", "summary", "audit", "masking")),
    *(path.relative_to(ROOT).as_posix() for path in (ROOT / "runtime").glob("metrics*.py")),
    *(path.relative_to(ROOT).as_posix() for path in (ROOT / "runtime").glob("record*.py")),
    *(path.relative_to(ROOT).as_posix() for path in (ROOT / "console").glob("*.py")),
}
PACKAGES = ("structlog", "prometheus_client", "logging")


class Calls:
    """Counts calls of Python functions that watch, by name: all of ours, and those of others that we call."""

    def __init__(self) -> None:
        self.of: Counter[str] = Counter()
        self._kinds: dict[CodeType, str] = {}

    def __call__(self, frame: FrameType, event: str, _argument: Any) -> None:
        if event != "call":
            return
        kind = self._kind(frame.f_code)
        caller = self._kind(frame.f_back.f_code) if kind == "library" and frame.f_back is not None else ""
        if kind == "watching" or caller in ("watching", "product"):
            self.of[frame.f_code.co_name] += 1

    def _kind(self, code: CodeType) -> str:
        if (kind := self._kinds.get(code)) is None:
            kind = self._kinds[code] = _kind(Path(code.co_filename))
        return kind


def _kind(path: Path) -> str:
    place = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else ""
    if place in WATCHING:
        return "watching"
    if any(f"/{package}/" in path.as_posix() for package in PACKAGES):
        return "library"
    return "product" if place.startswith(("runtime/", "actors/")) else ""


async def test_a_thousand_frames_call_nothing_that_watches_but_the_level_of_one_in_25() -> None:
    async with open_stage(CONSOLE_BIND="127.0.0.1:0") as stage:
        stage.world.cloud.agent = (AgentTurn(say=words(SECONDS * 2)),)
        async with stage.live_call(speaks=True) as call:
            counts = call.record.counts
            await stage.world.until(lambda: counts["downlink_frames"] > 10)
            kept = call.record.recording = Recording(call.record.id, call.record.started_at)
            before, calls = counts["uplink_frames"] + counts["downlink_frames"], Calls()
            sys.setprofile(calls)
            await trio.sleep(SECONDS)
            sys.setprofile(None)
            frames = counts["uplink_frames"] + counts["downlink_frames"] - before
            assert len(kept.caller) + len(kept.agent) == pytest.approx(frames, abs=3)
    assert frames >= 1000
    looked = calls.of.pop("look")
    assert 0 < looked <= 2 * SECONDS * limits.AUDIO_BYTES_PER_SECOND / limits.LEVEL_EVERY_BYTES + 2  # both voices
    assert calls.of.pop("level_db") == looked
    assert calls.of.pop("age_seconds") <= looked + 10
    # The pulse goes ten times a second whatever passes; of the switchboard's wakes one in 25 is timed.
    beats = SECONDS / limits.PULSE_SECONDS + 2
    assert calls.of.pop("run") <= beats
    assert calls.of.pop("loop_lag") <= beats
    assert calls.of.pop("switchboard_turn") <= frames / limits.SWITCHBOARD_TIMED_WAKES + 2
    of_prometheus = sum(
        calls.of.pop(name, 0) for name in ("observe", "_raise_if_not_observable", "_is_observable", "inc")
    )
    assert sum(calls.of.values()) <= 20, calls.of
    assert of_prometheus <= 10 * (beats + frames / limits.SWITCHBOARD_TIMED_WAKES)
