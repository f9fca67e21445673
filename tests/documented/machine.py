"""A machine for the reader of a document: its own network, where every default port is free and nothing leads outside.

Linux only: namespaces. Programs run in process groups of their own, so that Ctrl-C reaches all that a terminal's would.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import attrs

LOOK_SECONDS: Final = 0.05
STOP_SECONDS: Final = 20.0
SIGNALLED: Final = 128
OPEN: Final = "ip link set lo up && echo ready && exec sleep infinity"
# util-linux; without root in a user namespace, in which one stays who one is.
UNSHARE: Final = ("unshare", "--net") if os.geteuid() == 0 else (
    "unshare", "--user", "--map-current-user", "--keep-caps", "--net",
)  # fmt: skip


class NoMachine(Exception):
    """There is none to be had here; the reason in a line."""


@attrs.frozen
class Machine:
    """`entry`: what goes before a command's words."""

    entry: tuple[str, ...]

    def start(self, script: str, *, folder: Path, environ: Mapping[str, str], output: Path) -> "Running":
        words = [*self.entry, "env", "--default-signal=INT", "sh", "-c", script]
        with output.open("wb") as file:
            process = subprocess.Popen(
                words, cwd=folder, env=environ, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip
        return Running(process, output)


@attrs.frozen(eq=False)
class Running:
    process: "subprocess.Popen[bytes]"
    output: Path

    @property
    def said(self) -> str:
        return self.output.read_text(errors="replace")

    def ends(self, within_seconds: float) -> int | None:
        """Its exit code, as a shell tells it; None, and it is killed, when it does not end in time."""
        try:
            code = self.process.wait(within_seconds)
            return code if code >= 0 else SIGNALLED - code
        except subprocess.TimeoutExpired:
            self.kill()
            return None

    def says(self, words: str, within_seconds: float) -> bool:
        """Looks until it has, or has ended, or the time is over."""
        end = time.monotonic() + within_seconds
        while words not in self.said:
            if self.process.poll() is not None or time.monotonic() > end:
                return words in self.said
            time.sleep(LOOK_SECONDS)
        return True

    def interrupt(self) -> int | None:
        """Ctrl-C: to all of its process group. Its exit code, as `ends` tells it."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGINT)
        return self.ends(STOP_SECONDS)

    def kill(self) -> None:
        """All of its group, which may have outlived it."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@contextmanager
def open_machine() -> Iterator[Machine]:
    """Raises NoMachine."""
    for program, package in (("unshare", "util-linux"), ("nsenter", "util-linux"), ("ip", "iproute2")):
        if shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None:
            raise NoMachine(f"{program} is not installed: make system-packages brings Debian's {package}")
    holder = subprocess.Popen([*UNSHARE, "sh", "-c", OPEN], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stderr is not None
        if holder.stdout.readline() != "ready\n":
            raise NoMachine(f"no network of its own can be had here: {holder.stderr.read().strip()}")
        stay = () if os.geteuid() == 0 else ("--user", "--preserve-credentials")
        yield Machine(("nsenter", "--target", str(holder.pid), "--net", *stay, "--"))
    finally:
        holder.kill()
        holder.communicate()
