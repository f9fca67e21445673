"""The shipped scenarios: all can be read, and together they leave nothing out that a scenario can say or test."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from simulation.scenario import (
    LIMITS,
    AgentTurn,
    Backchannel,
    PlayWav,
    Say,
    Scenario,
    ToolExpectation,
    load_scenario,
)
from simulation.scenario_faults import ENGINE_KNOBS, vapi_knobs
from simulation.scenario_reader import EXPECT_KEYS, EXTRA_KEYS, STEP_KEYS, TOOL_KEYS, TOP_KEYS
from tools.policy import tools_under

FOLDER = Path(__file__).parents[2] / "scenarios"
PATHS = sorted(FOLDER.glob("*.yaml"))
AT_LEAST = 30
ENDINGS_OF_A_SOUND_AGENT = {"caller_hung_up", "agent_hung_up", "callee_no_answer"}
KNOBS_TESTED_ELSEWHERE = {
    "dial_within_seconds": "a call nobody dials has no conversation",
    "lose_reply": "a call whose reply was lost has no conversation",
    "over_limit": "needs other calls on the same account",
    "strict_parameters": "of the request, not of the call",
    "tool_timeout_seconds": "needs a database that hangs",
    "stop_reading": "a peer that vanished: nothing is heard any more",
    "stop_sending": "a peer that vanished: nothing is heard any more",
    "send_stall_seconds": "a peer that vanished: nothing is heard any more",
    "finish_seconds": "a bound on the cloud itself",
    "voice_seconds": "our assistant's stopSpeakingPlan overrules it",
}


@cache
def scenarios() -> tuple[Scenario, ...]:
    return tuple(load_scenario(path) for path in PATHS)


@cache
def expected() -> tuple[ToolExpectation, ...]:
    return tuple(one for scenario in scenarios() for one in scenario.expect.tools)


def keys_in(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from keys_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from keys_in(inner)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_shipped_scenario_loads_and_is_named_as_its_file(path: Path) -> None:
    scenario = load_scenario(path)
    assert scenario.name == path.stem
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", scenario.name)
    assert scenario.about, "say what it proves"
    assert scenario.expect.ending in ENDINGS_OF_A_SOUND_AGENT


def test_shipped_scenarios_are_many_and_all_different() -> None:
    contents = {repr((s.caller, s.agent, s.line, s.faults, s.opening, s.policy)) for s in scenarios()}
    assert len(contents) == len(PATHS) >= AT_LEAST


def test_shipped_scenarios_call_every_tool_and_let_each_succeed_and_refuse() -> None:
    tools = {tool.name for tool in tools_under("verified", ["card_tools"])}
    assert {one.tool for one in expected()} == tools
    assert {one.tool for one in expected() if one.refused is True and one.answer} == tools
    assert {one.tool for one in expected() if one.refused is False} == tools


def test_shipped_scenarios_use_every_fault() -> None:
    used = {knob for scenario in scenarios() for knob in scenario.faults.vapi}
    assert used.isdisjoint(KNOBS_TESTED_ELSEWHERE)
    assert used | set(KNOBS_TESTED_ELSEWHERE) == set(vapi_knobs())
    assert {knob for scenario in scenarios() for knob in scenario.faults.engine} == set(ENGINE_KNOBS)


def test_shipped_scenarios_use_every_key_of_the_schema() -> None:
    used = {key for path in PATHS for key in keys_in(yaml.safe_load(path.read_text(encoding="utf-8")))}
    lines = ("band_hz", "snr_db", "gaps", "every_ms", "lose_ms")
    others = ("voice", "calls", "end_call", "set", "absent", "vapi", "engine")
    for keys in (TOP_KEYS, STEP_KEYS, EXTRA_KEYS.values(), EXPECT_KEYS, TOOL_KEYS, LIMITS, lines, others):
        assert set(keys) <= used
    assert {scenario.expect.ending for scenario in scenarios()} == ENDINGS_OF_A_SOUND_AGENT
    assert {scenario.policy for scenario in scenarios()} == {"verified", "open"}


def test_shipped_scenarios_verify_before_a_tool_succeeds_when_the_policy_asks_for_it() -> None:
    for scenario in scenarios():
        if scenario.policy == "verified" and scenario.expect.order == "same":
            before = [one.tool for one in scenario.expect.tools]
            before = before[: before.index("verify_caller")] if "verify_caller" in before else before
            refused = [one.refused for one in scenario.expect.tools[: len(before)]]
            assert all(refused), scenario.name


def test_shipped_scenarios_are_spoken_in_plain_words() -> None:
    odd = [
        (scenario.name, line)
        for scenario in scenarios()
        for line in spoken(scenario)
        if not re.fullmatch(r"[A-Za-z' ,.?—]+", line)
    ]
    assert odd == []


def spoken(scenario: Scenario) -> Iterator[str]:
    for step in (*scenario.caller, *scenario.agent):
        match step:
            case Say(text) | Backchannel(text) | AgentTurn(say=text):
                if text:
                    yield text
            case PlayWav():
                assert step.path.exists()
                yield step.words or "a sound"


def test_readme_tells_of_every_shipped_scenario_and_of_no_other() -> None:
    told = re.findall(r"^\| \[`([a-z-]+)`\]\(([a-z-]+)\.yaml\) \|", (FOLDER / "README.md").read_text(), re.MULTILINE)
    assert sorted(name for name, _ in told) == [path.stem for path in PATHS]
    assert all(name == file for name, file in told)
