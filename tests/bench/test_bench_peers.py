"""The load and the two peers on real sockets: every frame comes through, both ways, with TLS to Vapi and without."""

from pathlib import Path
from typing import Any

import pytest
import trio

from bench.bridges import Kind, Surroundings, Transport, open_bridge
from bench.failure import BenchFailure
from bench.load_link import LoadLink, open_load
from bench.processes import Cores
from bench.windows import Window

NOT_PINNED = Cores(None, None)


@pytest.fixture
async def load(tmp_path: Path) -> Any:
    async with open_load(tmp_path, NOT_PINNED, 1_000_000) as link:
        yield link


def around(load: LoadLink, folder: Path) -> Surroundings:
    return Surroundings(load.vapi, folder / "ca.pem", "", folder, NOT_PINNED)


@pytest.mark.parametrize(("kind", "transport"), [("reference", "tls"), ("relay", "tls"), ("relay", "plain")])
async def test_peer_carries_frames_both_ways_unharmed(
    kind: Kind, transport: Transport, load: LoadLink, tmp_path: Path
) -> None:
    with trio.fail_after(50):
        async with open_bridge(kind, transport, around(load, tmp_path)) as bridge:
            await load.ask(bridge, "call", url=bridge.voice_url, calls=2)
            reply = await load.ask(bridge, "measure", pid=bridge.program.pid, seconds=0.5)
            await load.ask(bridge, "hang_up")
    window = Window.of(kind, transport, 0, reply)
    assert window.harmed == 0
    assert window.frames > 20
    assert window.cpu_seconds > 0
    assert window.memory.rss_mib > 1


async def test_reference_answers_tools_and_its_calls_end(load: LoadLink, tmp_path: Path) -> None:
    with trio.fail_after(50):
        async with open_bridge("reference", "plain", around(load, tmp_path)) as bridge:
            short = await load.ask(bridge, "one_by_one", url=bridge.voice_url, calls=1)
            await load.ask(bridge, "call", url=bridge.voice_url, calls=2)
            reply = await load.ask(bridge, "tools", concurrent=2, posts=4)
            with pytest.raises(BenchFailure, match="need as many calls"):
                await load.ask(bridge, "tools", concurrent=3, posts=4)
            await load.ask(bridge, "hang_up")
    assert short["setup_ms"][0] > 0
    assert short["closed_ms"][0] > 0
    assert short["end_seen_ms"] == [None]
    assert len(reply["posts"]) == 4


async def test_bridge_that_dies_is_told_with_its_last_lines(load: LoadLink, tmp_path: Path) -> None:
    with trio.fail_after(50):
        async with open_bridge("relay", "plain", around(load, tmp_path)) as bridge:
            bridge.program.process.kill()
            await bridge.program.process.wait()
            with pytest.raises(BenchFailure, match="relay ended with code -9") as told:
                await load.ask(bridge, "call", url=bridge.voice_url, calls=1)
    assert "voice listening on" in told.value.log[0]
