"""Runs in memory: the product's own doors between the two sides of the load, sound and with a fault planted."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest

from actors.silence_padder import SilencePadder
from actors.vapi_socket_writer import VapiSocketWriter
from runtime.leg import Audio, Passing
from simulation.scenario import load_scenario
from stress.asks import Asks, as_json
from stress.plan import Plan
from stress.sample import Result
from stress.verdict import complaints, first_full
from stress.virtual import run_virtually

PLAN = Plan(calls=2, seconds=1.0, per_second=10.0)
WRONG_FRAME = 40
"""The frame of each call that a fault befalls, together with the one behind it."""
Fault = Callable[[bytes, bytes], list[bytes]]


def run(**changes: Any) -> Result:
    return run_virtually(attrs.evolve(PLAN, **changes), lambda _sample: None)


def plant(monkeypatch: pytest.MonkeyPatch, actor: type[Any], fault: Fault) -> None:
    """In place of two frames of each call, the actor passes on what `fault` makes of them."""
    sound, seen = actor._pass_on, dict[Any, list[bytes]]()

    def faulty(self: Any, audio: Passing) -> bool:
        frames = seen.setdefault(id(self), [])
        frames.append(audio.pcm)
        if len(frames) == WRONG_FRAME:
            return True
        if len(frames) == WRONG_FRAME + 1:
            return all(sound(self, Audio(pcm)) for pcm in fault(*frames[-2:]))
        passed_on: bool = sound(self, audio)
        return passed_on

    monkeypatch.setattr(actor, "_pass_on", faulty)


def test_nothing_is_lost_and_nothing_left_when_five_calls_are_held() -> None:
    result = run(calls=5, tool_every_seconds=0.5)
    assert complaints(result) == []
    assert first_full(result.samples) == "nothing"
    assert result.accounts.up.sent > 5 * 100
    assert result.accounts.down.sent > 5 * 100
    assert result.tools.asked >= 20  # some of them writes
    assert result.plan.calls == len(result.accounts.calls)
    assert result.p99_ms == 0.0


@pytest.mark.parametrize(
    ("actor", "fault", "words"),
    [
        (VapiSocketWriter, lambda _frame, following: [following], "uplink: 2 lost of"),
        (SilencePadder, lambda frame, following: [following, frame], "downlink: 2 reordered of"),
        (VapiSocketWriter, lambda frame, following: [frame, frame, following], "uplink: 2 repeated of"),
        (SilencePadder, lambda frame, following: [frame[:-20], following], "downlink: 2 lost, 2 damaged of"),
    ],
)
def test_fault_is_found_when_a_bridge_has_it(
    monkeypatch: pytest.MonkeyPatch, actor: type[Any], fault: Fault, words: str
) -> None:
    plant(monkeypatch, actor, fault)
    result = run()
    found = complaints(result)
    assert any(line.startswith(words) for line in found), found
    assert [call.number for call in result.accounts.worst] == [0, 1]


def test_each_call_asks_what_the_scenarios_agent_asks() -> None:
    scenario = load_scenario(Path("scenarios/verified-replacement.yaml"))
    result = run(policy=scenario.policy, asks=as_json(Asks.of(scenario)), tool_every_seconds=0.25)
    assert complaints(result) == []
    assert result.tools.refused > 0  # a card is replaced once


def test_slots_are_full_first_when_the_account_has_too_few() -> None:
    result = run(account_slots=1)
    assert result.ended == {"callee_no_answer: vapi_no_slot": 1}
    assert first_full(result.samples) == "slots"
    assert complaints(result)[0] == "1 of 2 calls were not set up"
