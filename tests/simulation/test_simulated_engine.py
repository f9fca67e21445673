"""The simulated engine takes exactly the report of the contract, and keeps what it refused; turns of audio and tool
calls are on one clock."""

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from engine_peers import GOOD, reached, report, turn
from networks import on_loopback, on_the_virtual_network
from typer.testing import CliRunner
from vapi_api import QUICK

import simulation.engine
from runtime.cli import app
from simulation.caller import Caller
from simulation.engine import complaint_about, open_engine
from simulation.loopback import Manners, open_loopback
from simulation.scenario import HangUp, Say, Scenario
from simulation.standalone import post_turns


async def test_engine_keeps_events_by_simulation_in_order_with_their_time() -> None:
    async with open_engine() as engine, httpx.AsyncClient(base_url=engine.base_url, trust_env=False) as http:
        for name, simulation in (("a", "s1"), ("b", "s2"), ("c", "s1")):
            body = {**GOOD, "data": {**GOOD["data"], "name": name}}  # type: ignore[dict-item]
            assert (await http.post(f"/simulations/{simulation}/events", json=body)).status_code == 200
        listed = (await http.get("/simulations/s1/events")).json()
        assert [event["data"]["name"] for event in listed] == ["a", "c"]
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", listed[0]["received_at"])
        assert [event.name for event in engine.events("s1")] == ["a", "c"]
        assert engine.events("s1")[0].arguments == {"last4": "4242"}
        assert engine.events("s1")[0].result == {"ok": True}
        assert (await http.get("/simulations/none/events")).json() == []
        assert (await http.get("/other")).status_code == 404
        assert (await http.put("/simulations/s1/events")).status_code == 405


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in GOOD.items() if name != key}


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        without("service"),
        without("data"),
        {**GOOD, "extra": 1},
        {**GOOD, "service": "Agent"},
        {**GOOD, "event_type": "tool_call"},
        {**GOOD, "data": {"name": "find", "arguments": {}}},
        {**GOOD, "data": {"name": "find", "arguments": "{}", "result": 1}},
        {**GOOD, "data": {"name": "", "arguments": {}, "result": 1}},
        {**GOOD, "data": {"name": "find", "arguments": {}, "result": 1, "more": 1}},
    ],
)
def test_engine_refuses_what_is_not_exactly_the_report(body: Any) -> None:
    assert complaint_about(body)


def test_engine_accepts_any_result() -> None:
    for result in (None, "text", 1, [], {"error": "card not found"}):
        assert not complaint_about({**GOOD, "data": {"name": "find", "arguments": {}, "result": result}})


async def test_engine_answers_400_and_remembers() -> None:
    async with open_engine() as engine, httpx.AsyncClient(base_url=engine.base_url, trust_env=False) as http:
        assert (await http.post("/simulations/s1/events", content=b"{")).status_code == 400
        assert (await http.post("/simulations/s1/events", json=without("data"))).status_code == 400
        assert [simulation for simulation, _, _ in engine.rejected] == ["s1", "s1"]
        engine.fail_status = 503
        assert (await http.post("/simulations/s1/events", json=GOOD)).status_code == 503
        assert not engine.events("s1")


def test_engine_merges_turns_and_tool_calls_by_the_clock_they_share() -> None:
    async def check() -> None:
        async with reached() as (_, http):
            await trio.sleep(10)
            await http.post("/simulations/s 1/events", json=report("late"))
            turns = [turn("agent", 12.25, 14), turn("caller", 7.5, 9.75, "I löst it"), turn("agent", 2, 5.5)]
            assert (await http.post("/simulations/s%201/turns", json={"turns": turns})).json() == {"ok": True}
            trace = (await http.get("/simulations/s%201/trace")).json()
            assert [(line["t"], line["who"], line["event"]) for line in trace] == [
                (0, "agent", "turn"), (5.5, "caller", "turn"), (pytest.approx(8, abs=0.1), "tool", "tool-call"),
                (10.25, "agent", "turn"),
            ]  # fmt: skip
            assert all(list(line) == ["t", "mono", "call", "who", "event", "data"] for line in trace)
            assert trace[1]["data"] == {"ended": 9.75, "text": "I löst it"}
            assert trace[2]["data"]["name"] == "late"
            assert {line["call"] for line in trace} == {"s 1"}
            await http.post("/simulations/a/turns", json={"turns": []})
            assert (await http.get("/simulations")).json() == [{"id": "s 1", "tool_calls": 1, "turns": 3}]
            assert (await http.get("/simulations/a/trace")).json() == []
            assert (await http.get("/simulations/s1/turns")).status_code == 405
            assert (await http.post("/simulations")).status_code == 405
            assert (await http.get("/simulations/s1")).status_code == 404

    on_the_virtual_network(check)


BAD_TURNS = {
    "the body must have exactly the key turns": {"turns": [], "more": 1},
    "turns must be a list": {"turns": {}},
    "turns[1] must have exactly the keys who, started, ended, text": {
        "turns": [turn("agent", 1, 2), turn("agent", 1, 2, at=1)]
    },
    "turns[0].who must be 'caller' or 'agent'": {"turns": [turn("vapi", 1, 2)]},
    "turns[0].started must be CLOCK_MONOTONIC seconds": {"turns": [turn("agent", "1", 2)]},
    "turns[2].ended must be CLOCK_MONOTONIC seconds": {
        "turns": [turn("agent", 1, 2), turn("agent", 1, 2), turn("agent", 1, 10**400)]
    },
    "turns[0].ended must not be before its started": {"turns": [turn("agent", 2, 1)]},
    "turns[0].text must be a string or null": {"turns": [turn("agent", 1, 2, 5)]},
}


def test_engine_says_what_is_wrong_with_turns_and_keeps_none_of_them() -> None:
    async def check() -> None:
        async with reached() as (engine, http):
            bodies = {complaint: json.dumps(body) for complaint, body in BAD_TURNS.items()}
            for started in ("NaN", "-1", "true", "1e999"):
                body = json.dumps({"turns": [turn("agent", 1, 2)]}).replace("1,", f"{started},", 1)
                bodies[f"turns[0].started must be CLOCK_MONOTONIC seconds{' ' * len(bodies)}"] = body
            for complaint, body in bodies.items():
                answer = await http.post("/simulations/s1/turns", content=body)
                assert (answer.status_code, answer.json()) == (400, {"error": complaint.strip()})
            for raw in (b"{", b"[" * 100_000, b'{"turns": [{"text": "\\ud800"}]}', b"\xff"):
                answer = await http.post("/simulations/s1/turns", content=raw)
                assert answer.status_code == 400
                assert answer.json()["error"].startswith("not JSON: ")
                assert "\n" not in answer.json()["error"]
            assert engine.turns("s1") == []
            assert len(engine.rejected) == len(bodies) + 4

    on_the_virtual_network(check)


def test_engine_keeps_no_more_than_its_limit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(simulation.engine, "MAX_EVENTS", 3)

    async def check() -> None:
        async with reached(tmp_path / "store") as (_, http):
            assert (await http.post("/simulations/s1/events", json=report("a"))).status_code == 200
            three = {"turns": [turn("agent", 1, 2)] * 3}
            assert (await http.post("/simulations/s1/turns", json=three)).status_code == 507
            assert (await http.post("/simulations/s1/turns", json={"turns": three["turns"][:2]})).status_code == 200
            assert (await http.post("/simulations/s2/events", json=report("b"))).status_code == 507
            assert (await http.get("/simulations")).json() == [{"id": "s1", "tool_calls": 1, "turns": 2}]
            assert (tmp_path / "store").read_bytes().count(b"\n") == 2

    on_the_virtual_network(check)


def test_caller_and_engine_put_a_call_on_one_clock() -> None:
    scenario = Scenario("short", caller=(Say("I lost my card"), HangUp()))

    async def check() -> None:
        async with reached() as (engine, http), open_loopback(("good day", "bye"), speech=QUICK) as agent:
            await trio.sleep(5)
            called = await Caller(agent.url, scenario, speech=QUICK, patience_seconds=1.0).run()
            assert await post_turns(engine.base_url + "/", "a/b", called) == ""
            trace = (await http.get("/simulations/a%2Fb/trace")).json()
            heard, said = called.agent_speech[0], called.turns[0]
            began = called.connected_mono
            assert [(line["who"], line["data"]["text"]) for line in trace] == [
                ("agent", None), ("caller", "I lost my card"),
            ]  # fmt: skip
            assert [line["mono"] for line in trace] == pytest.approx([began + heard.onset_at, began + said.started_at])
            assert trace[1]["data"]["ended"] == pytest.approx(began + said.last_speech_at)
            engine.fail_status = 503
            complaint = await post_turns(engine.base_url, "s", called)
            assert complaint.endswith('did not take the turns: status 503: {"error":"failing on purpose"}')
        assert "did not take the turns: OSError: " in await post_turns(engine.base_url, "s", called)

    on_the_virtual_network(check)


def test_command_line_exits_with_3_in_one_line_when_the_engine_cannot_be_reached() -> None:
    def call(*options: str) -> tuple[int, str]:
        ran = CliRunner().invoke(app, ["simulate", "caller", *options])
        return ran.exit_code, ran.stderr

    async def check() -> None:
        async with (
            open_loopback(("x",), manners=Manners(hang_up_after=0), speech=QUICK) as agent,
            open_engine() as engine,
        ):
            here = ("--engine", engine.base_url, "--simulation", "s1")
            nobody = ("--engine", "http://127.0.0.1:9", "--simulation", "s1")
            assert await trio.to_thread.run_sync(call, agent.url, *here) == (0, "")
            code, line = await trio.to_thread.run_sync(call, agent.url, *nobody)
        assert (code, line.count("\n")) == (3, 1)
        assert line.startswith("voice: the engine at http://127.0.0.1:9 did not take the turns: ")

    on_loopback(check)
    assert call("ws://127.0.0.1:9", "--engine", "http://127.0.0.1:9")[0] == 2
    assert call("ws://127.0.0.1:9", "--simulation", "s1")[0] == 2
    assert call("ws://127.0.0.1:9", "--engine", "localhost", "--simulation", "s1") == (
        2, "voice: --engine 'localhost' is not a base URL: use https://host[:port][/path], with no query and no"
        " password\n",
    )  # fmt: skip
