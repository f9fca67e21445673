"""Events of the log that come from outside: the engine, Vapi, the disk, the database, the tunnel, the gateway."""

import errno
from collections.abc import Iterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trio.testing

from actors.engine_reporter import EngineReporter
from actors.gateway_registrar import GatewayRegistrar
from actors.vapi_calls import VapiCalls
from db import pool
from db.asyncio_loop import AsyncioLoop
from db.door import DatabaseUnavailable
from db.pool import PostgresDatabase
from db.seed import BankFiles
from db.session import CommitUnknown
from runtime import limits
from runtime.recorder import Recorder
from runtime.switchboard import Switchboard
from runtime.tunnels.agent import Agent
from runtime.tunnels.facts import Degraded, Failed, Ready, Url
from simulation.virtual_poller import VirtualPoller
from tests.docs.symptom import Symptom, in_virtual_time, log_lines, logged
from tests.docs.tunnels import Fake, Ups, at_work
from tests.docs.vapi import CONTEXT
from tests.fakes import FakeHttp, FakeVapi, new_record


def outside_events(folder: Path) -> Iterator[Symptom]:
    for make in (_reports, _vapi, _recorder, _commit, _tunnel, partial(_gateway, folder)):
        yield from in_virtual_time(make)


async def _reports(found: list[Symptom]) -> None:
    """One for each way that a report is lost."""

    async def reported(http: FakeHttp, reports: int = 1) -> None:
        reporter = EngineReporter(http, "http://engine", "sim")  # type: ignore[arg-type]
        for _ in range(reports):
            reporter.report("freeze", {}, None)
        async with trio.open_nursery() as nursery:
            await nursery.start(reporter.run)
            await trio.sleep(limits.REPORT_SECONDS + 1)
            nursery.cancel_scope.cancel()
        reporter.drop_rest()

    with log_lines() as lines:
        await reported(FakeHttp(status=404))
        await reported(FakeHttp(seconds=60))
        await reported(FakeHttp(down=True), limits.REPORTS_ITEMS + 1)
    for cause, error in (("refused", "the engine answered 404"), ("unconfirmed", "the engine may have it")):
        assert any(error in str(line.get("error")) for line in lines)
        found.append(logged(lines, "report_not_delivered", "error", cause=cause))
    for cause in ("refused", "unconfirmed", "cancelled", "queue_full", "not_flushed"):
        found.append(logged(lines, "report_dropped", "tool", cause=cause))


async def _vapi(found: list[Symptom]) -> None:
    """Calls that may go on at Vapi, for each way that this can come."""

    async def left(vapi: FakeVapi, seconds: float) -> None:
        calls = VapiCalls(vapi, CONTEXT, Switchboard(VirtualPoller()))  # type: ignore[arg-type]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("actors.vapi_calls.dial_vapi", vapi.dial)
            async with trio.open_nursery() as nursery:
                await nursery.start(calls.run)
                with suppress(Exception):
                    async with calls.call(new_record(), {}, nursery):
                        pass
                await trio.sleep(seconds)
                nursery.cancel_scope.cancel()

    with log_lines() as lines:
        await left(FakeVapi(reply_lost=True, finds_after_seconds=None), 60)
        await left(FakeVapi(dial_fails=True, control_works=False), 60)
        await left(FakeVapi(dial_fails=True, control_works=False), 1)
        await left(FakeVapi(refuses=ZeroDivisionError()), 60)
    whys = dict.fromkeys(line["why"] for line in lines if line["event"] == "possibly_billed")
    for why in whys:
        symptom = logged(lines, "possibly_billed", "vapi_call", why=why)
        shown = symptom.shown.replace("ZeroDivisionError", "<error>")
        found.append(Symptom(why, shown))
    found.append(logged(lines, "vapi_call_failed", "vapi_call"))


async def _recorder(found: list[Symptom]) -> None:
    """A recording, or their folder, that the disk does not take."""

    def full(*_: object) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    folder: Any = SimpleNamespace(path="/recordings", sweep=full, adopt_spool=full)
    recorder = Recorder(folder)
    with log_lines() as lines:
        recorder._look_in_thread()
        await recorder._decode_left_behind("c-1")
        with recorder._guarded(SimpleNamespace(recording=SimpleNamespace(call_id="c-1"))):  # type: ignore[arg-type]
            raise ZeroDivisionError
        recorder.close()
        recorder.begin("c-2", 0.0)
    found.append(logged(lines, "recordings_not_looked_at", "folder", "error"))
    found.append(logged(lines, "recording_not_recovered", "why"))
    found.append(logged(lines, "recording_broke"))
    found.append(logged(lines, "recording_failed", "why"))


async def _commit(found: list[Symptom]) -> None:
    database: Any = PostgresDatabase(AsyncioLoop(), None, BankFiles("", ""), schema_applied=True)

    @asynccontextmanager
    async def lost(*_: object) -> Any:
        raise CommitUnknown("no answer to COMMIT in 5 s")
        yield

    with log_lines() as lines, pytest.MonkeyPatch.context() as patch:
        patch.setattr(pool, "open_session", lost)
        with suppress(DatabaseUnavailable):
            await database.run_once("c", "t", "f", None)
    found.append(logged(lines, "commit_unknown", "call", "tool_call"))


async def _tunnel(found: list[Symptom]) -> None:
    @asynccontextmanager
    async def wobbles(_engine: Any, _door: Any, _http: Any, changed: Any) -> Any:
        agent = Agent(Fake(), changed)  # type: ignore[arg-type]
        for fact in (Url("https://me.example"), Ready(), Degraded("it says why")):
            agent.learn(fact)
        yield agent

    ups = Ups()
    with log_lines() as lines:
        async with at_work(Fake()) as made:
            with suppress(Exception):
                await made.base_url()
        async with at_work(ups) as made:
            await made.base_url()
            ups.agents[0].die(Failed("gone"))
            await trio.sleep(1)
        async with at_work(SimpleNamespace(open=wobbles, name="ngrok", account=None)) as made:
            await made.base_url()
        async with at_work(Ups(), answers=b"{}", tunnel_probe="warn") as made:
            await made.base_url()
    found.append(logged(lines, "tunnel_not_started", "engine", "cause", "error", "starts"))
    found.append(logged(lines, "tunnel_state", "engine", "detail", state="degraded"))
    found.append(logged(lines, "tunnel_died", "engine", "cause", "error", "starts"))
    found.append(logged(lines, "tunnel_probe_failed", "engine", "error"))


async def _gateway(folder: Path, found: list[Symptom]) -> None:
    async def none(_path: str) -> Any:
        raise OSError(errno.ENOENT, "No such file or directory")

    async def says_no(_path: str) -> Any:
        ours, theirs = trio.testing.memory_stream_pair()
        await theirs.send_all(b"Permission denied\n")
        await theirs.send_eof()
        return ours

    with log_lines() as lines:
        for dial in (none, says_no):
            registrar = GatewayRegistrar(str(folder / "haproxy.sock"), "pod")
            registrar.note_live("vapi-1")
            registrar.note_live("a;b c")
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(trio, "open_unix_socket", dial)
                await registrar._work_off()
    found.append(logged(lines, "call_id_refused", "call_id"))
    found.append(logged(lines, "gateway_is_away", "error", "socket"))
    found.append(logged(lines, "gateway_refused", "said"))
