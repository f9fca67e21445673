"""The main job, end to end, in virtual time: the product, caller, cloud and engine on a network in memory."""

import random
import ssl
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
import trustme

from actors import tail
from simulation.caller_report import CallerReport
from simulation.network import VirtualNetwork, Weather
from tests.world import World, open_world

TAIL_MS = 1_700


async def hold(world: World, protocol: str = "binary") -> CallerReport:
    """One call after the scenario; every one of its checks must pass."""
    report = await world.call(protocol)
    checks = await world.judge(report)
    assert not [check for check in checks if not check.passed]
    assert len(checks) == 11
    # Each of the agent's stretches of speech is followed by its tail, and by no more than that. (The caller
    # hangs up during the last one.)
    assert [turn.tail_ms for turn in report.turns[:-1]] == pytest.approx([TAIL_MS] * 2, abs=25)
    assert [event.data["name"] for event in world.event("tool-call")] == [
        "display_card_info_by_last4",
        "request_card_replacement",
    ]
    return report


@pytest.mark.parametrize("protocol", ["binary", "json"])
@pytest.mark.parametrize("tail_mode", ["burst", "paced"])
async def test_call_does_what_its_scenario_says_when_held(protocol: str, tail_mode: str) -> None:
    network = VirtualNetwork()
    with network.installed():
        async with open_world(TAIL_MODE=tail_mode) as world:
            report = await hold(world, protocol)
    assert report.ending == "caller_hung_up"
    assert network.open_sockets == set()
    assert not [link for link in network.links if link.open]


async def test_caller_never_takes_its_turn_when_the_tail_is_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail, "TAIL_BYTES", 0)
    with VirtualNetwork().installed():
        async with open_world() as world:
            report = await world.call(patience_seconds=20.0)
    assert report.ending == "deadlock"
    assert "silence" in report.outcome


@pytest.mark.parametrize(
    "knobs",
    [
        {"envelope": "message"},
        {"streams_silence": True},
        {"arguments_as": "string", "calls_together": True},
        {"late_stopped_ms": 300.0},
        {"late_stopped_ms": -100.0},
        {"silent_texts": frozenset({"speech-update"})},
        {"close_before_ended": True, "odd_chunks": False, "chunk_ms": 90.0},
        {"redeliver": True},
    ],
    ids=lambda knobs: "+".join(knobs),
)
async def test_call_does_what_its_scenario_says_when_vapi_varies(knobs: dict[str, Any]) -> None:
    with VirtualNetwork().installed():
        async with open_world() as world:
            world.cloud.behaviour = attrs.evolve(world.cloud.behaviour, **knobs)
            checks = await world.judge(await world.call())
    assert not [check for check in checks if not check.passed]


@pytest.mark.parametrize(
    "weather",
    [
        Weather(latency_seconds=0.0),
        Weather(latency_seconds=0.150),
        Weather(latency_seconds=0.030, jitter_seconds=0.030),
        Weather(chop=0.5),
        Weather(buffer_bytes=4_000),
    ],
    ids=["none", "far", "jitter", "chop", "small buffers"],
)
async def test_call_does_what_its_scenario_says_whatever_the_weather(weather: Weather) -> None:
    with VirtualNetwork(weather, random.Random(1)).installed():
        async with open_world() as world:
            checks = await world.judge(await world.call())
    assert not [check for check in checks if not check.passed]


async def test_calls_do_not_meet_when_several_run_at_once() -> None:
    with VirtualNetwork().installed():
        async with open_world() as world:
            outcomes = []

            async def one() -> None:
                outcomes.append((await world.short_call()).ending)

            async with trio.open_nursery() as nursery:
                for _ in range(8):
                    nursery.start_soon(one)
            for call in world.cloud.calls:
                await world.ended(call)
    # Outside: a world whose door falls cancels what is in it.
    assert outcomes == ["caller_hung_up"] * 8
    assert [call.received_texts for call in world.cloud.calls] == [['{"type":"end-call"}']] * 8


@attrs.frozen
class Authority:
    """A certificate authority of ours: the cloud's context, and the file that the product is told to trust."""

    cloud: ssl.SSLContext
    file: Path


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    # RSA: signatures of other keys vary in length, and the traces of runs would with them.
    ca = trustme.CA(key_type=trustme.KeyType.RSA)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert("127.0.0.1", key_type=trustme.KeyType.RSA).configure_cert(context)
    file = tmp_path_factory.mktemp("authority") / "ca.pem"
    ca.cert_pem.write_to_path(str(file))
    return Authority(context, file)


async def test_call_does_what_its_scenario_says_when_vapi_speaks_tls(authority: Authority) -> None:
    network = VirtualNetwork()
    with network.installed():
        async with open_world(tls=authority.cloud, SSL_CERT_FILE=str(authority.file)) as world:
            assert world.cloud.base_url.startswith("https://")
            report = await hold(world)
    assert report.ending == "caller_hung_up"
    assert network.open_sockets == set()


async def test_call_is_refused_when_vapis_certificate_is_not_trusted(authority: Authority) -> None:
    with VirtualNetwork().installed():
        async with open_world(tls=authority.cloud) as world:
            report = await world.call()
    assert (report.ending, report.close_code) == ("callee_no_answer", 1011)
    assert not world.cloud.calls


async def test_vapi_is_told_of_the_end_when_callers_hang_up_behind_a_frame_and_vapi_speaks_tls(
    authority: Authority,
) -> None:
    network = VirtualNetwork(weather=Weather(latency_seconds=0.02))
    with network.installed():
        async with open_world(tls=authority.cloud, SSL_CERT_FILE=str(authority.file)) as world:
            for frame_ms in (20, 40, 60, 100):
                await world.call(
                    scenario=attrs.evolve(world.scenario, caller=world.scenario.caller[-2:]), frame_ms=frame_ms
                )
                await world.ended(world.cloud.calls[-1])
            await trio.sleep(3)
            roundabout = dict(world.doors.house.vapi_calls.counts)
    assert [call.received_texts for call in world.cloud.calls] == [['{"type":"end-call"}']] * 4
    assert roundabout == {}
