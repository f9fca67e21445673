"""The file of an engine that outlives it: one line of JSON for each accepted POST, in order.

A tool call: ``{"simulation_id": …, "received_at": ISO 8601, "mono": CLOCK_MONOTONIC seconds, "event": the body}``;
turns have ``"turns": […]`` in the place of ``event``. A line is in the hands of the operating system before its POST is
answered: killing the engine loses nothing it has answered, a power cut may. Nothing is masked.

``mono`` compares only within one start of one machine.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs

from simulation.engine_entries import (
    EngineEvent,
    PostedTurns,
    body_of,
    complaint_about,
    complaint_about_turns,
    is_mono,
    turns_of,
)

Entry = EngineEvent | PostedTurns
MEND = "; mend the line, or name another file"


class StoreError(Exception):
    """The file cannot serve as a store; the message is one line for the user and names the file."""


@attrs.define(eq=False)
class EngineStore:
    """An open store; this process alone has it. Mutable: the file, and ``size_bytes``, how much of it is whole lines.

    ``entries`` is what was read when it was opened; ``set_aside`` says in one line what was not, "" when all was.
    """

    path: Path
    descriptor: int
    entries: tuple[Entry, ...] = ()
    set_aside: str = ""
    size_bytes: int = 0

    def append(self, entry: Entry) -> None:
        """Write one line. Blocks for as long as the operating system takes to buffer it: microseconds.

        :raises OSError: it could not be written, and nothing of it stays.
        """
        line = line_of(entry)
        try:
            written = os.write(self.descriptor, line)
            while written < len(line):
                written += os.write(self.descriptor, line[written:])
        except OSError:
            os.ftruncate(self.descriptor, self.size_bytes)
            raise
        self.size_bytes += len(line)


def line_of(entry: Entry) -> bytes:
    """The line of an entry, with its line break. ASCII, so nothing in a text can look like a line break."""
    head = {"simulation_id": entry.simulation_id, "received_at": entry.received_at, "mono": entry.mono}
    body = {"event": entry.body} if isinstance(entry, EngineEvent) else body_of(entry.turns)
    return json.dumps({**head, **body}, separators=(",", ":")).encode("ascii") + b"\n"


@contextmanager
def open_store(path: Path) -> Iterator[EngineStore]:
    """Open the store, made when it is not there (readable by its owner only), and read what is in it.

    A last line that is not whole JSON is what a kill in mid-write leaves: it is moved to ``<path>.broken``.

    :raises StoreError: another engine has it, or a line is broken.
    :raises OSError: it cannot be read or written.
    """
    descriptor = _opened(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
    try:
        try:
            # Without it a second engine would take a line that is being written for a broken one.
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreError(f"{path}: another engine writes to it; stop that one, or name another file") from None
        yield _read(EngineStore(path, descriptor))
    finally:
        os.close(descriptor)


def _opened(path: str | Path, flags: int) -> int:
    """A descriptor; a file that is made is its owner's alone: tool calls hold what customers said."""
    return os.open(path, flags, 0o600)


def _read(store: EngineStore) -> EngineStore:
    """Fill a store from its file, and mend the end of that."""
    # Not splitlines: that also breaks at characters a line of JSON may hold.
    lines = store.path.read_bytes().split(b"\n")
    terminated = not lines[-1]
    if terminated:
        lines.pop()
    entries = []
    for number, line in enumerate(lines, start=1):
        content = _json_of(line)
        if content is None and number == len(lines):
            _set_aside(store, number, line)
            break
        entries.append(_entry_of(content, f"{store.path}:{number}"))
        store.size_bytes += len(line) + 1
    else:
        if not terminated:
            os.write(store.descriptor, b"\n")
    store.entries = tuple(entries)
    return store


def _set_aside(store: EngineStore, number: int, broken: bytes) -> None:
    aside = store.path.with_name(store.path.name + ".broken")
    with open(aside, "ab", opener=_opened) as kept:
        kept.write(broken + b"\n")
    os.ftruncate(store.descriptor, store.size_bytes)
    store.set_aside = f"{store.path}:{number}: the last line was not whole, it is kept in {aside}"


def _json_of(line: bytes) -> Any:
    """None when the line is not JSON; the word null is no entry either."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _entry_of(content: Any, place: str) -> Entry:
    """One entry of the store; ``place`` is file:line.

    :raises StoreError: it is none.
    """
    if content is None:
        raise StoreError(f"{place}: not JSON{MEND}")
    if not isinstance(content, dict):
        raise StoreError(f"{place}: not a JSON object{MEND}")
    head, body_key = {"simulation_id", "received_at", "mono"}, "event" if "event" in content else "turns"
    if set(content) != head | {body_key}:
        raise StoreError(f"{place}: the keys must be simulation_id, received_at, mono and either event or turns{MEND}")
    simulation_id, received_at, mono = content["simulation_id"], content["received_at"], content["mono"]
    if not isinstance(simulation_id, str) or not isinstance(received_at, str):
        raise StoreError(f"{place}: simulation_id and received_at must be strings{MEND}")
    if not is_mono(mono):
        raise StoreError(f"{place}: mono must be CLOCK_MONOTONIC seconds{MEND}")
    is_event = body_key == "event"
    body = content["event"] if is_event else {"turns": content["turns"]}
    if complaint := complaint_about(body) if is_event else complaint_about_turns(body):
        raise StoreError(f"{place}: {complaint}{MEND}")
    if is_event:
        return EngineEvent(simulation_id, body, received_at, mono)
    return PostedTurns(simulation_id, turns_of(body), received_at, mono)
