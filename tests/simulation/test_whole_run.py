"""Caller, cloud and engine against a small bridge: the checks pass when all is well and name what is not."""

import json
import wave
from pathlib import Path
from typing import Any

import attrs
import trio
from naive_bridge import open_bridge
from vapi_api import QUICK

from simulation.artifacts import write_artifacts
from simulation.behaviour import Behaviour
from simulation.caller import Caller
from simulation.caller_report import CallerReport
from simulation.checks import Check, check_expectations
from simulation.engine import EngineEvent, open_engine
from simulation.events import Event
from simulation.evidence import Evidence
from simulation.scenario import (
    AgentTurn,
    BargeIn,
    Expectations,
    HangUp,
    RowExpectation,
    Say,
    Scenario,
    ToolCall,
    ToolExpectation,
)
from simulation.standalone import run_caller, serve_engine, serve_vapi
from simulation.vapi_call import SimulatedCall
from simulation.vapi_cloud import open_vapi_cloud

FIND = ToolCall("display_card_info_by_last4", {"last4": "4242"})
SCENARIO = Scenario(
    "short",
    caller=(Say("I lost my card"), Say("thanks bye"), HangUp()),
    agent=(AgentTurn("good day"), AgentTurn("found it", (FIND,))),
    expect=Expectations(
        tools=(ToolExpectation(FIND.tool, FIND.arguments, answer="^yes$", refused=False),),
        never=("change_card_status",),
        rows=(RowExpectation("cards", {"card_id": 5}, {"status": "active"}),),
        said=("found it",),
        never_said=("frozen",),
        ending="caller_hung_up",
    ),
)
ROWS = {"cards": [{"card_id": 4, "status": "frozen"}, {"card_id": 5, "status": "active"}]}


@attrs.frozen
class Run:
    """What one run left."""

    report: CallerReport
    call: SimulatedCall
    events: list[EngineEvent]

    def checks(self, scenario: Scenario = SCENARIO, rows: Any = ROWS) -> list[Check]:
        return check_expectations(scenario, Evidence(self.report, self.call, self.events, rows))

    def failed(self, scenario: Scenario = SCENARIO, rows: Any = ROWS) -> list[str]:
        return [check.name for check in self.checks(scenario, rows) if not check.passed]


async def hold(result: str = "yes", scenario: Scenario = SCENARIO, **bridge: Any) -> Run:
    """Run a scenario through the bridge."""
    behaviour = Behaviour(endpointing_ms=200, model_ms=50, after_tools_ms=0)
    async with (
        open_vapi_cloud(agent=scenario.agent, speech=QUICK, behaviour=behaviour) as cloud,
        open_engine() as engine,
        open_bridge(cloud.base_url, engine.base_url, lambda _name, _arguments: result, **bridge) as running,
    ):
        report = await Caller(running.url, scenario, speech=QUICK, patience_seconds=0.8).run()
        with trio.fail_after(5):
            await cloud.calls[0].over.wait()
        return Run(report, cloud.calls[0], engine.events("s1"))


async def test_run_passes_all_checks_and_leaves_its_artifacts(tmp_path: Path) -> None:
    run = await hold()
    assert run.failed() == []
    extra = [Event(0.0, run.report.connected_mono + 0.1, "c", "runtime", "something")]
    made = write_artifacts(tmp_path / "run", SCENARIO, run.report, run.call, run.checks(), events=extra)
    with wave.open(str(made.call_wav)) as recording:
        assert (recording.getnchannels(), recording.getframerate()) == (2, 24_000)
        assert recording.getnframes() / 24_000 >= run.report.duration_seconds - 0.1
    assert made.timeline_png.read_bytes().startswith(b"\x89PNG")
    trace = [json.loads(line) for line in made.trace_jsonl.read_text().splitlines()]
    assert all(list(line) == ["t", "mono", "call", "who", "event", "data"] for line in trace)
    assert [line["mono"] for line in trace] == sorted(line["mono"] for line in trace)
    assert {"caller", "vapi", "agent", "tool", "runtime"} <= {line["who"] for line in trace}
    summary = json.loads(made.summary_json.read_text())
    assert (summary["schema"], summary["outcome"], summary["ended_by"]) == (1, "caller_hung_up", "caller")
    assert summary["turns"] == 2
    assert summary["tools"][0]["name"] == FIND.tool
    assert all(check["passed"] for check in summary["checks"])
    assert summary["latency_ms"]["response_p50"] > 200
    assert all(check["checked"] for check in summary["checks"])
    assert run.failed(attrs.evolve(SCENARIO, expect=Expectations())) == ["the expected tools were called"]
    assert run.failed(rows={"cards": [{"card_id": 5, "status": "frozen"}]}) == [
        "cards where card_id = 5: status = active"
    ]
    assert run.failed(rows={"cards": []}) == run.failed(rows={}) == run.failed(rows=None) != []


async def test_run_with_a_barge_in_is_bit_for_bit_around_what_was_cut() -> None:
    scenario = attrs.evolve(
        SCENARIO,
        caller=(Say("hello there"), BargeIn(300), Say("wait a moment please"), Say("thanks bye"), HangUp()),
        agent=(AgentTurn("good day"), AgentTurn("a " * 20), AgentTurn("as you wish")),
        expect=Expectations(ending="caller_hung_up"),
    )
    run = await hold(scenario=scenario)
    assert (run.call.interruptions, len(run.call.resumptions)) == (1, 1)
    assert run.failed(scenario) == []
    assert run.report.turns[1].stop_ms is not None
    assert 150 < run.report.turns[1].stop_ms < 700


async def test_run_without_a_tail_is_a_deadlock() -> None:
    run = await hold(pays_tail=False)
    assert run.report.ending == "deadlock"
    assert "the call ended as caller_hung_up" in run.failed()


async def test_run_with_a_lost_frame_is_not_bit_for_bit() -> None:
    run = await hold(drop_frame=28)
    assert run.failed() == ["Vapi heard the caller bit for bit"]


async def test_run_with_a_line_break_in_the_answer_fails() -> None:
    run = await hold(result="two\nlines")
    assert run.failed() == ["Vapi accepted every answer of the webhook", "the tools answered as expected"]


def test_checks_without_witnesses_fail() -> None:
    report = CallerReport("short", "ws://x", "binary", "unreachable", "unreachable: x", 0.0, 0.0)
    checks = check_expectations(SCENARIO, Evidence(report))
    assert [check.name for check in checks if check.passed] == ["the agent kept the channel's rules"]


async def test_standalone_parties_print_their_address_and_their_events(tmp_path: Path) -> None:
    lines: list[str] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: serve_vapi(0, SCENARIO, write=lines.append))
        nursery.start_soon(lambda: serve_engine(0, write=lines.append))
        with trio.fail_after(5):
            while len(lines) < 2:  # noqa: ASYNC110  # printed lines have no event
                await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    assert any(line.startswith("vapi listening on http://127.0.0.1:") for line in lines)
    assert any(line.startswith("engine listening on http://127.0.0.1:") for line in lines)
    lines.clear()
    report = await run_caller("ws://127.0.0.1:1/voice?token=x", SCENARIO, "binary", tmp_path, write=lines.append)
    assert report.ending == "unreachable"
    assert "token" not in lines[0]
    assert json.loads((tmp_path / "summary.json").read_text())["outcome"] == "unreachable"
