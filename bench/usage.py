"""What a process has used: CPU time to the nanosecond, and memory."""

import sys
import time

import attrs
import psutil

_MIB = 1024 * 1024
_CPUCLOCK_SCHED = 2


def cpu_ns(pid: int) -> int:
    """User and system time of all its threads, ended ones among them. Raises OSError when it is gone.

    On Linux from the process's own CPU clock (clock_getcpuclockid): what /proc shows comes in steps of 10 ms, and
    one call uses about that in a second. Elsewhere from psutil.
    """
    if sys.platform == "linux":
        return time.clock_gettime_ns((~pid << 3) | _CPUCLOCK_SCHED)
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.Error as exc:
        raise ProcessLookupError(pid) from exc
    return int((times.user + times.system) * 1e9)


@attrs.frozen
class Memory:
    """In MiB. `pss_mib` shares what several processes map; `uss_mib` is the process's alone; None where unknown."""

    rss_mib: float
    pss_mib: float | None
    uss_mib: float | None


def memory(*pids: int) -> Memory:
    """Of these processes together. Raises ProcessLookupError when one is gone."""
    try:
        fulls = [psutil.Process(pid).memory_full_info() for pid in pids]
    except psutil.Error as exc:
        raise ProcessLookupError(pids) from exc
    known = [name for name in ("pss", "uss") if all(hasattr(full, name) for full in fulls)]
    sums = {name: sum(getattr(full, name) for full in fulls) / _MIB for name in ("rss", *known)}
    return Memory(sums["rss"], sums.get("pss"), sums.get("uss"))


def children(pid: int) -> list[int]:
    """Process ids. Raises ProcessLookupError when it is gone."""
    try:
        return [child.pid for child in psutil.Process(pid).children()]
    except psutil.Error as exc:
        raise ProcessLookupError(pid) from exc
