"""What is read of a house when Prometheus asks: each figure moves when the thing happens, and no counter ever falls."""

import re
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import trio

from runtime import metrics_counted
from runtime.channels import open_audio_channel
from runtime.metrics_collector import TUNNEL_STATES, tunnel_state
from runtime.record import Ending
from runtime.setting_values import Bind
from runtime.tunnels.tunnel import Tunnel
from runtime.webhook import webhook_app
from runtime.webhook_secret import SECRET_HEADER, sign
from simulation.network import VirtualNetwork
from tests.endings.databases import SlowDatabase
from tests.fakes import speech
from tests.runtime.metrics_page import Figures, Watch, families, figures, open_house
from tests.world import World, open_world

TABLES = [table for name, table in vars(metrics_counted).items() if name.startswith("OF_")]


def fallen(before: Figures, now: Figures) -> list[Any]:
    """Counters that are lower than they were, or gone. Those of the process itself are not ours."""
    rising = [key for key in before if key[0].startswith("voice_") and key[0].endswith(("_total", "_count", "_bucket"))]
    return [key for key in rising if now.get(key, -1) < before[key]]


async def test_figures_add_up_and_never_fall_when_calls_come_and_go() -> None:
    looks: list[Figures] = []

    async def keep_looking(world: World) -> None:
        while True:
            looks.append(figures(await families(world.doors.house)))
            await trio.sleep(0.5)

    with VirtualNetwork().installed():
        async with open_world() as world, trio.open_nursery() as nursery:
            house, watch = world.doors.house, await Watch.begun(world.doors.house)
            nursery.start_soon(keep_looking, world)
            await world.call()
            await world.short_call()
            await world.until(lambda: not house.history.live and house.reporter.counts["reported"] == 2)
            looks.append(figures(await families(house)))
            moved = await watch.moved()
            nursery.cancel_scope.cancel()
    records = list(house.history.past)
    assert [fallen(*pair) for pair in pairwise(looks) if fallen(*pair)] == []
    counts: Counter[str] = sum((record.counts for record in records), Counter())
    assert len(records) == 2
    for figure, key in {
        "voice_audio_frames_total{in,caller}": "caller_frames", "voice_audio_bytes_total{in,caller}": "caller_bytes",
        "voice_audio_frames_total{out,vapi}": "uplink_frames", "voice_audio_bytes_total{out,vapi}": "uplink_bytes",
        "voice_audio_frames_total{in,vapi}": "agent_frames", "voice_audio_bytes_total{in,vapi}": "agent_bytes",
        "voice_audio_frames_total{out,caller}": "downlink_frames", "voice_tail_bytes_total": "tail_bytes",
        "voice_audio_dropped_bytes_total{before_vapi_listened}": "setup_bytes_discarded",
        "voice_tails_total{paid}": "tails",
    }.items():  # fmt: skip
        assert moved[figure] == counts[key] > 0, figure
    assert moved["voice_calls_ended_total{caller,call_ended}"] == 2
    assert moved["voice_call_setup_seconds_count"] == moved["voice_call_teardown_seconds_count"] == 2
    assert moved["voice_turn_latency_seconds_count"] == sum(len(one.story.turn_latencies) for one in records) > 0
    assert moved["voice_tool_calls_total{result,display_card_info_by_last4}"] == 1
    assert moved["voice_webhook_requests_total{authorized}"] == 2
    assert moved["voice_engine_reports_sent_total"] == 2
    phases = {value for look in looks for (name, labels), value in look.items() if name == "voice_calls" and labels}
    assert phases == {0.0, 1.0}


async def test_calls_counts_go_over_whole_when_it_ends() -> None:
    async with open_house() as house:
        watch = await Watch.begun(house)
        record = house.begin_call("c-1", "peer", "binary")
        sender, receiver = open_audio_channel(0.02)
        record.channels = {"caller_audio": sender.statistics}
        await sender.send(speech(0.02))
        with trio.move_on_after(1):
            await sender.send(speech(0.02))
        record.counts.update({"interruptions": 2, "interrupted_bytes": 960, "tails_held": 1, "tool_conflicts": 1})
        running = await watch.moved()
        assert running == {
            "voice_calls{setting_up}": 1, "voice_channel_fill_seconds{caller_audio}": pytest.approx(0.02),
            "voice_channel_waits_total{caller_audio}": 1, "voice_interruptions_total": 2,
            "voice_audio_dropped_bytes_total{interrupted}": 960, "voice_tails_held_total": 1,
            "voice_tool_conflicts_total": 1,
        }  # fmt: skip
        record.phase = "live"
        assert await watch.moved() == {"voice_calls{setting_up}": -1, "voice_calls{live}": 1}
        record.phase = "over"
        assert await watch.moved() == {"voice_calls{live}": -1, "voice_calls{ending}": 1}
        house.end_call(record, Ending("caller", "call_ended"))
        assert await watch.moved() == {
            "voice_calls{ending}": -1, "voice_channel_fill_seconds{caller_audio}": pytest.approx(-0.02),
            "voice_calls_ended_total{caller,call_ended}": 1, "voice_call_duration_seconds_count": 1,
        }  # fmt: skip
        receiver.close()


async def test_webhook_figures_move_when_strangers_and_garbage_come() -> None:
    async with open_house() as house:
        watch, door = await Watch.begun(house), webhook_app(house).test_client()
        path, secret = "/p/pod-1/tool", {SECRET_HEADER: sign(house.webhook_key, bytes(16))}
        await door.post(path, data=b"{}")
        await door.post(path, data=b"{", headers=secret)
        await door.post(path, data=b"{}", headers={"Origin": "https://evil.example"})
        assert await watch.moved() == {
            "voice_webhook_requests_total{unauthorized}": 1, "voice_webhook_requests_total{authorized}": 1,
            "voice_webhook_requests_total{cross_site}": 1, "voice_webhook_faults_total{malformed}": 1,
        }  # fmt: skip


async def test_figures_of_the_process_move_when_its_parts_count() -> None:
    async with open_house() as house:
        watch = await Watch.begun(house)
        house.reporter.report("verify_caller", {}, {})
        house.reporter.counts["dropped_unconfirmed"] += 1
        house.vapi_calls.counts["possibly_billed"] += 1
        house.counts.update({"calls_refused": 3, "calls_refused_by_rate": 1, "callers_refused_401": 1})
        house.register.counts["register_retries"] += 1
        async with house.vapi_calls.slots.one_for(b"key"):
            assert await watch.moved() == {
                "voice_engine_reports_queued": 1, "voice_engine_reports_queued_most": 1,
                "voice_engine_reports_dropped_total{unconfirmed}": 1, "voice_vapi_possibly_billed_calls_total": 1,
                "voice_calls_refused_total{full}": 2, "voice_calls_refused_total{rate}": 1,
                "voice_calls_refused_total{no_token}": 1, "voice_register_retries_total": 1,
                "voice_vapi_slots_used": 1,
            }  # fmt: skip


async def test_database_figures_show_who_uses_it() -> None:
    async with open_house() as house:
        now = figures(await families(house))
        assert now["voice_database_up", frozenset()] == 1
        assert now["voice_database_connections", frozenset({("state", "used")})] == 0
        slow, used = SlowDatabase(house.database, within_seconds=1), []

        async def effect(_work: Any) -> None:
            used.append(figures(await families(house))["voice_database_connections", frozenset({("state", "used")})])

        await slow.run_once("call", "tool", "f", effect)
        assert used == [1]


@pytest.mark.parametrize(
    ("told", "shown"),
    [("idle", "idle"), ("2 ahead in the queue", "queued"), ("next start in 0.5 s", "pausing"), ("ready", "ready")],
)
async def test_tunnel_state_is_one_of_few_whatever_it_tells(told: str, shown: str) -> None:
    unused: Any = None
    async with open_house() as plain:
        tunnel = Tunnel(unused, plain.settings, Bind("127.0.0.1", 1), unused, "nonce")
    async with open_house(way_in=tunnel) as house:
        watch = await Watch.begun(house)
        tunnel.state = told
        tunnel.counts.update({"starts": 2, "restarts": 1, "lost": 1, "auth": 1})
        assert tunnel_state(tunnel) == shown
        now = figures(await families(house))
        states = {dict(labels)["state"]: value for (name, labels), value in now.items() if name == "voice_tunnel_state"}
        assert states == {state: float(state == shown) for state in TUNNEL_STATES}
        moved = await watch.moved()
        assert moved["voice_tunnel_starts_total"] == 2
        assert moved["voice_tunnel_ends_total{auth}"] == moved["voice_tunnel_restarts_total"] == 1


def test_every_count_that_is_shown_is_counted_somewhere() -> None:
    """A count that was renamed would be shown as 0 for ever."""
    sources = [path for room in ("runtime", "actors", "tools") for path in Path(room).rglob("*.py")]
    text = "\n".join(path.read_text() for path in sources if "metrics" not in path.name and path.name != "summary.py")
    made = {  # put together from two words: where the first is, and the words that may follow
        r"callers_refused_(\d+)": 'f"callers_refused_{refusal[0]}"',
        r"dropped_(\w+)": 'f"dropped_{cause}"',
        r"(\w+)_waits": 'f"{name}_waits"',
        "calls_refused_full": '"calls_refused_by_rate"',  # the difference of two counts
        "busy|auth|quota|timeout|lost": 'removeprefix("tunnel_")',
    }
    keys = {key for table in TABLES for family in table for key in family.keys.values()}
    assert len(keys) > 60
    for key in sorted(keys):
        pieces = [piece for pattern, piece in made.items() if re.fullmatch(pattern, key)]
        assert f'"{key}"' in text or any(piece in text for piece in pieces), key
