"""Scenario files: what they mean, and one clear line for each thing that is wrong in them."""

from pathlib import Path

import pytest

from simulation.scenario import (
    AgentTurn,
    BargeIn,
    Expectations,
    HangUp,
    PlayWav,
    RowExpectation,
    Say,
    Scenario,
    ScenarioError,
    ToolCall,
    Wait,
    load_scenario,
)

WHOLE = """\
schema: 1
name: everything
policy: open
fixture: bank
caller:
  - say: "hello"
  - wav: hello.wav
  - wait: 1.5
  - barge_in: 800
  - hang_up: true
agent:
  - say: "good day"
  - calls:
      - tool: find
        arguments: {last4: "0042", deep: [1, {a: null}]}
  - say: "bye"
    end_call: true
expect:
  tools:
    - tool: find
      arguments: {last4: "0042"}
    - tool: other
  rows:
    - table: cards
      where: {card_id: 5}
      set: {status: cancelled}
  ending: caller_hung_up
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "s.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_scenario_with_every_key_is_read(tmp_path: Path) -> None:
    path = write(tmp_path, WHOLE)
    scenario = load_scenario(path)
    assert scenario == Scenario(
        name="everything",
        policy="open",
        caller=(Say("hello"), PlayWav(tmp_path / "hello.wav"), Wait(1.5), BargeIn(800), HangUp()),
        agent=(
            AgentTurn("good day"),
            AgentTurn(calls=(ToolCall("find", {"last4": "0042", "deep": [1, {"a": None}]}),)),
            AgentTurn("bye", end_call=True),
        ),
        expect=Expectations(
            tools=(ToolCall("find", {"last4": "0042"}), ToolCall("other")),
            rows=(RowExpectation("cards", {"card_id": 5}, {"status": "cancelled"}),),
            ending="caller_hung_up",
        ),
        path=path,
    )
    assert scenario.caller_lines == ("hello", "hello.wav")


def test_scenario_has_defaults(tmp_path: Path) -> None:
    scenario = load_scenario(write(tmp_path, "schema: 1\nname: n\ncaller:\n  - hang_up: true\n"))
    assert (scenario.policy, scenario.fixture, scenario.agent, scenario.expect) == (
        "verified",
        "bank",
        (),
        Expectations(),
    )


HEAD = "schema: 1\nname: n\n"
CALLER = HEAD + "caller:\n  - hang_up: true\n"


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("", 1, "is empty"),
        ("a: [1", 1, "is not YAML"),
        ("- 1", 1, "the scenario must be a mapping"),
        ("schema: 1\nname: n", 1, "the scenario lacks the key 'caller'"),
        ("schema: 2\nname: n\ncaller: []", 1, "schema must be 1"),
        (HEAD + "caller: []", 3, "caller has no steps"),
        (HEAD + "caller: hello", 3, "caller must be a list"),
        (HEAD + "colour: red\ncaller: []", 3, "unknown key 'colour' in the scenario"),
        (HEAD + "name: m\ncaller: []", 3, "key 'name' stands twice"),
        (HEAD + "caller:\n  - shout: x", 4, "unknown key 'shout' in a caller step"),
        (HEAD + "caller:\n  - say: x\n    wait: 1", 4, "a caller step has one key"),
        (HEAD + "caller:\n  - say: 4242", 4, "say must be text"),
        (HEAD + "caller:\n  - say: ' '", 4, "say is empty"),
        (HEAD + "caller:\n  - say: x\n  - wait: soon", 5, "wait must be a number"),
        (HEAD + "caller:\n  - wait: -1", 4, "wait must be a number"),
        (HEAD + "caller:\n  - barge_in: true", 4, "barge_in must be a number"),
        (HEAD + "caller:\n  - hang_up: no", 4, "hang_up must be true"),
        (CALLER + "policy: loose", 5, "policy is 'loose'; use one of verified, open"),
        (CALLER + "fixture: shop", 5, "fixture is 'shop'"),
        (CALLER + "agent:\n  - {}", 6, "an agent turn needs"),
        (CALLER + "agent:\n  - calls:\n      - arguments: {}", 7, "an entry of calls lacks the key 'tool'"),
        (CALLER + "agent:\n  - calls:\n      - tool: t\n        arguments: [1]", 8, "arguments must be a mapping"),
        (CALLER + "agent:\n  - say: x\n    end_call: 1", 7, "end_call must be true or false"),
        (CALLER + "expect:\n  ending: fine", 6, "ending is 'fine'"),
        (CALLER + "expect:\n  rows:\n    - table: t", 7, "an entry of expect.rows lacks the key 'where'"),
        (CALLER + "expect:\n  rows:\n    - {table: t, where: {}, set: 1}", 7, "set must be a mapping"),
        (CALLER + "expect:\n  tool: []", 6, "unknown key 'tool' in expect"),
    ],
)
def test_scenario_error_is_one_line_with_file_line_and_remedy(
    tmp_path: Path, text: str, line: int, problem: str
) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ScenarioError) as caught:
        load_scenario(path)
    message = str(caught.value)
    assert message.startswith(f"{path}:{line}: {problem}")
    assert "\n" not in message


def test_scenario_that_is_not_there_or_not_text_says_so(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="cannot be read: No such file"):
        load_scenario(tmp_path / "none.yaml")
    (tmp_path / "s.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ScenarioError, match="is not UTF-8"):
        load_scenario(tmp_path / "s.yaml")
