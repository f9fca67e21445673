"""The simulated engine takes exactly the report of the contract, and keeps what it refused."""

import re
from typing import Any

import httpx
import pytest

from simulation.engine import complaint_about, open_engine

GOOD = {
    "service": "agent",
    "event_type": "agent_tool_call",
    "data": {"name": "find", "arguments": {"last4": "4242"}, "result": {"ok": True}},
}


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
