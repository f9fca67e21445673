"""What `voice doctor` finds that is not well: each finding, worded by the check that makes it."""

import errno
import os
import resource
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import attrs
import pytest
import trio
import trio.testing

from db.server_binaries import EmbeddedServerError
from runtime.doctor import configuration, database, doors, engine, machine, vapi, way_in
from runtime.doctor.examination import CHECK_SECONDS, Check, examine
from runtime.doctor.finding import Finding
from runtime.http_client import Reply
from runtime.setting_values import Bind
from runtime.settings import Reading, Settings, read_environment
from runtime.tunnels.ngrok import Ngrok
from runtime.tunnels.ssh import Ssh
from tests.docs.symptom import Symptom, in_virtual_time, log_lines, seen
from tests.fakes import FakeHttp
from tests.runtime.test_doctor_findings import FACTS, WANTED, installed

WHY: Final = "it says why"
SAYS: Final = "what it says"
NOW: Final = datetime(2026, 3, 1, 12, tzinfo=UTC)
UNREADABLE: Final = "No such file or directory"


def doctor(folder: Path) -> Iterator[Symptom]:
    yield from _machine(folder)
    yield from _told(folder)
    yield from _database(folder)
    yield from _vapi()
    yield from _credentials(folder)
    for make in (_examined, _doors, _way_to_vapi, _programs):
        yield from in_virtual_time(partial(make, folder))


def found(finding: Finding, **varies: object) -> Symptom:
    assert finding.advice, f"nobody is told what to do: {finding}"
    return seen(f"{finding.mark} {finding.name} {finding.found}", **varies)


def read(folder: Path, **environ: str) -> Reading:
    return read_environment(environ, state_folder=folder)


def unwell(findings: Iterable[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.mark not in ("ok", "skipped")]


async def _examined(folder: Path, symptoms: list[Symptom]) -> None:
    async def broken(_reading: Reading) -> list[Finding]:
        await trio.lowlevel.checkpoint()
        raise KeyError

    async def hanging(_reading: Reading) -> list[Finding]:
        await trio.sleep_forever()
        return []

    with log_lines():
        failed, late = await examine(read(folder), [Check("that", broken), Check("that", hanging)])
    symptoms.append(found(failed, check="that", error="KeyError"))
    symptoms.append(found(late, check="that", seconds=f"{CHECK_SECONDS:g}"))


def _machine(folder: Path) -> Iterator[Symptom]:
    yield found(machine.python_finding((3, 10, 1), "/bin/python"), version="3.10.1", program="/bin/python")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(machine, "requires", partial(installed, {}))
        yield found(machine.look_at_packages(read(folder))[0])
    for have, varies in (
        ({"trio": "0.35"}, {"package": "hypercorn"}),
        ({"hypercorn": "0.18.1", "trio": "0.35"}, {"package": "hypercorn", "version": "0.18.1", "wanted": "0.18.0"}),
        ({"hypercorn": "0.18.0", "trio": "0.9"}, {"package": "trio", "version": "0.9", "wanted": "0.35"}),
    ):
        yield found(machine.packages_finding(WANTED, partial(installed, have)), **varies)
    for limit in (400, 600):
        few = machine.files_finding(200, False, (limit, resource.RLIM_INFINITY))
        calls = {"calls": "200 calls"} if few.mark == "wrong" else {}
        yield found(few, sum=few.found.rpartition(": ")[2], limit=limit, **calls)
    yield from _folders(folder)


def _folders(folder: Path) -> Iterator[Symptom]:
    def look(at: Path, free_of: Callable[[Path], int]) -> Finding:
        return machine.folder_finding("recordings", "RECORDINGS", at, free_of)

    def gone(_at: Path) -> int:
        raise OSError(errno.EIO, WHY)

    file = folder / "a-file"
    file.touch()
    yield found(look(file / "calls", gone), folder=file / "calls", file=file)
    yield found(look(folder, gone), folder=folder, why=WHY)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "access", lambda *_: False)
        yield found(look(folder, gone), folder=folder)
    for name, free_gib in (("recordings", 0.75), ("recordings", 0.0), ("disk", 0.75), ("disk", 0.0)):
        full = machine.folder_finding(name, "RECORDINGS", folder, lambda _, gib=free_gib: int(gib * 1024**3))
        hours = {"hours": full.found.rpartition(": ")[2].partition(" h")[0]} if name == "recordings" else {}
        shown = {"folder": folder, "size": full.found.partition(" GiB")[0]}
        symptom = seen(full.found.rpartition(": ")[0] if hours else full.found, **shown)
        behind = ": <hours> h of calls" if hours else ""
        yield Symptom(f"{full.mark} {name} {full.found}", f"{full.mark} {name} {symptom.shown}{behind}")


def _told(folder: Path) -> Iterator[Symptom]:
    (bad,) = configuration.look_at_settings(read(folder, PORT="eighty"))
    yield found(bad, what_is_wrong=bad.found)
    (misspelt,) = unwell(configuration.look_at_settings(read(folder, LOGLEVEL="debug")))
    yield found(misspelt, variable="LOGLEVEL")
    file = folder / "instructions.txt"
    (none,) = configuration.look_at_instructions(read(folder, AGENT_DESC=str(file)))
    yield found(none, file=file, why=UNREADABLE)
    for content, varies in ((b"\n", {}), (b"Hi \xff", {"number": 3})):
        file.write_bytes(content)
        (unusable,) = configuration.look_at_instructions(read(folder, AGENT_DESC=str(file)))
        yield found(unusable, file=file, **varies)
    (no_module,) = configuration.look_at_tools(read(folder, TOOLS="nothing"))
    yield found(no_module, what_is_wrong=no_module.found)
    gone = folder / "haproxy.sock"
    for finding in configuration.look_at_fleet(read(folder, HAPROXY_SOCKET=str(gone))):
        name = finding.found.partition("calls itself ")[2]
        socket_ = {"file": gone} if str(gone) in finding.found else {}
        yield found(finding, **({"name": name} if name else socket_))


def _database(folder: Path) -> Iterator[Symptom]:
    said = {"version": "18.1", "name": "'bank'"}
    for changes in (
        {"version_number": 140_009},
        {"read_only": True},
        {"missing": ("users",), "may_create": False},
        {"may_write": False},
    ):
        tables = {"tables": "users,"} if "missing" in changes else {}
        shown = found(database.facts_finding(attrs.evolve(FACTS, **changes)), **said, **tables)
        yield attrs.evolve(shown, shown=shown.shown.replace("<tables>", "<tables>,"))
    for reason in ("InvalidPasswordError", "ConnectionRefusedError"):
        yield found(database.refused_finding(f"{reason}: {WHY}"), what_the_driver_says=f"{reason}: {WHY}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(database, "server_user", lambda: None)
        patch.setattr(database, "find_binaries", lambda: SimpleNamespace(folder="/opt"))
        patch.setattr(database, "embedded_folder", lambda: folder)
        patch.setattr(database, "_in_use_by", lambda _: "4711")
        yield found(unwell(database._embedded())[0], folder=folder, process=4711)
        for error in (OSError(WHY), EmbeddedServerError(WHY)):
            patch.setattr(database, "embedded_folder", partial(_raise, error))
            yield found(database._embedded()[0], why=WHY)


def _raise(error: Exception) -> None:
    raise error


async def _doors(folder: Path, symptoms: list[Symptom]) -> None:
    settings = Settings(port=8008, webhook_bind=Bind("127.0.0.1", 8008))
    bind, address = Bind("127.0.0.1", 8009), {"address": "127.0.0.1:8009"}
    both = await doors._door("webhook door", "WEBHOOK_BIND", Bind("0.0.0.0", 8008), settings)
    symptoms.append(found(both, setting="WEBHOOK_BIND", address="0.0.0.0:8008", other="PORT", door="webhook door"))
    for error, why in (
        (socket.gaierror(-2, WHY), {"name": "'127.0.0.1'", "why": WHY}),
        (OSError(errno.EACCES, WHY), {**address, "why": WHY}),
    ):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(trio, "open_tcp_listeners", partial(_raise_later, error))
            finding = await doors._tcp_door("voice door", "PORT", bind, False)
        assert finding is not None
        symptoms.append(found(finding, setting="PORT", door="voice door", **why))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(doors, "HANDED_ON", folder / "none")
        alone = read(folder, VOICE_HOST="127.0.0.1", PORT="0", VOICE_PORT_SHARED="on")
        symptoms.append(found(unwell(await doors.look_at_voice_door(alone))[0]))
    no_folder, file = folder / "none" / "door.sock", folder / "file.sock"
    file.touch()
    for path, varies in ((no_folder, {"folder": no_folder.parent}), (file, {"file": file})):
        finding = doors._unix_door("webhook door", "WEBHOOK_BIND", str(path))
        assert finding is not None
        symptoms.append(found(finding, setting="WEBHOOK_BIND", door="webhook door", **varies))
    for ours, name, setting in ((True, "webhook door", "WEBHOOK_BIND"), (True, "voice door", "PORT"),
                                (False, "voice door", "PORT")):  # fmt: skip
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(doors, "is_voice_serve", partial(_said, ours))
            taken = await doors._taken(name, setting, bind, settings)
        at = {"webhook": "127.0.0.1:8008"} if ours and setting == "PORT" else {}
        symptoms.append(found(taken, **address, **at, **({} if ours else {"setting": setting, "door": name})))


async def _raise_later(error: Exception, *_: object, **__: object) -> None:
    await trio.lowlevel.checkpoint()
    raise error


async def _said(answer: Any, *_: object) -> Any:
    await trio.lowlevel.checkpoint()
    return answer


def _vapi() -> Iterator[Symptom]:
    no_key, bad_key = vapi._unusable_key(""), vapi._unusable_key("two words")
    assert no_key is not None
    assert bad_key is not None
    yield from (found(no_key), found(bad_key))
    settings = Settings(vapi_base_url="https://api.vapi.example")
    where = {"address": "api.vapi.example:443"}
    yield found(vapi._no_way(where["address"], OSError(WHY), ()), why=WHY, **where)
    untrusted = ssl.SSLCertVerificationError()
    untrusted.verify_message, untrusted.verify_code = WHY, vapi.EXPIRED
    for error in (ssl.SSLError(WHY), untrusted):
        trouble = vapi._no_trust("api.vapi.example", error, settings)
        yield found(trouble, host="api.vapi.example", why=trouble.found.rpartition(": ")[2])
    body = b'{"message":"no"}'
    quoted = {"what_it_says": repr(body.decode())}
    for status, varies in ((401, {"status": 401}), (402, {}), (429, {}), (503, {"status": 503, **quoted})):
        yield found(vapi.key_finding(Reply(status, body)), **varies)
    yield found(vapi.key_finding(Reply(404, body)), status=404, **quoted)
    yield found(vapi.key_finding(Reply(403, b"error code: 1010")))
    for ahead_seconds in (31, -86_400):
        clock = vapi.clock_finding(format_datetime(NOW - timedelta(seconds=ahead_seconds), usegmt=True), NOW)
        which = "ahead of" if ahead_seconds > 0 else "behind"
        yield found(clock, seconds=f"{abs(ahead_seconds):,}", ahead_or_behind=which)


async def _way_to_vapi(folder: Path, symptoms: list[Symptom]) -> None:
    no_file = folder / "none.pem"
    bad, *_ = await vapi.look_at_vapi(read(folder, SSL_CERT_FILE=str(no_file)))
    symptoms.append(found(bad, what_is_wrong=bad.found))
    http: Any = FakeHttp(down=True)
    silent, _ = await vapi.ask_vapi(Settings(), http)
    symptoms.append(found(silent, why="connection refused"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trio, "open_tcp_stream", partial(_said, trio.testing.memory_stream_pair()[0]))
        plain = await vapi.way_finding(Settings(vapi_base_url="http://proxy.example"), ssl.create_default_context())
    milliseconds = plain.found.partition("answers in ")[2].partition(" ms")[0]
    symptoms.append(found(plain, address="proxy.example:80", time=f"{milliseconds} ms"))


def _credentials(folder: Path) -> Iterator[Symptom]:
    """Behind the program's version."""
    key, known = folder / "key", folder / "known"
    key.touch()
    key.chmod(0o644)
    bastion = partial(Ssh, "me@bastion", "https://b.example", "b.example:80")
    open_key, unknown = bastion(key=key), bastion(known_hosts=known)
    for tunnel, varies in ((Ngrok(), {}), (open_key, {"file": key}), (unknown, {"file": known})):
        mark, line, advice = way_in._credentials(tunnel)
        assert advice
        symptom = seen(line, **varies)
        shown = f"{mark} way in <engine>: <version> (<program>); {symptom.shown}"
        yield Symptom(line, shown)


async def _programs(folder: Path, symptoms: list[Symptom]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trio, "open_tcp_stream", _refused)
        (away,) = await engine.look_at_engine(read(folder, SIMULATION_ID="s", ENGINE_URL="http://engine.example:6100"))
    symptoms.append(found(away, address="engine.example:6100"))
    (unfit,) = await way_in.look_at_way_in(read(folder, TUNNEL="none"))
    symptoms.append(found(unfit, what_is_wrong=unfit.found))
    for code in (3, None):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(way_in, "open_child", partial(_open_child, code))
            patch.setattr(way_in, "choose_engine", lambda _: Ngrok())
            (broken,) = await way_in.look_at_way_in(read(folder))
        varies = {"code": code, "what_it_says": SAYS} if code else {"seconds": f"{way_in.VERSION_SECONDS:g}"}
        trouble = broken.found.removeprefix("ngrok: ngrok ")
        shown = f"{broken.mark} way in <engine>: <program> {seen(trouble, **varies).shown}"
        symptoms.append(Symptom(broken.found, shown))


async def _refused(*_address: Any) -> None:
    await trio.lowlevel.checkpoint()
    raise OSError(errno.ECONNREFUSED, "refused")


@asynccontextmanager
async def _open_child(code: int | None, _command: Any, told: Callable[[str], None]) -> AsyncIterator[Any]:
    """In place of a program; without a `code` it hangs."""
    ended = trio.Event()
    if code is not None:
        told(SAYS)
        ended.set()
    yield SimpleNamespace(ended=ended, code=code, could_not_run=False)
