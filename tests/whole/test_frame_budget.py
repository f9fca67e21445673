"""What a relayed frame may cost, counted and not timed: sends, receives, steps of tasks. The time: `bench/`."""

from collections import Counter
from typing import Any

import pytest
import trio

from simulation.scenario import AgentTurn
from simulation.virtual_poller import VirtualPlug, VirtualPoller
from tests.endings.stage import HeldCall, Stage, open_stage, words

SECONDS = 10.0
ACTORS = ("ActorSocketReader", "VapiSocketWriter", "SilencePadder", "ControlMessageWatcher")


class Steps(trio.abc.Instrument):
    """Counts the steps of every task, by the last word of its name."""

    def __init__(self) -> None:
        self.of: Counter[str] = Counter()

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.of[task.name.split()[-1]] += 1


async def cost(stage: Stage, call: HeldCall, patch: pytest.MonkeyPatch) -> tuple[Counter[str], Counter[str], int]:
    """Steps of tasks, operations on sockets and frames relayed, in SECONDS of a call that is under way."""
    operations: Counter[str] = Counter()
    receive, send, wait = VirtualPlug.recv, VirtualPlug.send, VirtualPoller.wait

    async def counted_wait(poller: VirtualPoller) -> None:
        await wait(poller)
        operations["wait"] += 1

    def counted_receive(plug: VirtualPlug, most: int) -> bytes:
        operations["recv"] += 1
        return receive(plug, most)

    def counted_send(plug: VirtualPlug, data: Any) -> int:
        operations["send"] += 1
        return send(plug, data)

    patch.setattr(VirtualPlug, "recv", counted_receive)
    patch.setattr(VirtualPlug, "send", counted_send)
    patch.setattr(VirtualPoller, "wait", counted_wait)
    counts, steps = call.record.counts, Steps()
    before = counts["uplink_frames"] + counts["downlink_frames"]
    trio.lowlevel.add_instrument(steps)
    await trio.sleep(SECONDS)
    trio.lowlevel.remove_instrument(steps)
    return steps.of, operations, counts["uplink_frames"] + counts["downlink_frames"] - before


@pytest.mark.parametrize("protocol", ["binary", "json"])
async def test_frame_takes_one_receive_one_send_and_no_step_of_an_actor(
    monkeypatch: pytest.MonkeyPatch, protocol: str
) -> None:
    async with open_stage() as stage:
        stage.world.cloud.agent = (AgentTurn(say=words(SECONDS * 2)),)
        async with stage.live_call(protocol, speaks=True) as call:
            await stage.world.until(lambda: call.record.counts["downlink_frames"] > 10)
            steps, operations, frames = await cost(stage, call, monkeypatch)
    assert frames > 1.8 * SECONDS / 0.02 / 2, "both directions were busy"
    # Beside audio: a ping, a pong and the answers to the peers' on either leg, every four seconds.
    beside = 2 * 4 * (SECONDS // 4 + 1)
    assert operations["recv"] <= frames + beside
    assert frames <= operations["send"] <= frames + beside
    assert operations["wait"] <= operations["recv"] + beside
    assert {actor: steps[actor] for actor in ACTORS if steps[actor] > SECONDS} == {}
