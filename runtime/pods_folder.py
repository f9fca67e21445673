"""The folder of the pods' sockets and nginx's files, and a shell that clears up after us, kill -9 included."""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

import attrs
import trio

from runtime import limits
from runtime.errors import StartError

WATCHDOG: Final = Path(__file__).with_name("pods_watchdog.sh")
# What an nginx configuration may hold; a pod's id and `.sock` come behind it, and a socket's path has 100 bytes.
PLAIN_PATH: Final = re.compile(r"/[A-Za-z0-9._/-]{1,50}")


@attrs.frozen
class PodsFolder:
    """`tell` says to the watchdog what runs: `NAME PID`, `leaving PID`, `gone PID`."""

    path: Path
    _pipe: int

    def tell(self, line: str) -> None:
        with suppress(BrokenPipeError):  # somebody killed the watchdog: all is well as long as we are not killed too
            os.write(self._pipe, f"{line}\n".encode())


@asynccontextmanager
async def open_pods_folder() -> AsyncIterator[PodsFolder]:
    """A new folder, ours alone, gone at the end with the watchdog. Raises StartError."""
    try:
        path = Path(tempfile.mkdtemp(prefix="pods-"))
        if not PLAIN_PATH.fullmatch(str(path)):
            os.rmdir(path)
            path = Path(tempfile.mkdtemp(prefix="pods-", dir="/tmp"))
    except OSError as exc:
        raise StartError(f"no folder can be made for the pods' sockets: {exc.strerror or exc}: set TMPDIR") from exc
    theirs, ours = os.pipe()
    try:
        watchdog = await trio.lowlevel.open_process(
            ["/bin/sh", str(WATCHDOG), str(path)], stdin=theirs, stdout=subprocess.DEVNULL, start_new_session=True
        )
    finally:
        os.close(theirs)
    try:
        yield PodsFolder(path, ours)
    finally:
        os.close(ours)
        with trio.move_on_after(limits.PODS_KILL_SECONDS, shield=True):
            await watchdog.wait()
        shutil.rmtree(path, ignore_errors=True)  # the watchdog's work already, unless somebody killed it
