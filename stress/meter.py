"""What the processes of a run use, and what is left of the machine: from /proc, so on Linux only."""

import os
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

import attrs

from stress.sample import DISPLAY, OTHERS

PROC: Final = Path("/proc")
DATABASE: Final = "database"
_POSTGRES: Final = "postgres"
_CPUCLOCK_SCHED: Final = 2
_MIB: Final = 1024 * 1024
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_IDLE_FIELDS: Final = (3, 4)  # of the first line of /proc/stat: idle, and idle while a disk is waited for
_MACHINE_FIELDS: Final = 8  # those behind are parts of these


def available() -> bool:
    """Whether this machine tells what its processes use."""
    return (PROC / "stat").exists() and (PROC / "self" / "stat").exists()


def cpu_seconds(pid: int) -> float:
    """User and system time of all its threads, to the nanosecond (clock_getcpuclockid). Raises OSError when it is
    gone."""
    return time.clock_gettime_ns((~pid << 3) | _CPUCLOCK_SCHED) / 1e9


def rss_mib(pid: int) -> float:
    """Raises OSError when it is gone."""
    pages = int((PROC / str(pid) / "statm").read_text().split()[1])
    if not pages:  # it has ended, and nobody has asked how
        raise ProcessLookupError(pid)
    return pages * os.sysconf("SC_PAGE_SIZE") / _MIB


def machine_seconds() -> tuple[float, float]:
    """(all, idle) CPU time of the machine since it started, of all its cores."""
    fields = [int(field) for field in (PROC / "stat").read_text().split("\n", 1)[0].split()[1:]]
    return sum(fields[:_MACHINE_FIELDS]) / _TICKS, sum(fields[place] for place in _IDLE_FIELDS) / _TICKS


@attrs.frozen
class Process:
    """One line of /proc/PID/stat. `seconds`: its CPU time and that of its children that have ended."""

    pid: int
    name: str
    parent: int
    session: int
    seconds: float


def processes() -> list[Process]:
    """All of the machine that have not ended."""
    return [process for folder in PROC.iterdir() if folder.name.isdigit() and (process := _read(folder)) is not None]


def _read(folder: Path) -> Process | None:
    with suppress(OSError):
        name, _, rest = (folder / "stat").read_text().partition("(")[2].rpartition(")")
        fields = rest.split()
        if fields[0] not in "ZX":
            used = sum(int(field) for field in fields[11:15]) / _TICKS
            return Process(int(folder.name), name, int(fields[1]), int(fields[3]), used)
    return None


def left_of(sessions: Iterable[int]) -> tuple[str, ...]:
    """Processes of these sessions that still live."""
    wanted = set(sessions)
    return tuple(f"{process.name} ({process.pid})" for process in processes() if process.session in wanted)


@attrs.define(eq=False)
class ProcMeter:
    """`pids`: by name, the processes that are told of; beside them our own, and the database that is our child.
    Mutable: what was read the last time."""

    pids: Mapping[str, int]
    _before: dict[str, float] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._before = self._used()

    def read(self) -> tuple[Mapping[str, float], float | None]:
        """See :class:`stress.run.Meter`."""
        before, self._before = self._before, self._used()
        took = {name: value - before.get(name, 0.0) for name, value in self._before.items()}
        wall, machine, idle = took.pop("wall"), took.pop("machine"), took.pop("idle")
        took[OTHERS] = machine - idle - sum(took.values())
        shares = {name: round(max(0.0, seconds) / wall, 4) for name, seconds in took.items()}
        return shares, round(idle / machine, 4) if machine else None

    def _used(self) -> dict[str, float]:
        """Everything as it stands, in seconds."""
        machine, idle = machine_seconds()
        used = {"wall": time.monotonic(), "machine": machine, "idle": idle, DISPLAY: time.process_time()}
        for name, pid in self.pids.items():
            with suppress(OSError):
                used[name] = cpu_seconds(pid)
        return used | {DATABASE: _database_seconds(os.getpid())}


def _database_seconds(parent: int) -> float:
    """Of the PostgreSQL that is a child of `parent`: the server, its children, and those that have ended."""
    servers = [process for process in processes() if process.name == _POSTGRES]
    mothers = {process.pid for process in servers if process.parent == parent}
    return sum(process.seconds for process in servers if process.pid in mothers or process.parent in mothers)
