"""`voice doctor` against real doors, servers and programs, and as a user runs it."""

import fcntl
import json
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
import trustme

from db.look import look_at_database
from runtime.doctor import database, doors, vapi, way_in
from runtime.doctor.finding import Finding
from runtime.http_client import open_http_client
from runtime.listeners import shared_sockets
from runtime.setting_values import Bind
from runtime.settings import Reading, read_environment
from runtime.tls import trusting
from simulation.background import open_background
from simulation.vapi_cloud import open_vapi_cloud
from tests.house_rules import ROOT
from tests.postgres import run_sql_at
from tests.wire.processes import open_bridge
from tests.wire.test_command_line import VOICE, environment

HEALTHZ = b'HTTP/1.1 200 \r\ncontent-type: application/json\r\n\r\n{"status":"ok","nonce":"0123456789abcdef"}'


@pytest.fixture
def reading(tmp_path: Path) -> Callable[..., Reading]:
    def read(**environ: str) -> Reading:
        return read_environment({"POD_ID": "pod-1", **environ}, state_folder=tmp_path)

    return read


@asynccontextmanager
async def answering(
    reply: bytes, tls: ssl.SSLContext | None = None, unix_path: Path | None = None
) -> AsyncIterator[int]:
    """A server that answers whatever it is asked with these bytes; its port."""

    async def answer(stream: trio.abc.Stream) -> None:
        try:
            async with stream:
                if await stream.receive_some():
                    await stream.send_all(reply)
        except trio.BrokenResourceError:
            pass  # a client that does not trust us

    sock = trio.socket.socket(socket.AF_UNIX if unix_path else socket.AF_INET)
    await sock.bind(str(unix_path) if unix_path else ("127.0.0.1", 0))
    sock.listen()
    listener = trio.SocketListener(sock)
    secured = trio.SSLListener(listener, tls, https_compatible=True) if tls else listener
    async with open_background() as nursery:
        await nursery.start(trio.serve_listeners, answer, [secured])
        yield 0 if unix_path else int(sock.getsockname()[1])


@contextmanager
def taken_port() -> Iterator[str]:
    """Somebody listens there and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        yield str(taken.getsockname()[1])


# --- The doors.


async def test_doctor_finds_a_door_free_and_leaves_it_so(reading: Callable[..., Reading]) -> None:
    with taken_port() as port:
        pass
    for _ in range(2):
        (found,) = await doors.look_at_webhook_door(reading(WEBHOOK_PORT=port))
        assert (found.mark, found.found) == ("ok", f"127.0.0.1:{port} is free")
    (found,) = await doors.look_at_console_door(reading(CONSOLE_BIND="none"))
    assert (found.mark, "none" in found.found) == ("ok", True)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux spreads callers over processes")
async def test_doctor_finds_the_voice_door_free_when_pods_share_its_port(
    reading: Callable[..., Reading], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (sock,) = await shared_sockets(Bind("127.0.0.1", 0))
    sock.listen()
    told = {"VOICE_HOST": "127.0.0.1", "PORT": str(sock.getsockname()[1]), "WEBHOOK_PORT": "1"}
    monkeypatch.setattr(doors, "HANDED_ON", tmp_path / "tcp_migrate_req")
    shared, gap = await doors.look_at_voice_door(reading(VOICE_PORT_SHARED="on", **told))
    (tmp_path / "tcp_migrate_req").write_text("1\n")
    assert await doors.look_at_voice_door(reading(VOICE_PORT_SHARED="on", **told)) == [shared]
    (alone,) = await doors.look_at_voice_door(reading(**told))
    sock.close()
    assert (shared.mark, gap.mark, alone.mark) == ("ok", "warning", "wrong")
    assert "shared by pods" in shared.found
    assert "tcp_migrate_req=1" in gap.advice


async def test_doctor_finds_a_door_wrong_when_another_program_has_it(
    reading: Callable[..., Reading], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doors, "ANSWER_SECONDS", 0.1)
    with taken_port() as port:
        (found,) = await doors.look_at_webhook_door(reading(WEBHOOK_PORT=port))
        (voice,) = await doors.look_at_voice_door(reading(PORT=port, WEBHOOK_PORT="1"))
    assert (found.mark, voice.mark) == ("wrong", "wrong")
    assert "taken by another program" in found.found
    assert f":{port}" in found.advice
    async with answering(b"HTTP/1.1 200 OK\r\n\r\n<html>") as other:
        (found,) = await doors.look_at_webhook_door(reading(WEBHOOK_PORT=str(other)))
    assert found.mark == "wrong"


@pytest.mark.parametrize(
    ("environ", "look", "says"),
    [
        ({"WEBHOOK_BIND": "192.0.2.1:80"}, doors.look_at_webhook_door, "no address of this machine"),
        ({"VOICE_HOST": "no.such.host.invalid"}, doors.look_at_voice_door, "is not known"),
        ({"WEBHOOK_BIND": "unix:/nowhere/at/all.sock"}, doors.look_at_webhook_door, "no socket can be made"),
        ({"WEBHOOK_PORT": "8008"}, doors.look_at_webhook_door, "is PORT's address too"),
        ({"CONSOLE_BIND": "127.0.0.1:8009"}, doors.look_at_console_door, "is WEBHOOK_BIND's address too"),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else "",
)
async def test_doctor_finds_a_door_wrong_when_its_address_cannot_be_had(
    reading: Callable[..., Reading], environ: dict[str, str], look: Any, says: str
) -> None:
    (found,) = await look(reading(**environ))
    assert (found.mark, says in f"{found.found} {found.advice}") == ("wrong", True), found


async def test_doctor_knows_a_voice_serve_behind_a_unix_socket_from_a_file_and_a_leftover(
    reading: Callable[..., Reading], tmp_path: Path
) -> None:
    path = tmp_path / "pod.sock"
    told = reading(WEBHOOK_BIND=f"unix:{path}")
    assert (await doors.look_at_webhook_door(told))[0].mark == "ok"
    assert not path.exists()
    async with answering(HEALTHZ, unix_path=path):
        (found,) = await doors.look_at_webhook_door(told)
    assert (found.mark, "answers /healthz" in found.found) == ("warning", True), found
    (left,) = await doors.look_at_webhook_door(told)
    assert (left.mark, "replaced" in left.found) == ("ok", True)
    path.unlink()
    path.write_text("")
    assert (await doors.look_at_webhook_door(told))[0].mark == "wrong"


# --- Vapi.


AUTHORITY = trustme.CA(key_type=trustme.KeyType.RSA)


def server_context(**options: Any) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert("localhost", key_type=trustme.KeyType.RSA, **options).configure_cert(context)
    return context


async def way_to(told: Reading) -> Finding:
    return await vapi.way_finding(told.settings, trusting(told.settings.ssl_cert_file))


async def test_doctor_tells_a_trusted_way_to_vapi_from_one_that_is_not(
    reading: Callable[..., Reading], tmp_path: Path
) -> None:
    pem = tmp_path / "authority.pem"
    AUTHORITY.cert_pem.write_to_path(str(pem))
    async with answering(b"", server_context()) as port:
        url = f"https://localhost:{port}"
        assert (await way_to(reading(VAPI_BASE_URL=url, SSL_CERT_FILE=str(pem)))).mark == "ok"
        found = await way_to(reading(VAPI_BASE_URL=url))
        assert (found.mark, "not trusted" in found.found, "SSL_CERT_FILE" in found.advice) == ("wrong", True, True)
    async with answering(b"", server_context(not_after=datetime.now(UTC) - timedelta(days=1))) as port:
        found = await way_to(reading(VAPI_BASE_URL=f"https://localhost:{port}", SSL_CERT_FILE=str(pem)))
        assert (found.mark, "expired" in found.found, "clock" in found.advice) == ("wrong", True, True)


async def test_doctor_tells_a_vapi_that_is_not_there_from_one_that_speaks_no_tls(
    reading: Callable[..., Reading], monkeypatch: pytest.MonkeyPatch
) -> None:
    with taken_port() as port:
        pass
    gone = reading(VAPI_BASE_URL=f"https://127.0.0.1:{port}", VAPI_API_KEY="k", HTTPS_PROXY="http://proxy")
    way, key, clock = await vapi.look_at_vapi(gone)
    assert (way.mark, key.mark, clock.mark) == ("unreachable", "skipped", "skipped")
    _, key, _ = await vapi.look_at_vapi(attrs.evolve(gone, settings=attrs.evolve(gone.settings, vapi_api_key="")))
    assert (key.mark, key.found) == ("wrong", "VAPI_API_KEY is not set")
    assert "refused" in way.found
    assert "HTTPS_PROXY is set, and is not used" in way.advice
    async with answering(b"HTTP/1.1 400 Bad Request\r\n\r\n") as plain:
        found = await way_to(reading(VAPI_BASE_URL=f"https://127.0.0.1:{plain}"))
    assert (found.mark, "TLS handshake" in found.found) == ("unreachable", True)
    monkeypatch.setattr(vapi.limits, "VAPI_REST_SECONDS", 0.1)
    with taken_port() as silent:
        found = await way_to(reading(VAPI_BASE_URL=f"https://127.0.0.1:{silent}"))
    assert (found.mark, "no answer within" in found.found) == ("unreachable", True)


async def test_doctor_finds_authorities_that_cannot_be_read_wrong(reading: Callable[..., Reading]) -> None:
    way, key, clock = await vapi.look_at_vapi(reading(SSL_CERT_FILE="missing.pem", VAPI_API_KEY="k"))
    assert (way.mark, key.mark, clock.mark) == ("wrong", "skipped", "skipped")
    assert "missing.pem" in way.found


async def test_doctor_asks_the_simulated_vapi_and_makes_no_call(reading: Callable[..., Reading]) -> None:
    async with open_vapi_cloud() as cloud:
        told = reading(VAPI_BASE_URL=cloud.base_url, VAPI_API_KEY=cloud.api_key)
        assert [finding.mark for finding in await vapi.look_at_vapi(told)] == ["ok", "ok", "skipped"]
        told = reading(VAPI_BASE_URL=cloud.base_url, VAPI_API_KEY="hunter2")
        _, key, _ = await vapi.look_at_vapi(told)
        assert (key.mark, "401" in key.found, "hunter2" in f"{key}") == ("wrong", True, False)
        assert [request[:2] for request in cloud.requests] == [("GET", "/call")] * 2
        assert not cloud.calls


async def test_doctor_compares_the_clock_with_the_date_of_the_answer(reading: Callable[..., Reading]) -> None:
    head = b"HTTP/1.1 200 OK\r\nDate: Sun, 01 Mar 2020 12:00:00 GMT\r\nContent-Length: 2\r\n\r\n[]"
    async with answering(head) as port, open_http_client(trusting(None)) as http:
        told = reading(VAPI_BASE_URL=f"http://127.0.0.1:{port}", VAPI_API_KEY="k")
        key, clock = await vapi.ask_vapi(told.settings, http)
    assert (key.mark, clock.mark) == ("ok", "wrong")
    assert "ahead of Vapi's" in clock.found


# --- The database.


async def test_doctor_looks_at_a_database_and_leaves_it_as_it_was(
    reading: Callable[..., Reading], server_url: str, url: str
) -> None:
    (found,) = await database.look_at_store(reading(DATABASE_URL=url))
    assert (found.mark, "with all tables" in found.found) == ("ok", True)
    empty = await look_at_database(server_url)
    assert set(empty.missing) >= {"users", "tool_answers", "process_keys"}
    assert await run_sql_at(server_url, "SELECT to_regclass('users')::text AS there") == [(None,)]


async def test_doctor_finds_a_database_wrong_when_it_is_read_only_or_does_not_exist(
    reading: Callable[..., Reading], url: str
) -> None:
    name = url.partition("?")[0].rpartition("/")[2]
    await run_sql_at(url, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    (found,) = await database.look_at_store(reading(DATABASE_URL=url))
    assert (found.mark, "takes no changes" in found.found) == ("wrong", True)
    (found,) = await database.look_at_store(reading(DATABASE_URL=url.replace(name, "no_such_bank")))
    assert (found.mark, "no_such_bank" in found.found) == ("wrong", True)


async def test_doctor_tells_a_dead_database_from_an_address_that_is_none(reading: Callable[..., Reading]) -> None:
    with taken_port() as port:
        pass
    (found,) = await database.look_at_store(reading(DATABASE_URL=f"postgresql://u:hunter2@127.0.0.1:{port}/d"))
    assert (found.mark, "hunter2" in f"{found}") == ("unreachable", False)
    (found,) = await database.look_at_store(reading(DATABASE_URL="mysql://u:hunter2@h/d"))
    assert (found.mark, "hunter2" in f"{found}") == ("wrong", False)


async def test_doctor_says_who_uses_the_embedded_server(
    reading: Callable[..., Reading], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "embedded_folder", lambda: tmp_path)
    store, disk = await database.look_at_store(reading())
    assert (store.mark, disk.mark, "can start" in store.found) == ("ok", "ok", True)
    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write("4711")
        lock.flush()
        store, _ = await database.look_at_store(reading())
    assert (store.mark, "process 4711" in store.found) == ("warning", True)
    assert (await database.look_at_store(reading()))[0].mark == "ok"


# --- The way in.


def program(folder: Path, script: str) -> str:
    path = folder / "agent"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("script", "mark", "says"),
    [
        ('echo "ngrok version 3.20.0"', "ok", "ngrok version 3.20.0"),
        ('echo "key: $VAPI_API_KEY $NGROK_AUTHTOKEN"', "ok", "key: ("),  # it is told no secret for this
        ("echo broken >&2; exit 3", "wrong", "exit code 3, broken"),
        ("exec sleep 60", "wrong", "within 0.3 s"),
    ],
    ids=["well", "no secrets", "broken", "hanging"],
)
async def test_doctor_runs_the_tunnels_program_for_its_version(
    reading: Callable[..., Reading], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, mark: str, says: str
) -> None:
    monkeypatch.setattr(way_in, "VERSION_SECONDS", 5.0 if mark == "ok" or "exit" in script else 0.3)
    monkeypatch.setenv("VAPI_API_KEY", "k-hunter2")
    told = reading(TUNNEL="ngrok", NGROK_BIN=program(tmp_path, script), NGROK_AUTHTOKEN="t-hunter2")
    (found,) = await way_in.look_at_way_in(told)
    assert (found.mark, says in found.found) == (mark, True), found
    assert "hunter2" not in f"{found}"


async def test_doctor_finds_a_program_wrong_when_it_is_none(reading: Callable[..., Reading], tmp_path: Path) -> None:
    path = tmp_path / "agent"
    path.write_bytes(b"\x7fELF of another machine")
    path.chmod(0o755)
    (found,) = await way_in.look_at_way_in(reading(TUNNEL="cloudflared", CLOUDFLARED_BIN=str(path)))
    assert (found.mark, "exit code 126" in found.found) == ("wrong", True), found
    (found,) = await way_in.look_at_way_in(reading(TUNNEL="cloudflared", CLOUDFLARED_BIN="no-such-program"))
    assert (found.mark, "was not found" in found.found) == ("wrong", True)


async def test_doctor_finds_no_program_needed_when_the_address_is_fixed(reading: Callable[..., Reading]) -> None:
    (found,) = await way_in.look_at_way_in(reading(PUBLIC_BASE_URL="https://hooks.example.com"))
    assert (found.mark, "voice tunnel check" in found.advice) == ("ok", True)
    (found,) = await way_in.look_at_way_in(reading(VAPI_BASE_URL="http://127.0.0.1:9100"))
    assert (found.mark, "simulated" in found.found) == ("ok", True)


async def test_doctor_looks_at_the_files_that_ssh_needs(
    reading: Callable[..., Reading], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ssh").symlink_to(program(tmp_path, "echo OpenSSH_9.2p1 >&2"))
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("HOME", str(tmp_path))
    key, known = tmp_path / "key", tmp_path / "known"
    key.write_text("")
    key.chmod(0o644)
    told = {"SSH_TUNNEL": "voice@bastion", "TUNNEL_URL": "https://b.example.com", "SSH_TUNNEL_KEY": str(key)}
    (found,) = await way_in.look_at_way_in(reading(**told))
    assert (found.mark, "chmod 600" in found.advice) == ("wrong", True), found
    key.chmod(0o600)
    (found,) = await way_in.look_at_way_in(reading(**told))
    assert (found.mark, "SSH_TUNNEL_KNOWN_HOSTS" in found.advice) == ("wrong", True), found
    known.write_text("")
    (found,) = await way_in.look_at_way_in(reading(**told, SSH_TUNNEL_KNOWN_HOSTS=str(known)))
    assert (found.mark, "OpenSSH_9.2p1" in found.found) == ("ok", True), found


# --- The command.


async def doctor(*arguments: str, **environ: str) -> "subprocess.CompletedProcess[bytes]":
    settings = environment(AGENT_DESC=str(ROOT / "agent_desc.txt"), VOICE_HOST="127.0.0.1", **environ)
    with trio.fail_after(40):
        return await trio.run_process(
            [*VOICE, "doctor", *arguments], env=settings, capture_stdout=True, capture_stderr=True, check=False
        )


async def test_doctor_shows_all_that_is_wrong_at_once() -> None:
    with taken_port() as port:
        done = await doctor(
            PORT=port, MAX_CALLS="many", TUNNEL="ngrok", NGROK_BIN="no-such-ngrok", LOGLEVEL="x-hunter2",
            DATABASE_URL="postgresql://u:p-hunter2@127.0.0.1:9/d",
        )  # fmt: skip
    assert done.returncode == 2
    said = " ".join(done.stdout.decode().split())
    for words in (
        "MAX_CALLS='many' is not a whole number",
        f"PORT: 127.0.0.1:{port} is taken",
        "unreachable database",
        "unreachable way to Vapi 127.0.0.1:9",
        "the program 'no-such-ngrok' was not found",
        "warning settings LOGLEVEL is set, which nobody reads",
        "skipped open files",
    ):
        assert words in said, said
    assert "hunter2" not in said
    assert done.stderr == b""


async def test_doctor_is_content_when_all_is_well(url: str) -> None:
    async with open_vapi_cloud() as cloud:
        done = await doctor("--json", VAPI_BASE_URL=cloud.base_url, VAPI_API_KEY=cloud.api_key, DATABASE_URL=url)
    rows = json.loads(done.stdout)
    assert done.returncode == 0, rows
    assert {row["mark"] for row in rows} <= {"ok", "warning", "skipped"}  # of open files there may be few here
    assert [row["name"] for row in rows if row["mark"] == "skipped"] == ["clock"]
    assert set(rows[0]) == {"mark", "name", "found", "advice"}
    assert done.stderr == b""


async def test_doctor_knows_a_running_bridge_and_tells_when_only_others_are_down() -> None:
    async with open_bridge(POD_ID="pod-9") as bridge:
        port, webhook = bridge.voice_url.split(":")[2].split("/")[0], bridge.webhook_url.rpartition(":")[2]
        done = await doctor("--json", PORT=port, WEBHOOK_PORT=webhook)
    rows = {row["name"]: row for row in json.loads(done.stdout)}
    assert done.returncode == 3, rows
    assert rows["webhook door"]["mark"] == "warning"
    assert "taken by a `voice serve`" in rows["webhook door"]["found"]
    assert rows["voice door"]["mark"] == "warning"
    assert {name for name, row in rows.items() if row["mark"] == "unreachable"} == {"database", "way to Vapi"}
