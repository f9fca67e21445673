"""An engine with a store knows what an earlier one was told, whatever moment that was killed at."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from engine_peers import GOOD, reached, report, turn
from networks import on_loopback, on_the_virtual_network
from typer.testing import CliRunner

from runtime.cli import app
from simulation.engine import open_engine
from simulation.engine_store import StoreError


def last_line(store: Path) -> Any:
    return json.loads(store.read_bytes().splitlines()[-1])


async def told(store: Path, *names: str) -> tuple[Any, Any]:
    """Tell an engine of tool calls; what it shows then of events and trace, as sent."""
    async with reached(store) as (_, http):
        for name in names:
            assert (await http.post("/simulations/s1/events", json=report(name))).status_code == 200
            # In the file before the answer: a kill may come at any moment from here on.
            assert last_line(store)["event"] == report(name)
        turns = [turn("caller", 0.5, 1, "line\u2028break")] if names else []
        await http.post("/simulations/s1/turns", json={"turns": turns})
        return (await http.get("/simulations/s1/events")).content, (await http.get("/simulations/s1/trace")).content


def test_engine_shows_the_same_bytes_when_it_is_started_again(tmp_path: Path) -> None:
    store = tmp_path / "store.jsonl"
    shown: list[tuple[bytes, bytes]] = []

    async def run(*names: str) -> None:
        shown.append(await told(store, *names))

    on_the_virtual_network(lambda: run("a", "b"))
    on_the_virtual_network(run)
    assert shown[0] == shown[1]
    on_the_virtual_network(lambda: run("c"))
    assert [event["data"]["name"] for event in json.loads(shown[2][0])] == ["a", "b", "c"]
    assert shown[2][0].startswith(shown[0][0][:-1])
    lines = [json.loads(line) for line in store.read_bytes().split(b"\n")[:-1]]
    assert [sorted({"event", "turns"} & set(line)) for line in lines] == [["event"]] * 2 + [
        ["turns"],
        ["event"],
        ["turns"],
    ]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", line["received_at"]) for line in lines)
    assert all(line["mono"] >= 0 for line in lines)
    assert store.stat().st_mode & 0o077 == 0


def test_engine_goes_on_when_it_was_killed_after_any_byte_of_a_line(tmp_path: Path) -> None:
    store, aside = tmp_path / "store.jsonl", tmp_path / "store.jsonl.broken"
    on_the_virtual_network(lambda: ignored(told(store, "a")))
    whole = store.read_bytes()
    last = whole.split(b"\n")[1]

    async def check() -> None:
        for kept in range(len(last) + 1):
            aside.unlink(missing_ok=True)
            store.write_bytes(whole[: len(whole) - 1 - len(last) + kept])
            broken = 0 < kept < len(last)
            async with open_engine(store=store) as engine:
                problems = [event.data["problem"] for event in engine.log.events if event.event == "store-mended"]
                known = (len(engine.events("s1")), len(engine.turns("s1")))
            assert known == (1, kept == len(last))
            assert aside.exists() == broken == bool(problems)
            if broken:
                assert aside.stat().st_mode & 0o077 == 0
                assert aside.read_bytes() == last[:kept] + b"\n"
                assert problems == [f"{store}:2: the last line was not whole, it is kept in {aside}"]
            # What is appended next begins a line of its own.
            assert store.read_bytes() == whole[: len(whole) if kept == len(last) else -len(last) - 1]

    on_the_virtual_network(check)


async def ignored(result: Any) -> None:
    await result


GOOD_LINE = json.dumps({"simulation_id": "s", "received_at": "x", "mono": 1, "event": GOOD})


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (f"{GOOD_LINE}\n{{half\n{GOOD_LINE}\n", ":2: not JSON"),
        (f"{GOOD_LINE}\n\n{GOOD_LINE}\n", ":2: not JSON"),
        ("[]\n", ":1: not a JSON object"),
        (f"{GOOD_LINE}\n{{}}\n", ":2: the keys must be simulation_id, received_at, mono and either event or turns"),
        (GOOD_LINE.replace("agent_tool_call", "x"), ":1: event_type must be 'agent_tool_call'"),
        (GOOD_LINE.replace('"mono": 1', '"mono": "1"'), ":1: mono must be CLOCK_MONOTONIC seconds"),
        (GOOD_LINE.replace('"s"', "5"), ":1: simulation_id and received_at must be strings"),
    ],
)
def test_engine_names_the_line_when_a_store_is_not_its_own(tmp_path: Path, content: str, complaint: str) -> None:
    store = tmp_path / "store.jsonl"
    store.write_text(content)
    ran = CliRunner().invoke(app, ["simulate", "engine", "--port", "0", "--store", str(store)])
    assert (ran.exit_code, ran.stderr) == (2, f"voice: {store}{complaint}; mend the line, or name another file\n")
    assert (store.read_text(), list(tmp_path.iterdir())) == (content, [store])


def test_engine_refuses_a_store_that_another_engine_has(tmp_path: Path) -> None:
    async def check() -> None:
        async with open_engine(store=tmp_path / "store"):
            with pytest.raises(StoreError, match="another engine writes to it"):
                async with open_engine(store=tmp_path / "store"):
                    pass
        async with open_engine(store=tmp_path / "store"):
            pass

    on_the_virtual_network(check)


def test_engine_answers_507_and_keeps_nothing_when_the_disk_is_full(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    write, room_bytes = os.write, [10]

    def full(descriptor: int, data: bytes) -> int:
        if not room_bytes[0]:
            raise OSError(28, "No space left on device")
        written = write(descriptor, data[: room_bytes[0]])
        room_bytes[0] -= written
        return written

    async def check() -> None:
        async with reached(store) as (engine, http):
            with monkeypatch.context() as patched:
                patched.setattr(os, "write", full)
                answer = await http.post("/simulations/s1/events", json=GOOD)
            assert (answer.status_code, answer.json()) == (507, {"error": f"{store}: No space left on device"})
            assert (store.read_bytes(), engine.received) == (b"", [])
            assert (await http.post("/simulations/s1/events", json=GOOD)).status_code == 200
            assert store.read_bytes().count(b"\n") == 1

    on_loopback(check)
