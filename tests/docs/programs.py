"""What is said of the programs that `voice run` and `voice stress` start or call: agents, callers, the ear."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import pytest
import trio

from sandbox.agent_process import AgentProcess, _why_not_ready
from sandbox.job import Job, _run_really
from sandbox.options import Options, Task
from sandbox.run import _Run
from simulation import pocket_ear, standalone
from simulation.ear import EarError
from simulation.network import TrioSockets
from simulation.pocket_ear import EarBeside, open_ear
from simulation.scenario import load_scenario
from simulation.webhook_client import Answer
from simulation.websockets import DialError, open_client_socket
from stress import programs
from stress.failure import StressFailure
from stress.programs import Link, Program, open_side
from tests.docs.symptom import Symptom, in_virtual_time, said, said_later, seen
from tests.peers import read_head, served

SAYS: Final = "it says why"
SCENARIO: Final = Path("scenarios/replace-card.yaml")


def program_errors(folder: Path) -> Iterator[Symptom]:
    for make in (_agents, _dials, partial(_stress, folder), _turns):
        yield from in_virtual_time(make)
    job = Job(1, Options(), None, folder, None, None)  # type: ignore[arg-type]
    line = job.told_of_failure(ZeroDivisionError("division by zero"))
    yield seen(line, error="ZeroDivisionError: division by zero", file=job.log)
    yield from in_virtual_time(partial(_broken_down, folder))
    task = Task(load_scenario(SCENARIO), 1, 0, folder)
    dead: Any = SimpleNamespace(is_alive=lambda: False, exitcode=-9)
    jobs: Any = SimpleNamespace(processes={1: dead}, all_dead=True)
    screen: Any = SimpleNamespace(finished=lambda _: None)
    run = _Run(None, jobs, screen, lambda: None, deque([task]), {task.key: task}, {1: task})  # type: ignore[arg-type]
    held, waited = run._lost()
    yield seen(held.problem, code=-9)
    yield seen(waited.problem)


async def _broken_down(folder: Path, found: list[Symptom]) -> None:
    """What stands around a job fails in the middle of a conversation."""
    begun = trio.Event()

    async def hold(*_: object) -> None:
        begun.set()
        await trio.sleep_forever()

    @asynccontextmanager
    async def crew(*_: object) -> Any:
        async def fail() -> None:
            await begun.wait()
            raise ZeroDivisionError

        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail)
            yield SimpleNamespace(hold=hold)

    tasks = iter((Task(load_scenario(SCENARIO), 1, 0, folder), None))
    told: list[Any] = []
    post: Any = SimpleNamespace(get=lambda: next(tasks), put=told.append)
    job = Job(1, Options(), None, folder, post, post)
    with pytest.MonkeyPatch.context() as patch, pytest.RaisesGroup(ZeroDivisionError):
        patch.setattr("sandbox.job.open_crew", crew)
        await _run_really(job)
    found.append(seen(told[-1][2].problem, file=job.log))


async def _agents(found: list[Symptom]) -> None:
    """An agent that `voice run` starts."""

    def child(code: int | None, said: str = "") -> Any:
        ended = trio.Event()
        if code is not None:
            ended.set()
        return SimpleNamespace(ended=ended, code=code, last_line=said)

    for words in ("", SAYS):
        ended = AgentProcess("ws://x", child(1, words), ()).problem
        found.append(seen(ended, code=1, **({"what_it_says": SAYS} if words else {})))

    async def nobody(*_: object) -> Any:
        raise ConnectionRefusedError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trio, "open_tcp_stream", nobody)
        line = await _why_not_ready(AgentProcess("ws://x", child(None), ()), 8123, "./agent")
    found.append(seen(line, program="./agent", port=8123))


async def _dials(found: list[Symptom]) -> None:
    """A caller that cannot call."""

    async def says_no(stream: trio.SocketStream) -> None:
        await read_head(stream)
        await stream.send_all(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n")

    async def says_nothing(stream: trio.SocketStream) -> None:
        await read_head(stream)

    async def refused(url: str) -> str:
        return await said_later(DialError, open_client_socket(TrioSockets(), url).__aenter__)

    async with served(says_no) as (address, _):
        url = f"ws://{address}"
        found.append(seen(await refused(url), status=403, address=url))
        found.append(seen(await refused("http://x"), address="http://x"))
        line = await refused("ws://vapi:1/x")
        found.append(seen(line, why=line.partition("reached: ")[2], address="ws://vapi:1/x"))
    async with served(says_nothing) as (address, _):
        url = f"ws://{address}"
        found.append(seen(await refused(url), address=url))


async def _stress(folder: Path, found: list[Symptom]) -> None:
    """The programs of `voice stress`."""
    log = folder / "bridge.log"
    log.write_text("its last words\n")

    class Pipe:
        def __init__(self, *, broken: bool = False) -> None:
            self.broken = broken

        async def send_all(self, _data: bytes) -> None:
            await trio.lowlevel.checkpoint()
            if self.broken:
                raise trio.BrokenResourceError

        async def receive_some(self, _most: int) -> bytes:
            if not self.broken:
                await trio.sleep_forever()
            return b""

    def program(code: int | None, *, broken: bool = False) -> Program:
        pipe = Pipe(broken=broken)
        return Program("bridge", SimpleNamespace(poll=lambda: code, returncode=code, stdin=pipe, stdout=pipe), log)  # type: ignore[arg-type]

    found.append(seen(said(StressFailure, program(1).check), program="bridge", code=1))
    line = await said_later(StressFailure, lambda: program(None).says("ready"))
    found.append(seen(line, program="bridge"))
    line = await said_later(StressFailure, lambda: Link(program(None)).ask("begin"))
    found.append(seen(line, program="bridge", question="begin"))
    for link in (Link(program(None, broken=True)), Link(program(None, broken=True))):
        found.append(seen(await said_later(StressFailure, lambda: link.ask("begin")), program="bridge"))  # noqa: B023
        found.append(seen(await said_later(StressFailure, link.listen), program="bridge"))

    @asynccontextmanager
    async def silent(*_: object, **__: object) -> Any:
        yield program(None)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(programs, "open_program", silent)
        patch.setattr("attrs.asdict", lambda _: {})
        line = await said_later(StressFailure, open_side("callers", None, folder).__aenter__)  # type: ignore[arg-type]
    found.append(seen(line, program="callers"))


async def ears(found: list[Symptom]) -> None:
    """The ear's own processes."""
    broken: Future[None] = Future()
    broken.set_exception(BrokenProcessPool(SAYS))
    pool: Any = SimpleNamespace(submit=lambda *_: broken, shutdown=lambda **_: None)
    found.append(seen(await said_later(EarError, lambda: EarBeside(pool).hear(b"", ())), why=SAYS))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pocket_ear, "ProcessPoolExecutor", lambda **_: pool)
        found.append(seen(await said_later(EarError, open_ear().__aenter__), why=SAYS))


async def _turns(found: list[Symptom]) -> None:
    """An engine that does not take the turns of a caller's call."""

    async def refused(*_: object) -> Answer:
        return Answer(503, b"not now", {}, 0.1)

    report: Any = SimpleNamespace(connected_mono=0.0, turns=(), agent_speech=())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("simulation.webhook_client.WebhookClient.post", refused)
        line = await standalone.post_turns("http://engine", "s", report)
    found.append(seen(line, address="http://engine", why="status 503: not now"))
