"""A PostgreSQL server of our own, with no set-up: for the demo, the simulator, the tests and a first `voice serve`.

It listens on a socket in a private folder and nowhere else. The server is our child and in a process group of its own,
so Ctrl-C reaches us and not it. Beside it a shell watches a pipe that only we hold: however we end, kill -9 included,
it stops the server and removes the folder.
"""

import fcntl
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import attrs
import trio

from db.server_binaries import Binaries, EmbeddedServerError, ServerUser, find_binaries, server_user
from runtime import limits

WATCHDOG: Final = Path(__file__).with_name("watchdog.sh")

__all__ = ["EmbeddedServerError", "open_embedded_server"]


@asynccontextmanager
async def open_embedded_server(folder: Path | None = None) -> AsyncIterator[str]:
    """A server for the body; yields its DATABASE_URL. Its database is empty the first time.

    With `folder` the data stays there between runs, and survives kill -9; without, nothing stays. Ready in about a
    second, or a quarter of that when the data exists. Stopped in bounded time, also when cancelled.
    Raises EmbeddedServerError: no PostgreSQL found, it does not start, or another live process uses `folder`.
    """
    launch = _Launch(server_user(), _make_private_folder())
    try:
        await launch.watch()
        data = await launch.prepare(folder)
        await launch.serve(data, lasting=folder is not None)
        yield launch.url
    finally:
        with trio.move_on_after(limits.SERVER_END_SECONDS, shield=True):
            await launch.stop()


def _make_private_folder() -> Path:
    """A new folder, 0700, short enough for a socket path."""
    name = Path(tempfile.mkdtemp(prefix="voice-"))
    if len(os.fsencode(name / ".s.PGSQL.5432")) <= limits.SERVER_SOCKET_PATH_BYTES:
        return name
    name.rmdir()
    return Path(tempfile.mkdtemp(prefix="voice-", dir="/tmp"))


@attrs.define
class _Launch:
    """One server from its folder to its end. What is None has not been made yet, or is gone."""

    _user: ServerUser
    _private: Path
    _binaries: Binaries | None = None
    _lock: int | None = None  # a descriptor; the server inherits it, so the lock lasts as long as any of its processes
    _pipe: int | None = None  # our end; that it closes is what the watchdog waits for
    _watchdog: trio.Process | None = None
    _child: trio.Process | None = None  # initdb, then the server

    @property
    def url(self) -> str:
        return f"postgresql://postgres@/postgres?host={quote(str(self._private), safe='/')}"

    async def watch(self) -> None:
        """Start the watchdog, before anything it would have to clear away."""
        theirs, self._pipe = os.pipe()  # not inherited by the programs we start, unless passed on by name
        try:
            command = ["/bin/sh", str(WATCHDOG), str(self._private)]
            self._watchdog = await _open(command, stdin=theirs, stdout=subprocess.DEVNULL)
        finally:
            os.close(theirs)

    async def prepare(self, folder: Path | None) -> Path:
        """Find the programs, lock the data folder, and make the data if there is none. Where the data is."""
        if self._user.name is not None:
            os.chown(self._private, self._user.uid, self._user.gid)
        await self._demand("w", self._private, "set TMPDIR to a folder it can reach")
        self._binaries = await trio.to_thread.run_sync(find_binaries)
        if self._binaries.trees and not await self._may("x", self._binaries.folder / "postgres"):
            copy = self._private / "programs"
            self._binaries = await trio.to_thread.run_sync(self._binaries.copied_to, copy)
        await self._demand("x", self._binaries.folder / "postgres", "set DATABASE_URL, or run as another user")
        data = self._private / "data"
        if folder is not None:
            data = Path(await trio.Path(folder).absolute()) / "data"
            await self._claim(trio.Path(data.parent))
        if not await trio.Path(data / "PG_VERSION").exists():
            await self._make_data(data, lasting=folder is not None)
        return data

    async def _claim(self, folder: trio.Path) -> None:
        """Lock `folder` for us and our server, waiting for what an earlier run left to end."""
        try:
            await folder.mkdir(parents=True, exist_ok=True)
            descriptor = self._lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise EmbeddedServerError(f"cannot keep a database in {folder}: {error.strerror}") from error
        with trio.move_on_after(limits.SERVER_LOCK_SECONDS):
            while not _locked(descriptor):
                owner = os.pread(descriptor, 20, 0).decode()
                if owner.isdigit() and _alive(int(owner)):
                    raise EmbeddedServerError(f"the database in {folder} is in use by process {owner}: stop it first")
                # The owner is gone; its server, which shares the lock, is being stopped by its watchdog.
                await trio.sleep(limits.SERVER_POLL_SECONDS)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, str(os.getpid()).encode(), 0)
            return
        raise EmbeddedServerError(f"the server of an earlier run in {folder} does not end: stop it first")

    async def _make_data(self, data: Path, *, lasting: bool) -> None:
        """initdb, beside its final place: an interrupted one must not be taken for a database."""
        assert self._binaries is not None
        fresh = data.with_name("data.new")
        await trio.to_thread.run_sync(lambda: shutil.rmtree(fresh, ignore_errors=True))
        fresh.mkdir(mode=0o700)
        if self._user.name is not None:
            os.chown(fresh, self._user.uid, self._user.gid)
        await self._demand("w", fresh, "set DATABASE_URL, or keep the data in a folder it can reach")
        command = [str(self._binaries.folder / "initdb"), f"--pgdata={fresh}", "--username=postgres", "--auth=trust"]
        command += ["--encoding=UTF8", "--locale=C", "--wal-segsize=1", "--no-instructions"]
        initdb = await self._start(command if lasting else [*command, "--no-sync"])
        with trio.move_on_after(limits.SERVER_INITDB_SECONDS):
            code = await initdb.wait()
            self._tell("stopped")  # its process id is free again, for anybody
            if code == 0:
                fresh.rename(data)
                return
        raise EmbeddedServerError(f"initdb failed: {await self._last_words()}")

    async def serve(self, data: Path, *, lasting: bool) -> None:
        """Start the server on `data`, and return when it takes connections."""
        assert self._binaries is not None
        _drop_stale_pid_file(data / "postmaster.pid")
        options = {"listen_addresses": "", "unix_socket_permissions": "0700", "logging_collector": "off"}
        if not lasting:
            options |= {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}
        command = [str(self._binaries.folder / "postgres"), "-D", str(data), "-k", str(self._private), "-p", "5432"]
        server = await self._start(command + [f"--{name}={value}" for name, value in options.items()])
        with trio.move_on_after(limits.SERVER_START_SECONDS):
            while server.poll() is None:
                if _is_ready(data / "postmaster.pid", server.pid):
                    return
                await trio.sleep(limits.SERVER_POLL_SECONDS)
        raise EmbeddedServerError(f"PostgreSQL did not start: {await self._last_words()}")

    async def stop(self) -> None:
        """Stop what runs, and have the folder removed. Bounded: each step has its own limit."""
        try:
            try:
                await self._stop_child()
            finally:
                if self._pipe is not None:
                    os.close(self._pipe)
            await self._clear_away()
        finally:
            if self._lock is not None:
                os.close(self._lock)

    async def _stop_child(self) -> None:
        if self._child is None:
            return
        for signal_number, seconds in (
            (signal.SIGINT, limits.SERVER_STOP_SECONDS),
            (signal.SIGQUIT, limits.SERVER_KILL_SECONDS),
            (signal.SIGKILL, limits.SERVER_KILL_SECONDS),
        ):
            with trio.move_on_after(seconds):
                self._child.send_signal(signal_number)
                await self._child.wait()
                self._tell("stopped")
                break

    async def _clear_away(self) -> None:
        if self._watchdog is not None:
            with trio.move_on_after(limits.SERVER_WATCHDOG_SECONDS) as too_slow:
                await self._watchdog.wait()
            if too_slow.cancelled_caught:
                with trio.move_on_after(limits.SERVER_KILL_SECONDS):
                    self._watchdog.kill()
                    await self._watchdog.wait()
        with trio.move_on_after(limits.SERVER_WATCHDOG_SECONDS):
            # The watchdog's work already, unless we were cancelled before it started, or somebody killed it.
            await trio.to_thread.run_sync(lambda: shutil.rmtree(self._private, ignore_errors=True))

    async def _start(self, command: list[str]) -> trio.Process:
        """Run one of PostgreSQL's programs under the watchdog's eye, its output in our log."""
        inherited = () if self._lock is None else (self._lock,)
        options = self._user.popen_options()
        with (self._private / "log").open("ab") as log:
            self._child = await _open(command, stdin=subprocess.DEVNULL, stdout=log, pass_fds=inherited, **options)
        self._tell(f"process {self._child.pid}")
        return self._child

    def _tell(self, line: str) -> None:
        assert self._pipe is not None
        with suppress(BrokenPipeError):  # somebody killed the watchdog: then we clear up as well as we can without it
            os.write(self._pipe, f"{line}\n".encode())

    async def _last_words(self) -> str:
        text = await trio.Path(self._private / "log").read_text(errors="replace")
        return (text.strip().splitlines() or ["it said nothing"])[-1]

    async def _may(self, right: str, path: Path) -> bool:
        """Whether the server's user has that right (as in the shell's `test`), every folder above counted."""
        command = ["/bin/sh", "-c", f'test -{right} "$1"', "sh", str(path)]
        done = await trio.run_process(command, check=False, cwd="/", capture_stderr=True, **self._user.popen_options())
        return done.returncode == 0

    async def _demand(self, right: str, path: Path, remedy: str) -> None:
        if not await self._may(right, path):
            who = "we" if self._user.name is None else f"the user {self._user.name!r}, who runs PostgreSQL for root,"
            raise EmbeddedServerError(f"{who} cannot use {path}: {remedy}")


async def _open(command: list[str], **options: Any) -> trio.Process:
    """Start a program in a session of its own, out of reach of the terminal's Ctrl-C."""
    environment = os.environ | {"TZ": "UTC"}  # initdb would search its whole time zone folder for the machine's
    try:
        return await trio.lowlevel.open_process(
            command, cwd="/", env=environment, start_new_session=True, stderr=subprocess.STDOUT, **options
        )
    except OSError as error:
        raise EmbeddedServerError(f"cannot run {command[0]}: {error.strerror}") from error


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _is_ready(pid_file: Path, process: int) -> bool:
    """Whether the server says in its pid file that it is, as pg_ctl asks. The file may still be a dead server's."""
    try:
        lines = pid_file.read_text().split()
    except OSError:
        return False
    return len(lines) > 1 and (lines[0], lines[-1]) == (str(process), "ready")


def _drop_stale_pid_file(pid_file: Path) -> None:
    """Remove what a killed server left, if its process id now belongs to some other program.

    The server itself copes with an id that nobody has; after a restart of a container the id is usually taken.
    Nothing is removed while any program of that name has the id, or where that cannot be seen.
    """
    try:
        process = int(pid_file.read_text().splitlines()[0])
        program = Path(f"/proc/{process}/comm").read_text().strip()
    except (OSError, ValueError, IndexError):
        return
    if program != "postgres":
        pid_file.unlink(missing_ok=True)
