"""What `voice pods` says, of itself and in the log."""

import os
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio

from runtime import limits, pods_folder, pods_program
from runtime.errors import OwnError, StartError
from runtime.listeners import listen
from runtime.pods import Pods
from runtime.pods_folder import open_pods_folder
from runtime.pods_plan import PodsPlan, plan_pods
from runtime.pods_program import open_program
from runtime.setting_values import Bind
from runtime.settings import Settings
from tests.docs.symptom import Symptom, in_virtual_time, log_lines, logged, said, said_later, seen
from tests.runtime.test_pods_kept import Machine


def pods_lines() -> Iterator[Symptom]:
    def refused(
        count: int = 2, which: Any = lambda *_, **__: "nginx", at: str = "127.0.0.1:9000", **settings: Any
    ) -> str:
        known = Settings(vapi_api_key="k", **settings)
        return said(OwnError, partial(plan_pods, known, count, at, which))

    yield seen(refused(console_bind=Bind(unix_path="/run/console.sock")))
    yield seen(refused(limits.PODS_EMBEDDED_MOST + 1), pods=limits.PODS_EMBEDDED_MOST)
    yield seen(refused(which=lambda *_, **__: None))
    yield seen(refused(), address="127.0.0.1:9000")
    yield seen(refused(5, vapi_slots=3), slots=3, pods=5)
    yield seen(refused(console_bind=Bind("127.0.0.1", 65_533)), address="127.0.0.1:65533", ports=4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "geteuid", lambda: 0)
        yield seen(refused(at="*:9000"), address="*:9000")
    for make in (_elsewhere, _machine_that_is_full, _not_started):
        yield from in_virtual_time(make)


def pods_events() -> Iterator[Symptom]:
    yield from in_virtual_time(_died)
    yield from in_virtual_time(_not_replaced)


async def _elsewhere(found: list[Symptom]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("runtime.listeners.sys", SimpleNamespace(platform="darwin"))
        found.append(seen(await said_later(StartError, lambda: listen("PORT", Bind("127.0.0.1", 0), shared=True))))


async def _machine_that_is_full(found: list[Symptom]) -> None:
    async def no_memory(*_: object, **__: object) -> None:
        raise OSError(12, "Cannot allocate memory")

    def no_room(*_: object, **__: object) -> str:
        raise OSError(28, "No space left on device")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trio.lowlevel, "open_process", no_memory)
        line = await said_later(StartError, lambda: open_program("pod-1", ["voice"], {}).__aenter__())
        found.append(seen(line, program="pod-1", why="Cannot allocate memory"))
        patch.setattr(pods_folder.tempfile, "mkdtemp", no_room)
        line = await said_later(StartError, lambda: open_pods_folder().__aenter__())
        found.append(seen(line, why="No space left on device"))
        patch.setattr(Path, "write_text", no_room)
        line = await said_later(StartError, lambda: _pods().run(_no_signals(), print))
        found.append(seen(line, why="No space left on device"))


def _pods() -> Pods:
    plan = PodsPlan(Settings(vapi_api_key="k", pod_id="pod"), 1, "127.0.0.1:9000", "nginx")
    folder: Any = SimpleNamespace(path=Path("/tmp/pods-x"), tell=lambda _: None)
    return Pods(plan, folder, 8008, "postgresql://h/d")


async def _no_signals() -> AsyncIterator[int]:
    await trio.sleep_forever()
    yield 0


async def _never(*_: object) -> None:
    await trio.sleep_forever()


async def _at_once(*_: object) -> None:
    await trio.lowlevel.checkpoint()


async def _not_started(found: list[Symptom]) -> None:
    """nginx, and the first pod."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pods_program, "open_program", Machine(gets_ready=False).open)
        patch.setattr(PodsPlan, "write_nginx", lambda *_: ["nginx"])
        patch.setattr(Pods, "_until_it_listens", _never)
        line = await said_later(StartError, lambda: _pods().run(_no_signals(), print))
        found.append(seen(line, why="exit code 1: it says why"))
        patch.setattr(Pods, "_until_it_listens", _at_once)
        line = await said_later(StartError, lambda: _pods().run(_no_signals(), print))
        found.append(seen(line, pod="pod-1", why="exit code 1: it says why"))


async def _died(found: list[Symptom]) -> None:
    with log_lines() as lines, pytest.MonkeyPatch.context() as patch:
        patch.setattr(pods_program, "open_program", Machine().open)
        pod = pods_program.Kept("pod-1", ["voice"], {}, _at_once, lambda _: None)
        async with trio.open_nursery() as nursery:
            await nursery.start(pod.run)
            await trio.sleep(15)
            pod.leave()
    found.append(logged(lines, "pods_program_died", "program", "why"))


async def _not_replaced(found: list[Symptom]) -> None:
    with log_lines() as lines, pytest.MonkeyPatch.context() as patch:
        patch.setattr(pods_program, "open_program", Machine(gets_ready=False).open)
        running = _pods()
        running._serving[1] = SimpleNamespace()  # type: ignore[assignment]
        async with trio.open_nursery() as nursery:
            await running._replace_all(nursery)
    found.append(logged(lines, "pods_not_replaced", "why"))
