"""Of this machine: Python, the packages, how many files may be open, how much room the disks have."""

import os
import re
import resource
import shutil
import sys
from collections.abc import Callable, Iterable
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Final

from runtime import limits
from runtime.doctor.finding import Finding
from runtime.http_client import MOST_CONNECTIONS
from runtime.settings import Reading

PROJECT: Final = "mini-bcs-voice-vapi"
OLDEST_PYTHON: Final = (3, 11)
INSTALL: Final = "install what is locked: `pip install --require-hashes -r requirements.lock`; or `make clean install`"

SPARE_FILES: Final = 64  # listeners, the poller, the log, the tunnel's pipes, a recording that is decoded
BYTES_PER_RECORDED_SECOND: Final = 2 * limits.AUDIO_BYTES_PER_SECOND  # both voices
DISK_LOW_BYTES: Final = 1024**3  # three hours of recorded calls
DISK_FULL_BYTES: Final = 100 * 1024**2  # PostgreSQL needs some of it to go on at all; recordings end before


def look_at_python(_reading: Reading) -> list[Finding]:
    return [python_finding(sys.version_info[:3], sys.executable)]


def python_finding(found: tuple[int, ...], executable: str) -> Finding:
    said = f"{'.'.join(map(str, found))} at {executable}"
    if found < OLDEST_PYTHON:
        oldest = ".".join(map(str, OLDEST_PYTHON))
        return Finding("wrong", "Python", f"{said} is too old", f"use {oldest} or newer, in a new virtual environment")
    return Finding("ok", "Python", said)


def look_at_packages(_reading: Reading) -> list[Finding]:
    try:
        wanted = requires(PROJECT) or []
    except PackageNotFoundError:
        return [Finding("warning", "packages", f"{PROJECT} is not installed, so what it needs is not known", INSTALL)]
    return [packages_finding(wanted, version)]


def packages_finding(wanted: Iterable[str], installed: Callable[[str], str]) -> Finding:
    """`wanted` as in a package's metadata; extras are left out. `installed` raises PackageNotFoundError."""
    troubles, pinned, others = [], [], 0
    for line in wanted:
        parsed = re.match(r"([A-Za-z0-9._-]+)\s*(==|>=)\s*([0-9.]+)", line)
        if parsed is None or "extra ==" in line:
            continue
        name, relation, number = parsed.groups()
        try:
            found = installed(name)
        except PackageNotFoundError:
            troubles.append(f"{name} is missing")
            continue
        if relation == "==" and found != number:
            troubles.append(f"{name} is {found}, and must be {number}")
        elif relation == ">=" and _numbers(found) < _numbers(number):
            troubles.append(f"{name} is {found}, and must be {number} or newer")
        elif relation == "==":
            pinned.append(f"{name} {found}")
        else:
            others += 1
    if troubles:
        return Finding("wrong", "packages", "; ".join(troubles), INSTALL)
    return Finding("ok", "packages", f"{', '.join(pinned)} as pinned; {others} others new enough")


def _numbers(found: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", found)[:3])


def look_at_open_files(reading: Reading) -> list[Finding]:
    settings = reading.settings
    return [files_finding(settings.max_calls, settings.record_calls, resource.getrlimit(resource.RLIMIT_NOFILE))]


def files_finding(max_calls: int, recorded: bool, limit: tuple[int, int]) -> Finding:
    """`limit`: (soft, hard). The calls must fit; a full webhook door should too."""
    soft, hard = limit
    a_call = 3 if recorded else 2
    calls = a_call * max_calls + limits.VOICE_SPARE_CONNECTIONS + limits.DATABASE_POOL_CONNECTIONS + SPARE_FILES
    most = calls + limits.WEBHOOK_CONNECTIONS + limits.CONSOLE_CONNECTIONS + MOST_CONNECTIONS
    sum_ = (
        f"{a_call} x {max_calls} for calls + {limits.VOICE_SPARE_CONNECTIONS} for callers turned away"
        f" + {limits.WEBHOOK_CONNECTIONS} at the webhook door + {limits.CONSOLE_CONNECTIONS} at the console"
        f" + {MOST_CONNECTIONS} requests out"
        f" + {limits.DATABASE_POOL_CONNECTIONS} to the database + {SPARE_FILES} spare = {most}"
    )
    if soft == resource.RLIM_INFINITY or soft >= most:
        shown = "any number" if soft == resource.RLIM_INFINITY else str(soft)
        return Finding("ok", "open files", f"{shown} may be open, at most {most} are needed: {sum_}")
    wanted = 1 << (most - 1).bit_length()
    advice = f"`ulimit -n {wanted}` in the shell that runs `voice serve`, or LimitNOFILE={wanted} in its systemd unit"
    if hard != resource.RLIM_INFINITY and hard < most:
        advice += f"; the hard limit of {hard} is root's to raise"
    if soft < calls:
        line = f"{soft} may be open, too few for {max_calls} calls: {sum_}"
        return Finding("wrong", "open files", line, f"{advice}; or lower MAX_CALLS")
    line = f"{soft} may be open: enough for the calls, not for full doors: {sum_}"
    return Finding("warning", "open files", line, advice)


def look_at_recordings(reading: Reading) -> list[Finding]:
    if not reading.settings.record_calls:
        return [Finding("ok", "recordings", "off (RECORD_CALLS)")]
    return [folder_finding("recordings", "RECORDINGS", reading.settings.recordings)]


def free_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder).free


def folder_finding(name: str, setting: str, folder: Path, free_of: Callable[[Path], int] = free_bytes) -> Finding:
    """Whether files can be made below `folder`, which need not be there yet, and how many more."""
    existing = folder.absolute()
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    if not existing.is_dir():
        return Finding("wrong", name, f"{folder} cannot be a folder: {existing} is a file", f"set {setting}")
    if not os.access(existing, os.W_OK | os.X_OK):
        return Finding("wrong", name, f"{existing} cannot be written to", f"set {setting}, or give this user the right")
    try:
        free = free_of(existing)
    except OSError as exc:
        return Finding("wrong", name, f"{existing}: {exc.strerror}", f"set {setting} to a folder of another disk")
    room = f"{free / 1024**3:,.1f} GiB free for {folder}"
    least = DISK_FULL_BYTES
    if name == "recordings":
        least = limits.RECORD_FREE_BYTES  # below, no call is recorded
        room += f": {free / BYTES_PER_RECORDED_SECOND / 3600:,.0f} h of calls"
    if free < DISK_LOW_BYTES:
        return Finding("wrong" if free < least else "warning", name, room, f"make room, or set {setting}")
    return Finding("ok", name, room)
