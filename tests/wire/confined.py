"""A unit's seccomp filters round a program: python -m tests.wire.confined UNIT PROGRAM ARGUMENT...

Where systemd is not at hand to start the unit, this takes from the program what the unit's SystemCallFilter,
RestrictAddressFamilies and MemoryDenyWriteExecute take, by libseccomp as systemd does, with systemd's own sets. What
the unit does by namespaces (ProtectSystem, PrivateTmp and the like) is not done here.
"""

import ctypes
import errno
import mmap
import os
import socket
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

LIBRARY: Final = "libseccomp.so.2"
ALLOW: Final = 0x7FFF0000
ERRNO: Final = 0x00050000
EQUAL: Final = 4
MASKED_EQUAL: Final = 7
FAMILIES: Final = range(64)  # of addresses: more than any Linux has
WRITE_AND_EXECUTE: Final = mmap.PROT_WRITE | mmap.PROT_EXEC


class _Comparison(ctypes.Structure):
    """libseccomp's `scmp_arg_cmp`."""

    _fields_ = (
        ("argument", ctypes.c_uint),
        ("operation", ctypes.c_int),
        ("first", ctypes.c_uint64),
        ("second", ctypes.c_uint64),
    )


class Filter:
    """One filter; what no rule names gets `otherwise`. In force from `load` on, for this process and its children."""

    def __init__(self, otherwise: int) -> None:
        self._library = ctypes.CDLL(LIBRARY)
        self._library.seccomp_init.restype = ctypes.c_void_p
        self._context = ctypes.c_void_p(self._library.seccomp_init(ctypes.c_uint32(otherwise)))
        assert self._context, "no filter could be made"

    def rule(self, action: int, call: str, *comparisons: _Comparison) -> None:
        number = self._library.seccomp_syscall_resolve_name(call.encode())
        if number < 0:
            return  # of another architecture
        array = (_Comparison * len(comparisons))(*comparisons)
        code = self._library.seccomp_rule_add_array(
            self._context, ctypes.c_uint32(action), number, len(comparisons), array
        )
        assert code == 0, f"{call}: {os.strerror(-code)}"

    def load(self) -> None:
        code = self._library.seccomp_load(self._context)
        assert code == 0, os.strerror(-code)


def settings_of(unit: Path) -> dict[str, list[str]]:
    """The unit's directives with their values, in their order."""
    found: dict[str, list[str]] = {}
    for line in unit.read_text().splitlines():
        if "=" in line and not line.startswith("#"):
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


def calls_in(names: Iterable[str]) -> set[str]:
    """System calls by name, systemd's @sets opened up."""
    found: set[str] = set()
    for name in names:
        if not name.startswith("@"):
            found.add(name)
            continue
        shown = subprocess.run(["systemd-analyze", "syscall-filter", name], capture_output=True, text=True, check=True)
        lines = [line.strip() for line in shown.stdout.splitlines()[1:]]
        found |= calls_in(line for line in lines if line and not line.startswith("#"))
    return found


def confine(unit: Path) -> None:
    told = settings_of(unit)
    code = ERRNO | getattr(errno, told["SystemCallErrorNumber"][0])
    allowed: set[str] = set()
    for value in told["SystemCallFilter"]:
        calls = calls_in(value.removeprefix("~").split())
        allowed = allowed - calls if value.startswith("~") else allowed | calls
    filters = [Filter(code), Filter(ALLOW)]
    for call in sorted(allowed):
        filters[0].rule(ALLOW, call)
    families = {int(getattr(socket, name)) for name in told["RestrictAddressFamilies"][0].split()}
    for family in set(FAMILIES) - families:
        filters[1].rule(ERRNO | errno.EAFNOSUPPORT, "socket", _Comparison(0, EQUAL, family))
    if told["MemoryDenyWriteExecute"] == ["yes"]:
        refused = ERRNO | errno.EPERM
        filters[1].rule(refused, "mmap", _Comparison(2, MASKED_EQUAL, WRITE_AND_EXECUTE, WRITE_AND_EXECUTE))
        for call in ("mprotect", "pkey_mprotect"):
            filters[1].rule(refused, call, _Comparison(2, MASKED_EQUAL, mmap.PROT_EXEC, mmap.PROT_EXEC))
    filters[1].load()  # first: the other one takes away what loading needs
    filters[0].load()


def main() -> None:
    unit, program = Path(sys.argv[1]), sys.argv[2:]
    confine(unit)
    os.execvp(program[0], program)


if __name__ == "__main__":
    main()
