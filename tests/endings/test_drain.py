"""SIGTERM with many calls: no new ones, the running ones may finish, then they are ended; a second signal ends them."""

import signal
from collections.abc import Awaitable, Callable

import attrs
import pytest
import trio
from structlog.testing import capture_logs
from trio_websocket import ConnectionClosed

from runtime import limits
from simulation.caller_report import CallerReport
from simulation.network import TrioSockets
from simulation.scenario import AgentTurn
from simulation.websockets import open_client_socket
from tests.endings.stage import AT_ONCE_SECONDS, END_CALL, Stage, open_stage

CALLS = 50
SHUTTING_DOWN = (1001, "shutting_down")


@attrs.define(eq=False)
class Crowd:
    """Callers who only listen, in tasks that outlive the doors. Mutable: `told`, code and reason for each who was,
    `told_at`, when the last one was, and `doors_closed_at`."""

    stage: Stage
    signals: "trio.MemorySendChannel[int]"
    nursery: trio.Nursery
    told: list[tuple[int, str]] = attrs.field(factory=list)
    told_at: float = 0.0
    doors_closed_at: float = 0.0

    async def gather(self, calls: int) -> None:
        """So many callers, each with a call at Vapi that is open."""
        for _ in range(calls):
            self.nursery.start_soon(self.listen)
        cloud = self.stage.world.cloud
        await self.stage.world.until(lambda: [call.status for call in cloud.calls].count("in-progress") == calls)

    async def listen(self) -> None:
        async with open_client_socket(TrioSockets(), self.stage.world.doors.voice_url) as connection:
            try:
                while True:
                    await connection.get_message()
            except ConnectionClosed as closed:
                assert closed.reason is not None
                self.told.append((int(closed.reason.code), closed.reason.reason or ""))
                self.told_at = trio.current_time()

    def terminate(self) -> None:
        self.signals.send_nowait(signal.SIGTERM)

    async def is_refused(self) -> None:
        """A new caller is, while the others go on."""
        before = len(self.told)
        await self.listen()
        assert self.told[before:] == [(1013, "too_many_calls")]
        del self.told[before:]

    async def webhook_door_is_well(self) -> None:
        port = int(self.stage.world.doors.webhook.rpartition(":")[2])
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await stream.send_all(b"GET /healthz HTTP/1.1\r\nHost: bank.example\r\n\r\n")
            answer = b""
            with trio.fail_after(1):
                while b'"status":"ok"' not in answer:
                    answer += await stream.receive_some()


Play = Callable[[Crowd], Awaitable[None]]


async def perform(play: Play, **settings: str) -> Crowd:
    """Open the doors, let `play` happen, and come back when they are closed. The doors' body ends with a signal, so
    the callers live outside of it."""
    send, signals = trio.open_memory_channel[int](2)
    async with trio.open_nursery() as nursery:
        async with open_stage(signals=signals, MAX_CALLS=str(CALLS), VAPI_SLOTS=str(CALLS), **settings) as stage:
            stage.world.cloud.slots = CALLS
            stage.world.cloud.agent = (AgentTurn(),)
            crowd = Crowd(stage, send, nursery)

            async def keep_open() -> None:
                await play(crowd)

            nursery.start_soon(keep_open)
            with capture_logs() as logs:
                await stage.world.doors.supervisor.wait()
        crowd.doors_closed_at = trio.current_time()
    assert [entry for entry in logs if entry["log_level"] == "error"] == []
    assert {call.ended_by for call in stage.world.cloud.calls} == {"client"}
    assert all(call.received_texts == [END_CALL] for call in stage.world.cloud.calls)
    assert stage.network.open_sockets == set()
    return crowd


@pytest.fixture(autouse=True)
def _quiet_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """The callers are silent here, and what the bridge sends to Vapi in place of their voice is half the work."""
    monkeypatch.setattr(limits, "UPLINK_SILENT_SECONDS", 1_000.0)


async def test_calls_go_on_until_the_limit_and_are_told_then_when_sigterm_comes() -> None:
    at: list[float] = []
    reports: list[CallerReport] = []

    async def play(crowd: Crowd) -> None:
        world = crowd.stage.world
        await crowd.gather(CALLS - 1)
        world.cloud.agent = world.scenario.agent

        async def finish_a_scenario() -> None:
            reports.append(await world.call())

        crowd.nursery.start_soon(finish_a_scenario)
        await trio.sleep(1)
        at.append(trio.current_time())
        crowd.terminate()
        await trio.sleep(1)
        await crowd.is_refused()
        await crowd.webhook_door_is_well()
        await world.until(lambda: reports, limits.DRAIN_SECONDS)
        assert [str(check) for check in await world.judge(reports[0]) if not check.passed] == []
        await trio.sleep_until(at[0] + limits.DRAIN_SECONDS - 1)
        assert crowd.told == []
        await crowd.is_refused()
        await crowd.webhook_door_is_well()

    crowd = await perform(play)
    assert crowd.told == [SHUTTING_DOWN] * (CALLS - 1)
    assert 0 <= crowd.told_at - at[0] - limits.DRAIN_SECONDS <= AT_ONCE_SECONDS
    assert reports[0].ending == "caller_hung_up"
    assert crowd.doors_closed_at - crowd.told_at <= AT_ONCE_SECONDS


async def test_calls_go_on_for_as_long_as_the_setting_says_when_it_says_more() -> None:
    at: list[float] = []

    async def play(crowd: Crowd) -> None:
        await crowd.gather(1)
        at.append(trio.current_time())
        crowd.terminate()

    crowd = await perform(play, DRAIN_SECONDS="50")
    assert crowd.told == [SHUTTING_DOWN]
    assert 0 <= crowd.told_at - at[0] - 50 <= AT_ONCE_SECONDS


async def test_calls_are_told_at_once_when_a_second_signal_comes() -> None:
    at: list[float] = []

    async def play(crowd: Crowd) -> None:
        await crowd.gather(CALLS)
        crowd.terminate()
        await trio.sleep(5)
        assert crowd.told == []
        at.append(trio.current_time())
        crowd.terminate()

    crowd = await perform(play)
    assert crowd.told == [SHUTTING_DOWN] * CALLS
    assert 0 <= crowd.told_at - at[0] <= AT_ONCE_SECONDS
    assert crowd.doors_closed_at - crowd.told_at <= AT_ONCE_SECONDS


async def test_doors_close_at_once_when_the_last_call_has_ended_by_itself() -> None:
    at: list[float] = []

    async def play(crowd: Crowd) -> None:
        world = crowd.stage.world
        world.cloud.agent = world.scenario.agent
        report = await world.call()
        at.append(trio.current_time())
        assert report.ending == "caller_hung_up"

    async def play_and_terminate(crowd: Crowd) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(play, crowd)
            await trio.sleep(1)
            crowd.terminate()

    crowd = await perform(play_and_terminate)
    assert crowd.told == []
    assert crowd.doors_closed_at - at[0] <= AT_ONCE_SECONDS
