"""Scenario files: what they mean, and one clear line for each thing that is wrong in them."""

from pathlib import Path

import pytest

from simulation.scenario import (
    LIMITS,
    AgentTurn,
    Backchannel,
    BargeIn,
    Expectations,
    Faults,
    Gaps,
    HangUp,
    Persona,
    PhoneLine,
    PlayWav,
    RowExpectation,
    Say,
    Scenario,
    ScenarioError,
    Silence,
    ToolCall,
    ToolExpectation,
    Wait,
    load_scenario,
)

WHOLE = """\
schema: 1
name: everything
about: "all keys"
policy: open
fixture: bank
seed: 7
persona: {voice: awb, about: "in a hurry"}
opening: caller
line:
  band_hz: 8000
  snr_db: 15.5
  gaps: {every_ms: 500, lose_ms: 40}
faults:
  vapi: {model_ms: 900, redeliver: true, arguments_as: string}
  engine: {delay_seconds: 1, fail_status: 500}
caller:
  - say: "hello"
  - wav: hello.wav
  - wav: cough.wav
    words: "excuse me"
  - wait: 1.5
  - silence: 3
  - barge_in: 800
  - backchannel: "mhm"
  - backchannel: "right"
    after: 300
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
      matching: {phone: "[0-9]{10}"}
      answer: "card_id"
      refused: false
    - tool: other
  order: any
  never: [pay]
  rows:
    - table: cards
      where: {card_id: 5}
      set: {status: cancelled}
    - table: replacements
      where: {old_card_id: 7}
      absent: true
  unchanged: [users]
  said: ["on its way"]
  never_said: ["frozen", "done"]
  limits: {response_ms: 1500, dead_air_ms: 0}
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
        about="all keys",
        policy="open",
        seed=7,
        persona=Persona("awb", "in a hurry"),
        opening="caller",
        line=PhoneLine(8000, 15.5, Gaps(500, 40)),
        faults=Faults(
            {"model_ms": 900.0, "redeliver": True, "arguments_as": "string"},
            {"delay_seconds": 1.0, "fail_status": 500},
        ),
        caller=(
            Say("hello"),
            PlayWav(tmp_path / "hello.wav"),
            PlayWav(tmp_path / "cough.wav", "excuse me"),
            Wait(1.5),
            Silence(3.0),
            BargeIn(800),
            Backchannel("mhm"),
            Backchannel("right", 300),
            HangUp(),
        ),
        agent=(
            AgentTurn("good day"),
            AgentTurn(calls=(ToolCall("find", {"last4": "0042", "deep": [1, {"a": None}]}),)),
            AgentTurn("bye", end_call=True),
        ),
        expect=Expectations(
            tools=(
                ToolExpectation("find", {"last4": "0042"}, {"phone": "[0-9]{10}"}, "card_id", False),
                ToolExpectation("other"),
            ),
            order="any",
            never=("pay",),
            rows=(
                RowExpectation("cards", {"card_id": 5}, {"status": "cancelled"}),
                RowExpectation("replacements", {"old_card_id": 7}, absent=True),
            ),
            unchanged=("users",),
            said=("on its way",),
            never_said=("frozen", "done"),
            limits={"response_ms": 1500.0, "dead_air_ms": 0.0},
            ending="caller_hung_up",
        ),
        path=path,
    )
    assert scenario.caller_lines == ("hello", "hello.wav", "excuse me")
    assert scenario.backchannels == ("mhm", "right")


def test_scenario_has_defaults(tmp_path: Path) -> None:
    path = write(tmp_path, "schema: 1\nname: n\ncaller:\n  - hang_up: true\n")
    plain = Scenario(
        name="n", caller=(HangUp(),), agent=(), expect=Expectations(), policy="verified", fixture="bank", about="",
        persona=Persona("slt", ""), opening="agent", line=PhoneLine(None, None, None), faults=Faults({}, {}), seed=0,
        path=path,
    )  # fmt: skip
    assert load_scenario(path) == plain


@pytest.mark.parametrize("name", LIMITS)
def test_scenario_may_limit_each_measure(tmp_path: Path, name: str) -> None:
    text = f"schema: 1\nname: n\ncaller:\n  - hang_up: true\nexpect:\n  limits: {{{name}: 2}}\n"
    assert load_scenario(write(tmp_path, text)).expect.limits == {name: 2.0}


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
        (CALLER + "about: 1", 5, "about must be text"),
        (CALLER + "seed: -1", 5, "seed must be a whole number from 0 to 2147483647"),
        (CALLER + "seed: 1.5", 5, "seed must be a whole number"),
        (CALLER + "seed: true", 5, "seed must be a whole number"),
        (CALLER + "opening: nobody", 5, "opening is 'nobody'; use one of agent, caller"),
        (CALLER + "persona: slt", 5, "persona must be a mapping"),
        (CALLER + "persona:\n  accent: x", 6, "unknown key 'accent' in persona"),
        (CALLER + "persona:\n  voice: bob", 6, "persona.voice is 'bob'; use one of slt, rms, awb, kal16"),
        (CALLER + "line:\n  noise: 3", 6, "unknown key 'noise' in line"),
        (CALLER + "line:\n  band_hz: 8000.5", 6, "band_hz must be a whole number from 1000 to 24000"),
        (CALLER + "line:\n  band_hz: 999", 6, "band_hz must be a whole number"),
        (CALLER + "line:\n  snr_db: 91", 6, "snr_db must be a number from 0 to 90"),
        (CALLER + "line:\n  gaps: 4", 6, "line.gaps must be a mapping"),
        (CALLER + "line:\n  gaps:\n    every_ms: 100", 7, "line.gaps lacks the key 'lose_ms'"),
        (CALLER + "line:\n  gaps:\n    every_ms: 10\n    lose_ms: 1", 7, "every_ms must be a whole number from 20"),
        (CALLER + "line:\n  gaps:\n    every_ms: 100\n    lose_ms: 0", 8, "lose_ms must be a whole number from 1"),
        (CALLER + "line:\n  gaps:\n    every_ms: 100\n    lose_ms: 100", 8, "lose_ms must be below every_ms"),
        (CALLER + "faults:\n  network: {}", 6, "unknown key 'network' in faults"),
        (CALLER + "faults:\n  vapi:\n    speed: 1", 7, "unknown key 'speed' in faults.vapi; use one of "),
        (CALLER + "faults:\n  vapi:\n    model_ms: fast", 7, "faults.vapi.model_ms is 'fast'; it must be a number"),
        (CALLER + "faults:\n  vapi:\n    redeliver: 1", 7, "faults.vapi.redeliver is 1; it must be true or false"),
        (CALLER + "faults:\n  vapi:\n    arguments_as: xml", 7, "faults.vapi.arguments_as is 'xml'; it must be one of"),
        (CALLER + "faults:\n  engine:\n    fail_status: '500'", 7, "faults.engine.fail_status is '500'; it must be"),
        (CALLER + "faults:\n  engine:\n    delay: 1", 7, "unknown key 'delay' in faults.engine"),
        (HEAD + "caller:\n  - silence: long", 4, "silence must be a number from 0 to 600"),
        (HEAD + "caller:\n  - backchannel: 1", 4, "backchannel must be text"),
        (HEAD + "caller:\n  - backchannel: mhm\n    after: soon", 5, "after must be a number from 0 to 600000"),
        (HEAD + "caller:\n  - say: x\n    after: 3", 5, "'after' does not go with 'say'; leave it out"),
        (HEAD + "caller:\n  - say: x\n    words: y", 5, "'words' does not go with 'say'"),
        (HEAD + "caller:\n  - wav: x.wav\n    words: 4", 5, "words must be text"),
        (HEAD + "caller:\n  - after: 3", 4, "a caller step has one key out of say, wav"),
        (CALLER + "expect:\n  tools: find", 6, "expect.tools must be a list"),
        (CALLER + "expect:\n  tools:\n    - arguments: {}", 7, "an entry of expect.tools lacks the key 'tool'"),
        (
            CALLER + "expect:\n  tools:\n    - tool: t\n      result: x",
            8,
            "unknown key 'result' in an entry of expect.t",
        ),
        (CALLER + "expect:\n  tools:\n    - tool: t\n      matching: x", 8, "matching must be a mapping"),
        (
            CALLER + "expect:\n  tools:\n    - tool: t\n      matching: {a: '('}",
            8,
            "matching.a is no regular expression",
        ),
        (CALLER + "expect:\n  tools:\n    - tool: t\n      matching: {a: 42}", 8, "matching.a must be text"),
        (CALLER + "expect:\n  tools:\n    - tool: t\n      answer: '['", 8, "answer is no regular expression"),
        (CALLER + "expect:\n  tools:\n    - tool: t\n      refused: 'no'", 8, "refused must be true or false"),
        (CALLER + "expect:\n  order: some", 6, "order is 'some'; use one of same, any"),
        (CALLER + "expect:\n  never: pay", 6, "expect.never must be a list"),
        (CALLER + "expect:\n  never:\n    - 4", 7, "an entry of expect.never must be text"),
        (CALLER + "expect:\n  rows:\n    - {table: t, where: {}}", 7, "an entry of expect.rows has either 'set' or"),
        (
            CALLER + "expect:\n  rows:\n    - {table: t, where: {}, set: {}, absent: true}",
            7,
            "an entry of expect.rows has",
        ),
        (CALLER + "expect:\n  rows:\n    - {table: t, where: {}, absent: 1}", 7, "absent must be true or false"),
        (CALLER + "expect:\n  unchanged:\n    - {}", 7, "an entry of expect.unchanged must be text"),
        (CALLER + "expect:\n  said:\n    - ' '", 7, "an entry of expect.said is empty"),
        (CALLER + "expect:\n  never_said: frozen", 6, "expect.never_said must be a list"),
        (
            CALLER + "expect:\n  limits:\n    speed: 3",
            7,
            "unknown key 'speed' in expect.limits; use one of greeting_ms",
        ),
        (CALLER + "expect:\n  limits:\n    response_ms: -3", 7, "response_ms must be a number from 0 to 600000"),
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
