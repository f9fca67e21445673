"""`voice pods`: the real nginx, several `voice serve` on one port, and what a call notices when one of them goes."""

import json
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from runtime.gateway import GatewayOptions
from runtime.pods_plan import PodsPlan
from runtime.settings import Settings
from runtime.webhook_secret import SECRET_HEADER
from simulation.background import open_background
from simulation.vapi_call import SimulatedCall
from simulation.vapi_cloud import VapiCloud, open_vapi_cloud
from tests.gateway.fleet import Answer, Gateway, free_port, open_nginx, open_small_pods, short_folder
from tests.gateway.real_pod import card_locked
from tests.postgres import RunSql
from tests.programs import need
from tests.wire.processes import START_SECONDS, Program, open_program
from tests.wire.sockets import HeldCall, hold_call
from tests.wire.test_webhook_door import tool_calls
from tests.world import VOICE

CALLERS_MOST = 60
INFO = ("display_user_info", {"user_id": 3})
REPLACE = ("request_card_replacement", {"card_id": 5})


@pytest.fixture
def nginx() -> str:
    return need("nginx", "nginx-light")


@pytest.fixture
def short() -> Iterator[Path]:
    with short_folder() as made:
        yield made


@attrs.define(eq=False)
class PodsAtWork:
    """A running `voice pods`. Mutable: `held`, the callers who are on the line."""

    program: Program
    gateway: Gateway
    cloud: VapiCloud
    voice_url: str
    callers: trio.Nursery
    held: list[HeldCall] = attrs.field(factory=list)
    hang_up: trio.Event = attrs.field(factory=trio.Event)

    def lives(self, name: str) -> list[int]:
        """The process ids that a pod, or nginx, has had."""
        logged = [json.loads(line) for line in self.program.output if '"pods_program_started"' in line]
        return [entry["pid"] for entry in logged if entry["program"] == name]

    async def dial(self) -> SimulatedCall:
        """One more caller; his call at Vapi, once it is up."""
        made = len(self.cloud.calls)
        self.held.append(await self.callers.start(self._stay))
        await until(lambda: len(self.cloud.calls) > made and self.cloud.calls[-1].status == "in-progress", 20)
        return self.cloud.calls[-1]

    async def _stay(self, task_status: trio.TaskStatus[HeldCall]) -> None:
        async with hold_call(self.voice_url) as call:
            task_status.started(call)
            await self.hang_up.wait()

    async def dial_until_each_has_one(self, *pods: str) -> dict[str, int]:
        """The kernel spreads callers by chance. The place of one call of each pod."""
        found: dict[str, int] = {}
        while set(found) < set(pods):
            assert len(self.held) < CALLERS_MOST, found
            call = await self.dial()
            found[pod_of(call)] = len(self.held) - 1
        return found

    async def dial_until(self, holds: Callable[[], bool]) -> None:
        """New callers come all the while."""
        while not holds():
            assert len(self.held) < CALLERS_MOST, self.program.everything
            await self.dial()
            await trio.sleep(0.2)

    def log_of(self, pod: str) -> str:
        return "\n".join(line for line in self.program.output if f'"pod": "{pod}"' in line)

    async def ask(self, call: SimulatedCall, tool: tuple[str, dict[str, Any]], id_: str) -> Answer:
        """As Vapi does, through nginx."""
        server = call.tools["display_user_info"]["server"]
        target = server["url"].removeprefix(self.gateway.url)
        body = json.dumps(tool_calls((id_, *tool), call_id=call.id)).encode()
        return await self.gateway.ask(target, body, secret=server["headers"][SECRET_HEADER])

    async def goes_on(self, call: SimulatedCall) -> None:
        heard = call.heard_messages
        await until(lambda: call.heard_messages >= heard + 5)


def pod_of(call: SimulatedCall) -> str:
    return str(call.tools["display_user_info"]["server"]["url"].split("/")[-2])


async def until(holds: Any, within_seconds: float = 10.0) -> None:
    with trio.fail_after(within_seconds):
        while not holds():
            await trio.sleep(0.02)


def gone(pid: int) -> bool:
    """A zombie is."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def left_in(folder: Path) -> list[Path]:
    return list(folder.glob("pods-*"))


@asynccontextmanager
async def pods_at_work(count: int, database_url: str, folder: Path) -> AsyncIterator[PodsAtWork]:
    port = free_port()
    async with (
        open_vapi_cloud(speech=VOICE, slots=CALLERS_MOST) as cloud,
        open_program(
            "pods", str(count), "--listen", f"127.0.0.1:{port}", POD_ID="pod", DATABASE_URL=database_url,
            TOOL_POLICY="open", VAPI_BASE_URL=cloud.base_url, VAPI_API_KEY=cloud.api_key,
            VAPI_SLOTS=str(CALLERS_MOST), TMPDIR=str(folder),
        ) as program,
        open_background() as callers,
    ):  # fmt: skip
        voice_url = (await program.says("voice listening on ", START_SECONDS)).split()[-1]
        await program.says("take calls")
        yield PodsAtWork(program, Gateway(port, folder, program.process), cloud, voice_url, callers)


async def test_tool_without_a_pod_in_its_path_is_answered_whichever_of_them_run(nginx: str, short: Path) -> None:
    """Four of eight: the others' places are for those that replace them."""
    plan = PodsPlan(Settings(pod_id="pod"), 4, "127.0.0.1:9000", nginx)
    names = tuple(plan.pod_id(number) for number in range(1, 9))
    options: Any = GatewayOptions(certificate="", pods=names, shared_database=True)
    for run in (names[:4], names[3:7], names[7:]):
        async with open_small_pods(short, run) as small, open_nginx(nginx, short, options) as gateway:
            for _ in range(2 * len(names)):
                assert (await gateway.ask("/tool")).status == 200
            assert sum(len(pod.asked) for pod in small.values()) == 2 * len(names)
        for name in run:
            (short / f"{name}.sock").unlink()


async def test_pods_are_not_started_when_a_port_of_theirs_is_taken(nginx: str) -> None:
    for setting in ("--listen", "PORT"):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = str(taken.getsockname()[1])
            listen = port if setting == "--listen" else str(free_port())
            arguments = ("pods", "2", "--listen", f"127.0.0.1:{listen}")
            async with open_program(*arguments, PORT=port if setting == "PORT" else "0") as program:
                assert await program.ends() == 2
                (line,) = program.said_to_the_user
                assert line.startswith(f"voice: {setting}: cannot listen on 127.0.0.1:{port}: it is taken")


async def test_pod_that_is_killed_takes_no_call_of_another_with_it(nginx: str, url: str, short: Path) -> None:
    async with pods_at_work(2, url, short) as pods:
        places = await pods.dial_until_each_has_one("pod-1", "pod-2")
        of_1, of_2 = (pods.cloud.calls[places[name]] for name in ("pod-1", "pod-2"))
        for number, call in enumerate((of_1, of_2)):
            assert "Dana Whitfield" in await pods.ask(call, INFO, f"before-{number}")

        os.kill(pods.lives("pod-1")[0], signal.SIGKILL)
        with trio.fail_after(5):
            await pods.held[places["pod-1"]].over.wait()
        assert (await pods.ask(of_1, INFO, "after")).status == 502
        await pods.goes_on(of_2)
        assert "Dana Whitfield" in await pods.ask(of_2, INFO, "after")
        assert "ended by SIGKILL" in await pods.program.says("pods_program_died")

        # nginx dies too, its worker left behind with the port; both are there again, and all the while calls go on.
        (worker,) = children(pods.lives("nginx")[0])
        os.kill(pods.lives("nginx")[0], signal.SIGKILL)
        made = len(pods.cloud.calls)
        await pods.dial_until(lambda: "pod-1" in map(pod_of, pods.cloud.calls[made:]))
        assert len(pods.lives("nginx")) == len(pods.lives("pod-1")) == 2
        assert gone(worker)
        assert "Dana Whitfield" in await pods.ask(pods.cloud.calls[-1], INFO, "again")
        assert not pods.held[places["pod-2"]].over.is_set()

        # Told to end, twice: calls are ended in order, and nothing is left.
        pods.program.process.terminate()
        await pods.program.says("the pods drain")
        await pods.goes_on(of_2)
        pods.program.process.terminate()
        with trio.fail_after(10):
            await pods.held[places["pod-2"]].over.wait()
        assert pods.held[places["pod-2"]].closed == (1001, "shutting_down")
        assert await pods.program.ends() == 0
        assert all(gone(pid) for name in ("nginx", "pod-1", "pod-2") for pid in pods.lives(name))
        assert not left_in(short)
        assert "Traceback" not in pods.program.everything


async def test_pod_is_replaced_and_no_caller_and_no_tool_answer_is_lost(
    nginx: str, url: str, short: Path, run_sql: RunSql
) -> None:
    async with pods_at_work(1, url, short) as pods:
        old = await pods.dial()
        answers: list[Answer] = []

        async def replace_card() -> None:
            answers.append(await pods.ask(old, REPLACE, "slow"))

        pods.program.process.send_signal(signal.SIGHUP)
        await pods.dial_until(lambda: '"database"' in pods.log_of("pod-2"))
        async with trio.open_nursery() as nursery, card_locked(url, 5) as somebody_waits:
            nursery.start_soon(replace_card)
            await somebody_waits()
            await pods.dial_until(lambda: '"draining"' in pods.log_of("pod-1"))
            new = [await pods.dial() for _ in range(5)]
            assert not answers
        (answer,) = answers
        assert (answer.status, "replacement_id" in answer) == (200, True)
        assert len(await run_sql("SELECT FROM replacements WHERE old_card_id = 5")) == 1

        assert {pod_of(call) for call in pods.cloud.calls} == {"pod-1", "pod-2"}
        assert {pod_of(call) for call in new} == {"pod-2"}
        assert "Dana Whitfield" in await pods.ask(old, INFO, "it still drains")
        assert not any(call.over.is_set() for call in pods.held)
        pods.hang_up.set()
        await pods.program.says('"pod_replaced"')
        assert gone(pods.lives("pod-1")[0])

        # Killed itself while they drain, it ends no call and leaves nothing behind: a shell beside it sees to that.
        pods.hang_up = trio.Event()
        last = await pods.dial()
        pods.program.process.terminate()
        await pods.program.says("the pods drain")
        await until(lambda: '"draining"' in pods.log_of("pod-2"))
        pods.program.process.kill()
        await pods.program.process.wait()
        await trio.sleep(0.5)  # for the shell to tell whom it would
        await pods.goes_on(last)
        assert "Dana Whitfield" in await pods.ask(last, INFO, "nobody watches")
        pods.hang_up.set()
        await until(lambda: all(gone(pid) for name in ("nginx", "pod-2") for pid in pods.lives(name)), 20)
        await until(lambda: not left_in(short))
