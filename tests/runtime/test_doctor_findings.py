"""runtime/doctor: what each check makes of what it finds. The same on real sockets: tests/wire/test_doctor.py."""

import io
import json
import re
import resource
import socket
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import attrs
import pytest
import trio
from rich.console import Console

from db.look import DatabaseFacts
from runtime.doctor import doors, machine, vapi
from runtime.doctor.checks import CHECKS
from runtime.doctor.configuration import look_at_fleet, look_at_instructions, look_at_settings, misspelt
from runtime.doctor.database import facts_finding, refused_finding
from runtime.doctor.examination import Check, examine
from runtime.doctor.finding import Finding, Mark, exit_code
from runtime.doctor.report import print_findings, summary
from runtime.http_client import Reply
from runtime.setting_values import Bind
from runtime.settings import Reading, read_environment

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def reading(folder: Path, **environ: str) -> Reading:
    return read_environment(environ, state_folder=folder)


def only(findings: Sequence[Finding]) -> Finding:
    (finding,) = findings
    return finding


# --- How the checks are run.


async def test_doctor_shows_every_row_when_one_check_raises_and_one_hangs(tmp_path: Path) -> None:
    async def well(_reading: Reading) -> list[Finding]:
        await trio.sleep(1)
        return [Finding("ok", "well", "yes"), Finding("warning", "more", "perhaps")]

    async def broken(_reading: Reading) -> list[Finding]:
        await trio.sleep(1)
        raise KeyError("secret of somebody")

    async def hanging(_reading: Reading) -> list[Finding]:
        await trio.sleep_forever()
        return []

    begun = trio.current_time()
    checks = [Check("hanging", hanging), Check("broken", broken), Check("well", well)]
    found = await examine(reading(tmp_path), checks, seconds=20)
    assert [(finding.mark, finding.name) for finding in found] == [
        ("unreachable", "hanging"), ("wrong", "broken"), ("ok", "well"), ("warning", "more"),
    ]  # fmt: skip
    assert "KeyError" in found[1].found
    assert "somebody" not in found[1].found
    assert trio.current_time() - begun == pytest.approx(20)  # all at once


async def test_doctor_skips_a_check_when_a_setting_it_needs_is_wrong(tmp_path: Path) -> None:
    async def look(_reading: Reading) -> list[Finding]:
        await trio.lowlevel.checkpoint()
        return [Finding("ok", "door", "free")]

    checks = [Check("door", look, ("PORT",)), Check("other door", look, ("WEBHOOK_BIND",))]
    found = await examine(reading(tmp_path, PORT="eighty"), checks)
    assert [finding.mark for finding in found] == ["skipped", "ok"]
    assert "PORT" in found[0].found


async def test_doctor_hides_secrets_wherever_they_come_from(tmp_path: Path) -> None:
    async def look(_reading: Reading) -> list[Finding]:
        await trio.lowlevel.checkpoint()
        return [Finding("wrong", "leak", "k-93481 p@ss-93481 p%40ss-93481", "ask k-93481")]

    secrets = {"VAPI_API_KEY": "k-93481", "DATABASE_URL": "postgresql://u:p%40ss-93481@h/d"}
    found = only(await examine(reading(tmp_path, **secrets), [Check("leak", look)]))
    assert "93481" not in f"{found}"
    assert found.found == "******** ******** ********"


def test_every_variable_that_a_check_needs_is_a_setting(tmp_path: Path) -> None:
    variables = set(reading(tmp_path).settings.origins)
    assert {variable for check in CHECKS for variable in check.needs} <= variables


@pytest.mark.parametrize(
    ("marks", "code"),
    [
        ((), 0),
        (("ok", "warning", "skipped"), 0),
        (("ok", "unreachable", "warning"), 3),
        (("unreachable", "wrong"), 2),
    ],
)
def test_exit_code_tells_what_is_wrong_here_from_what_is_outside(marks: Sequence[Mark], code: int) -> None:
    assert exit_code(Finding(mark, "x", "y") for mark in marks) == code


@pytest.mark.parametrize("width", [80, 120, 200])
def test_report_fits_and_shows_all_words_whatever_the_width(width: int) -> None:
    screen = io.StringIO()
    found = "word " * 60 + "[bold]/a/very/long/path" + "/x" * 100
    findings = [Finding("unreachable", "way to Vapi", found, "do this"), Finding("ok", "Python", "3.11")]
    print_findings(findings, Console(file=screen, width=width))
    lines = screen.getvalue().splitlines()
    assert max(len(line) for line in lines) <= width
    said = "".join(screen.getvalue().split())
    assert "".join(found.split()) in said
    assert "->dothis" in said
    assert lines[-1] == "2 checks: 1 unreachable"
    assert summary([Finding("ok", "x", "y")]) == "1 checks: all is well"


# --- This machine.


def test_python_is_wrong_when_it_is_too_old() -> None:
    assert machine.python_finding((3, 11, 0), "/bin/python").mark == "ok"
    old = machine.python_finding((3, 10, 14), "/bin/python")
    assert (old.mark, old.found) == ("wrong", "3.10.14 at /bin/python is too old")
    assert "3.11" in old.advice


def installed(versions: Mapping[str, str], name: str) -> str:
    if name not in versions:
        raise PackageNotFoundError(name)
    return versions[name]


WANTED = ["hypercorn==0.18.0", "trio>=0.35", "numpy>=2.4; extra == 'sandbox'"]


@pytest.mark.parametrize(
    ("versions", "mark", "says"),
    [
        ({"hypercorn": "0.18.0", "trio": "0.35.0"}, "ok", "hypercorn 0.18.0 as pinned; 1 others"),
        ({"hypercorn": "0.18.0", "trio": "1.0"}, "ok", "hypercorn"),
        ({"hypercorn": "0.18.1", "trio": "0.35.0"}, "wrong", "hypercorn is 0.18.1, and must be 0.18.0"),
        ({"hypercorn": "0.18.0", "trio": "0.9.0"}, "wrong", "trio is 0.9.0, and must be 0.35 or newer"),
        ({"hypercorn": "0.18.0"}, "wrong", "trio is missing"),
    ],
)
def test_packages_are_wrong_when_one_is_not_as_pinned(versions: dict[str, str], mark: str, says: str) -> None:
    found = machine.packages_finding(WANTED, lambda name: installed(versions, name))
    assert (found.mark, bool(found.advice)) == (mark, mark == "wrong")
    assert says in found.found


def test_packages_of_this_environment_are_those_that_are_pinned(tmp_path: Path) -> None:
    found = only(machine.look_at_packages(reading(tmp_path)))
    assert found.mark == "ok", found
    assert "hypercorn 0.18.0" in found.found
    assert "trio-websocket 0.12.2" in found.found


@pytest.mark.parametrize(
    ("max_calls", "limit", "mark"),
    [
        (200, (1_214, 4_096), "ok"),
        (200, (resource.RLIM_INFINITY, resource.RLIM_INFINITY), "ok"),
        (200, (1_213, 4_096), "warning"),
        (200, (538, 4_096), "warning"),
        (200, (537, 4_096), "wrong"),
        (2_000, (1_024, 1_024), "wrong"),
    ],
)
def test_open_files_are_compared_with_what_the_calls_need(max_calls: int, limit: tuple[int, int], mark: str) -> None:
    found = machine.files_finding(max_calls, False, limit)
    assert found.mark == mark
    assert f"2 x {max_calls} for calls + 64 " in found.found  # the arithmetic is shown
    if mark != "ok":
        assert "ulimit -n" in found.advice
        assert "LimitNOFILE=" in found.advice
    assert ("hard limit of 1024" in found.advice) == (limit == (1_024, 1_024))


GIB = 1024**3


@pytest.mark.parametrize(("free", "mark"), [(5 * GIB, "ok"), (GIB * 3 // 4, "warning"), (GIB // 4, "wrong")])
def test_disk_is_wrong_when_it_is_nearly_full(tmp_path: Path, free: int, mark: str) -> None:
    found = machine.folder_finding("recordings", "RECORDINGS", tmp_path / "not" / "yet", lambda _: free)
    assert found.mark == mark
    assert "h of calls" in found.found
    assert not (tmp_path / "not").exists()


def test_recordings_are_wrong_when_their_folder_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    on = reading(tmp_path, RECORD_CALLS="on", RECORDINGS=str(tmp_path / "file" / "calls"))
    found = only(machine.look_at_recordings(on))
    assert (found.mark, "is a file" in found.found) == ("wrong", True)
    assert only(machine.look_at_recordings(reading(tmp_path))).mark == "ok"


# --- What it was told.


def test_settings_have_a_row_for_each_wrong_one(tmp_path: Path) -> None:
    found = look_at_settings(reading(tmp_path, PORT="eighty", MAX_CALLS="many", WEBHOOK_KEY="hunter2"))
    assert [finding.mark for finding in found] == ["wrong"] * 3
    named = {re.split("[= ]", finding.found)[0] for finding in found}
    assert named == {"PORT", "MAX_CALLS", "WEBHOOK_KEY"}
    assert "hunter2" not in str(found)


def test_settings_are_ok_when_all_are_right(tmp_path: Path) -> None:
    found = only(look_at_settings(reading(tmp_path, PORT="0", WEBHOOK_PORT="0")))
    assert (found.mark, found.found.endswith("2 of them given")) == ("ok", True)


KNOWN = {"VAPI_API_KEY", "NGROK_AUTHTOKEN", "DATABASE_URL", "PORT", "WEBHOOK_PORT", "LOG_LEVEL", "SSL_CERT_FILE"}


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("VAPI_APIKEY", "VAPI_API_KEY"),
        ("VAPI_KEY", "VAPI_API_KEY"),
        ("vapi_api_key", "VAPI_API_KEY"),
        ("NGROK_AUTH_TOKEN", "NGROK_AUTHTOKEN"),
        ("DATABASE_URI", "DATABASE_URL"),
        ("LOGLEVEL", "LOG_LEVEL"),
    ],
)
def test_variable_is_taken_for_misspelt_when_it_is_nearly_a_setting(written: str, meant: str) -> None:
    assert list(misspelt({written, "PATH"}, KNOWN)) == [(written, meant)]
    assert list(misspelt({written, meant}, KNOWN)) == []


@pytest.mark.parametrize("name", ["TEST_DATABASE_URL", "PGPORT", "SSL_CERT_DIR", "NGROK_API_KEY", "HOME", "LS_COLORS"])
def test_variable_is_left_alone_when_it_is_somebody_elses(name: str) -> None:
    assert list(misspelt({name}, KNOWN)) == []


def test_misspelt_variable_is_a_warning_without_its_value(tmp_path: Path) -> None:
    found = look_at_settings(reading(tmp_path, VAPI_APIKEY="hunter2"))[-1]
    assert (found.mark, "VAPI_APIKEY" in found.found, "VAPI_API_KEY" in found.advice) == ("warning", True, True)
    assert "hunter2" not in str(found)


@pytest.mark.parametrize(
    ("content", "mark", "says"),
    [(b"You are Riley.", "ok", "14 characters"), (b" \n", "wrong", "empty"), (b"\xff\xfe", "wrong", "not UTF-8")],
)
def test_instructions_are_wrong_when_they_cannot_be_used(tmp_path: Path, content: bytes, mark: str, says: str) -> None:
    (tmp_path / "desc.txt").write_bytes(content)
    found = only(look_at_instructions(reading(tmp_path, AGENT_DESC=str(tmp_path / "desc.txt"))))
    assert (found.mark, says in found.found) == (mark, True)


def test_instructions_are_wrong_when_they_are_missing(tmp_path: Path) -> None:
    found = only(look_at_instructions(reading(tmp_path, AGENT_DESC=str(tmp_path / "none.txt"))))
    assert (found.mark, "No such file" in found.found) == ("wrong", True)


def test_fleet_is_spoken_of_only_when_there_is_a_gateway(tmp_path: Path) -> None:
    assert look_at_fleet(reading(tmp_path)) == []
    alone = {"WEBHOOK_BIND": f"unix:{tmp_path}/a.sock"}
    assert {finding.mark for finding in look_at_fleet(reading(tmp_path, **alone))} == {"warning"}
    member = {**alone, "POD_ID": "a", "DATABASE_URL": "postgresql://h/d"}
    assert only(look_at_fleet(reading(tmp_path, **member))).mark == "ok"
    gone = look_at_fleet(reading(tmp_path, **member, HAPROXY_SOCKET=f"{tmp_path}/haproxy.sock"))
    assert (only(gone).mark, "haproxy.sock" in only(gone).found) == ("warning", True)
    with socket.socket(socket.AF_UNIX) as haproxy:
        haproxy.bind(f"{tmp_path}/haproxy.sock")
        assert only(look_at_fleet(reading(tmp_path, **member, HAPROXY_SOCKET=f"{tmp_path}/haproxy.sock"))).mark == "ok"


# --- Outside.


FACTS = DatabaseFacts(
    "bank", "18.1", 180_001, read_only=False, may_create=True, missing=(), may_write=True
)  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "mark", "says"),
    [
        ({}, "ok", "with all tables"),
        ({"missing": ("users",)}, "ok", "made with the first use"),
        ({"missing": ("users",), "may_create": False}, "wrong", "no table users"),
        ({"may_create": False}, "ok", "with all tables"),
        ({"version_number": 140_009}, "wrong", "too old"),
        ({"read_only": True}, "wrong", "takes no changes"),
        ({"may_write": False}, "wrong", "may not write"),
    ],
)
def test_database_is_wrong_when_calls_could_not_use_it(changes: dict[str, object], mark: str, says: str) -> None:
    found = facts_finding(attrs.evolve(FACTS, **changes))
    assert (found.mark, says in found.found, bool(found.advice)) == (mark, True, mark == "wrong")


@pytest.mark.parametrize(
    ("reason", "mark"),
    [
        ("ConnectionRefusedError: [Errno 111] Connect call failed ('127.0.0.1', 9)", "unreachable"),
        ("no answer in 5.0 s", "unreachable"),
        ("InvalidPasswordError: password authentication failed", "wrong"),
        ('InvalidCatalogNameError: database "x" does not exist', "wrong"),
    ],
)
def test_database_is_wrong_when_it_refuses_and_unreachable_when_it_is_silent(reason: str, mark: str) -> None:
    found = refused_finding(reason)
    assert (found.mark, found.found) == (mark, reason)
    assert "DATABASE_URL" in found.advice


@pytest.mark.parametrize(
    ("status", "body", "mark", "says"),
    [
        (200, b"[]", "ok", "accepted"),
        (200, b"<html>", "wrong", "not as Vapi does"),
        (200, b"{}", "wrong", "not as Vapi does"),
        (302, b"", "wrong", "not as Vapi does"),
        (401, json.dumps({"message": "Invalid Key."}).encode(), "wrong", "refused the key (401)"),
        (403, b"{}", "wrong", "refused the key (403)"),
        (403, b"error code: 1010", "unreachable", "1010"),
        (402, b"{}", "wrong", "payment"),
        (404, b"{}", "wrong", "VAPI_BASE_URL"),
        (429, b"{}", "warning", "429"),
        (503, b"<html><h1>503</h1></html>", "unreachable", "503"),
    ],
)
def test_key_is_told_from_what_vapi_answers(status: int, body: bytes, mark: str, says: str) -> None:
    found = vapi.key_finding(Reply(status, body))
    assert (found.mark, says in found.found, bool(found.advice)) == (mark, True, mark != "ok")


@pytest.mark.parametrize("key", ["", "…", "k\ney", "two words", "“k”"])
def test_key_is_wrong_before_anything_is_sent_when_no_key_looks_so(key: str) -> None:
    found = vapi._unusable_key(key)
    assert found is not None
    assert (found.mark, "VAPI_API_KEY" in found.found) == ("wrong", True)


@pytest.mark.parametrize(
    ("ahead_seconds", "mark", "says"),
    [
        (0, "ok", "within 1 s"),
        (29, "ok", "within 29 s"),
        (-31, "warning", "31 s behind"),
        (299, "warning", "299 s ahead"),
        (301, "wrong", "301 s ahead"),
        (-86_400, "wrong", "86,400 s behind"),
    ],
)
def test_clock_is_wrong_when_it_is_far_from_vapis(ahead_seconds: int, mark: str, says: str) -> None:
    date = format_datetime(NOW - timedelta(seconds=ahead_seconds), usegmt=True)
    found = vapi.clock_finding(date, NOW)
    assert (found.mark, says in found.found) == (mark, True)


@pytest.mark.parametrize("date", ["", "yesterday", "Mon, 99 Foo 2026"])
def test_clock_is_not_compared_when_the_reply_has_no_date(date: str) -> None:
    assert vapi.clock_finding(date, NOW).mark == "skipped"


@pytest.mark.parametrize(
    ("one", "other", "collide"),
    [("0.0.0.0", "127.0.0.1", True), ("::", "::1", True), ("::1", "::1", True), ("0.0.0.0", "::1", False)],
)
def test_doors_collide_only_where_an_address_covers_the_other(one: str, other: str, collide: bool) -> None:
    assert doors._same(Bind(one, 80), Bind(other, 80)) is doors._same(Bind(other, 80), Bind(one, 80)) is collide
    assert not doors._same(Bind(one, 80), Bind(other, 81))
