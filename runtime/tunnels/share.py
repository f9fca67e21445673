"""Processes of one machine take turns at one account: first come, first served.

A ticket is a file with a number, locked (flock) by its owner for as long as he waits or has his turn. Whoever has the
lowest ticket that is still locked has the turn. The kernel drops a lock with its process, kill -9 included, so a
ticket that can be locked is stale and is removed.

- A ticket is locked before it is seen: it gets its number by a rename.
- Numbers are given under the gate, a lock held for two system calls, and are never used twice.
- Nothing here blocks: a lock that is taken is tried again later, so waiting can be cancelled and leaves no thread.
"""

import fcntl
import hashlib
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Final

import trio

from runtime import limits

LOCKS: Final = Path("/run/lock")
DIGITS: Final = 12


class NoQueue(Exception):
    """The folder of the tickets cannot be used. One line."""


def queue_folder(account: str, root: Path | None = None) -> Path:
    """Where this account's tickets are, private to this user. The account's secret cannot be read off it."""
    if root is None:
        root = LOCKS if os.access(LOCKS, os.W_OK | os.X_OK) else Path(tempfile.gettempdir())
    return root / f"voice-tunnel-{os.getuid()}" / hashlib.sha256(account.encode()).hexdigest()[:16]


@asynccontextmanager
async def turn(folder: Path, on_place: Callable[[int], None]) -> AsyncIterator[None]:
    """Wait for the turn, and keep it for the body. `on_place` is told how many are ahead, whenever that changes.

    Raises NoQueue.
    """
    fresh = ticket = folder / f"new-{os.getpid()}-{os.urandom(4).hex()}"
    descriptor = _make(fresh)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        ticket = await _numbered(folder, fresh)  # until here `fresh` is its name, also when this is cancelled
        place = -1
        while ahead := _looked_ahead(folder, ticket):
            if ahead != place:
                on_place(ahead)
                place = ahead
            await trio.sleep(limits.TUNNEL_TURN_POLL_SECONDS)
        yield
    finally:
        with suppress(FileNotFoundError):
            ticket.unlink()
        os.close(descriptor)


def _make(ticket: Path) -> int:
    """Its descriptor. Others can write beside its folder, which must be ours, and no link to something else."""
    try:
        for folder in (ticket.parent.parent, ticket.parent):
            folder.mkdir(mode=0o700, exist_ok=True)
            if folder.is_symlink() or folder.lstat().st_uid != os.getuid():
                raise NoQueue(f"TUNNEL_SHARE=serialize: {folder} is somebody else's: remove it")
        return os.open(ticket, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as exc:
        raise _no_queue(ticket.parent, exc) from exc


def _looked_ahead(folder: Path, mine: Path) -> int:
    try:
        return _ahead(folder, mine)
    except OSError as exc:
        raise _no_queue(folder, exc) from exc


def _no_queue(folder: Path, exc: OSError) -> NoQueue:
    return NoQueue(f"TUNNEL_SHARE=serialize: cannot keep a queue in {folder}: {exc.strerror or exc}")


async def _numbered(folder: Path, fresh: Path) -> Path:
    while True:
        try:
            ticket = _rename(folder, fresh)
        except OSError as exc:
            raise _no_queue(folder, exc) from exc
        if ticket is not None:
            return ticket
        await trio.sleep(limits.TUNNEL_GATE_POLL_SECONDS)


def _rename(folder: Path, fresh: Path) -> Path | None:
    """Give it the next number; None when somebody else is at the gate."""
    with _lock(folder / "gate") as gate:
        if gate is None:
            return None
        said = os.pread(gate, DIGITS, 0)
        last = max([int(said) if said.isdigit() else 0, *(number for number, _ in _tickets(folder))])
        os.pwrite(gate, f"{last + 1:0{DIGITS}}".encode(), 0)
        return fresh.rename(folder / f"ticket-{last + 1:0{DIGITS}}")


def _tickets(folder: Path) -> list[tuple[int, Path]]:
    found = [(path.name.removeprefix("ticket-"), path) for path in folder.glob("ticket-*")]
    return sorted((int(number), path) for number, path in found if number.isdigit())


def _ahead(folder: Path, mine: Path) -> int:
    """How many live tickets are before mine; stale ones go."""
    living = 0
    for _, path in _tickets(folder):
        if path == mine:
            break
        with suppress(FileNotFoundError), _lock(path, create=False) as stale:
            if stale is None:
                living += 1
            else:
                path.unlink()
    return living


@contextmanager
def _lock(path: Path, *, create: bool = True) -> Iterator[int | None]:
    """The file's descriptor, locked for the body; None when somebody else has the lock. Never waits."""
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0), 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
        else:
            yield descriptor
    finally:
        os.close(descriptor)
