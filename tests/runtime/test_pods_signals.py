"""What `voice pods` is told while pods start, drain or are replaced: nobody is told too often, and nobody is left."""

import os
import signal
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
import pytest
import trio
from structlog.testing import capture_logs

import runtime.pods
from runtime import pods_program
from runtime.errors import StartError
from runtime.pods import Pods, run_pods
from runtime.pods_plan import PodsPlan
from runtime.pods_program import Program
from runtime.settings import Settings

TERM, HUP, KILL = signal.SIGTERM, signal.SIGHUP, signal.SIGKILL
START_SECONDS = 2.0
DRAIN_SECONDS = 20.0


@attrs.define(eq=False)
class Life:
    """Of one pod, or of nginx. It drains when it is told once, and ends when it is told again; `stubborn`: when it is
    killed. Mutable: `told`."""

    program: Program
    starts: bool
    stubborn: bool
    told: list[int] = attrs.field(factory=list)
    _again: trio.Event = attrs.field(factory=trio.Event)
    _once: trio.Event = attrs.field(factory=trio.Event)

    def tell(self, number: int) -> None:
        if number == KILL or (self._once.is_set() and not self.stubborn):
            self._again.set()
        self._once.set()
        self.told.append(number)

    async def live(self) -> None:
        with trio.move_on_after(START_SECONDS):
            await self._once.wait()
        if self.starts and not self._once.is_set():
            self.program.takes_callers.set()
            await self._once.wait()
            with trio.move_on_after(DRAIN_SECONDS):
                await self._again.wait()
        self.program.code = int(not self.starts)
        self.program.ended.set()


@attrs.define(eq=False)
class House:
    """A machine with `voice pods` on it. Mutable: all fields; `broken`: pods that do not start; `announced`: what its
    watchdog was told; `ready_at`: by Trio's clock."""

    lives: dict[str, list[Life]] = attrs.field(factory=dict)
    broken: set[str] = attrs.field(factory=set)
    stubborn: bool = False
    announced: list[str] = attrs.field(factory=list)
    ready_at: list[float] = attrs.field(factory=list)
    nginx_listens: bool = True

    @asynccontextmanager
    async def open(
        self, name: str, _command: Sequence[str], _settings: Mapping[str, str] | None
    ) -> AsyncIterator[Program]:
        process: Any = SimpleNamespace(pid=name)
        life = Life(Program(name, process), name not in self.broken, self.stubborn)
        process.send_signal = life.tell
        self.lives.setdefault(name, []).append(life)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(life.live)
            yield life.program
            nursery.cancel_scope.cancel()

    async def run(self, count: int, *signals: tuple[float, signal.Signals]) -> float:
        """`signals`: when each comes, in seconds. Returns when all was over; it has to be."""
        plan = PodsPlan(Settings(vapi_api_key="k", pod_id="pod"), count, "127.0.0.1:9000", "nginx")
        folder: Any = SimpleNamespace(path=Path("/tmp/pods-x"), tell=self.announced.append)
        began = trio.current_time()

        async def come() -> AsyncIterator[int]:
            for at_seconds, number in signals:
                await trio.sleep_until(began + at_seconds)
                yield number
            await trio.sleep_forever()

        pods = Pods(plan, folder, 8008, "postgresql://h/d")
        with trio.fail_after(500):
            await pods.run(come(), lambda _: self.ready_at.append(trio.current_time() - began))
        assert all(life.program.ended.is_set() for name in self.pods for life in self.lives[name])
        return trio.current_time() - began

    @property
    def pods(self) -> list[str]:
        return sorted(name for name in self.lives if name != "nginx")

    def told(self, name: str) -> list[int]:
        (life,) = self.lives[name]
        return life.told

    async def until_it_listens(self, *_: object) -> None:
        await trio.sleep(1 if self.nginx_listens else 1e6)


@pytest.fixture
def house(monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    made = House()
    monkeypatch.setattr(pods_program, "open_program", made.open)
    monkeypatch.setattr(PodsPlan, "write_nginx", lambda *_: ["nginx"])
    monkeypatch.setattr(Pods, "_until_it_listens", made.until_it_listens)
    return made


READY = 1 + 2 * START_SECONDS  # nginx, the first pod, the others


async def test_pods_are_ready_and_drain_when_they_are_told(house: House) -> None:
    assert await house.run(3, (30, TERM)) == pytest.approx(30 + DRAIN_SECONDS)
    assert house.ready_at == pytest.approx([READY])
    assert house.pods == ["pod-1", "pod-2", "pod-3"]
    assert [house.told(name) for name in house.pods] == [[TERM]] * 3


async def test_pod_that_is_being_replaced_drains_on_when_all_are_told_to(house: House) -> None:
    """And nobody is started whom nobody would tell to leave."""
    told_at = 10 + START_SECONDS + 5
    assert await house.run(2, (10, HUP), (told_at, TERM)) == pytest.approx(told_at + DRAIN_SECONDS)
    assert {name: house.told(name) for name in house.pods} == {"pod-1": [TERM], "pod-2": [TERM], "pod-3": [TERM]}


async def test_pod_that_is_being_replaced_ends_its_calls_when_all_are_told_twice(house: House) -> None:
    assert await house.run(2, (10, HUP), (15, TERM), (16, TERM)) == pytest.approx(16)
    assert house.pods == ["pod-1", "pod-2", "pod-3"]
    assert [house.told(name) for name in house.pods] == [[TERM, TERM]] * 3


async def test_pod_that_starts_in_the_place_of_another_leaves_when_all_are_told_to(house: House) -> None:
    assert await house.run(2, (10, HUP), (11, TERM)) == pytest.approx(11 + DRAIN_SECONDS)
    assert {name: house.told(name) for name in house.pods} == {"pod-1": [TERM], "pod-2": [TERM], "pod-3": [TERM]}


async def test_pods_are_killed_when_they_are_told_a_third_time(house: House) -> None:
    house.stubborn = True
    assert await house.run(1, (10, TERM), (11, TERM), (12, TERM)) == pytest.approx(12)
    assert house.told("pod-1") == [TERM, TERM, KILL]


@pytest.mark.parametrize(
    ("told_at", "started"),
    [(0.5, []), (1.5, ["pod-1"]), (1.5 + START_SECONDS, ["pod-1", "pod-2", "pod-3"])],
    ids=["before nginx listens", "as the first starts", "as the others start"],
)
async def test_nobody_starts_and_nobody_stays_when_they_are_told_to_end_early(
    house: House, told_at: float, started: list[str]
) -> None:
    ended_at = await house.run(3, (told_at, TERM))
    assert ended_at == pytest.approx(told_at + (DRAIN_SECONDS if "pod-2" in house.pods else 0))
    assert house.ready_at == []
    assert house.pods == started
    assert all(house.told(name) == [TERM] for name in house.pods)


async def test_nobody_stays_when_they_are_told_to_end_in_the_moment_in_which_the_first_is_ready(house: House) -> None:
    ended_at = await house.run(3, (1 + START_SECONDS, TERM))
    assert ended_at <= 1 + START_SECONDS + DRAIN_SECONDS
    assert house.ready_at == []


async def test_signal_is_obeyed_when_it_comes_before_anything_runs(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def reserve_port(*_: object) -> int:
        for number in (HUP, TERM):
            os.kill(os.getpid(), number)
        return 8008

    @asynccontextmanager
    async def open_folder() -> AsyncIterator[Any]:
        yield SimpleNamespace(path=Path("/tmp/pods-x"), tell=house.announced.append)

    monkeypatch.setattr(runtime.pods, "reserve_port", reserve_port)
    monkeypatch.setattr(runtime.pods, "open_pods_folder", open_folder)
    settings = Settings(vapi_api_key="k", pod_id="pod", database_url="postgresql://h/d")
    with trio.fail_after(5):
        await run_pods(PodsPlan(settings, 2, "127.0.0.1:9000", "nginx"), print)
    assert house.pods == []


async def test_pods_end_at_once_when_they_are_told_to_and_nginx_never_listens(house: House) -> None:
    house.nginx_listens = False
    assert await house.run(2, (7, TERM)) == pytest.approx(7)
    assert house.pods == []


async def test_pods_are_replaced_after_they_have_started_when_they_are_told_to_before(house: House) -> None:
    replaced_at = READY + 2 * (START_SECONDS + DRAIN_SECONDS)
    with capture_logs() as logs:
        await house.run(2, (1.5, HUP), (3.5, HUP), (replaced_at + 10, TERM))
    assert house.ready_at == pytest.approx([READY])
    assert house.pods == ["pod-1", "pod-2", "pod-3", "pod-4"]
    replaced = [(entry["pod_id"], entry["by"]) for entry in logs if entry["event"] == "pod_replaced"]
    assert replaced == [("pod-1", "pod-3"), ("pod-2", "pod-4")]
    assert [entry["event"] for entry in logs].count("pods_told_to_be_replaced") == 2


async def test_pods_are_replaced_once_more_when_they_are_told_to_meanwhile(house: House) -> None:
    round_seconds = 2 * (START_SECONDS + DRAIN_SECONDS)
    with capture_logs() as logs:
        await house.run(2, (10, HUP), (20, HUP), (30, HUP), (10 + 3 * round_seconds, TERM))
    replaced = [(entry["pod_id"], entry["by"]) for entry in logs if entry["event"] == "pod_replaced"]
    once, again = [("pod-1", "pod-3"), ("pod-2", "pod-4")], [("pod-3", "pod-1"), ("pod-4", "pod-2")]
    assert replaced == [*once, *again]


async def test_pods_stay_and_are_replaced_later_when_the_new_one_does_not_start(house: House) -> None:
    house.broken.add("pod-4")

    async with trio.open_nursery() as nursery:
        ended: list[float] = []

        async def run() -> None:
            ended.append(await house.run(2, (10, HUP), (100, HUP), (200, TERM)))

        nursery.start_soon(run)
        await trio.sleep(50)
        assert {name: house.told(name) for name in ("pod-1", "pod-2", "pod-3")} == {
            "pod-1": [TERM], "pod-2": [], "pod-3": [],
        }  # fmt: skip
        house.broken.clear()
    assert ended == pytest.approx([200 + DRAIN_SECONDS])
    assert len(house.lives["pod-4"]) == len(house.lives["pod-1"]) == 2
    assert house.lives["pod-3"][0].told == [TERM]


async def test_pods_that_run_drain_when_another_does_not_start(house: House) -> None:
    house.broken.add("pod-2")
    with pytest.raises(StartError, match="pod-2 did not start"):
        await house.run(3)
    assert house.told("pod-1") == house.told("pod-3") == [TERM]


async def test_watchdog_knows_who_drains_already(house: House) -> None:
    await house.run(1, (10, HUP), (11, TERM))
    assert house.announced.index("pod-1 pod-1") < house.announced.index("leaving pod-1")
    assert house.announced.index("leaving pod-1") < house.announced.index("gone pod-1")
    assert {line for line in house.announced if line.startswith("leaving")} == {"leaving pod-1", "leaving pod-2"}
