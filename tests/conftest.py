"""Every async test of the folders in VIRTUAL runs in virtual time, under a limit on real time."""

import gc
import inspect
import itertools
import os
import ssl
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from tests.virtual_time import run_in_virtual_time

pytest_plugins = ["tests.postgres"]
MEMORY = Path("/dev/shm")
MEMORY_ROOM_BYTES = 2**30  # an eighth of it is used
LONGEST = (
    "test_torture.py", "test_hard_endings.py", "test_hostile_doors.py", "test_fuzz.py", "test_demo_console.py",
    "test_voice_run.py", "test_whole_call.py", "test_command_line.py",
)  # fmt: skip
WAITING = ("wire", "tunnels", "console")  # for real time, and little else
VIRTUAL = tuple(Path(__file__).parent / name for name in ("actors", "runtime", "endings", "traps", "whole"))

hypothesis.settings.register_profile("shared machine", deadline=None)
hypothesis.settings.load_profile("shared machine")

# Each worker, and each process that a test starts, would compile the modules anew where the shell forbids to keep them.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
gc.disable()  # until all modules are imported: they stay


def put_temporary_files_in_memory() -> None:
    """PostgreSQL's above all: a database for each test, hundreds of files that take a disk longer than the test takes.
    What pytest keeps for us to read stays on the disk."""
    if "TMPDIR" in os.environ or not os.access(MEMORY, os.W_OK | os.X_OK):
        return
    about = os.statvfs(MEMORY)
    if about.f_bavail * about.f_frsize > MEMORY_ROOM_BYTES and not about.f_flag & os.ST_NOEXEC:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
        os.environ["TMPDIR"] = tempfile.tempdir = str(MEMORY)


put_temporary_files_in_memory()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent in VIRTUAL and inspect.iscoroutinefunction(getattr(item, "obj", None)):
            item.add_marker(pytest.mark.trio(run=run_in_virtual_time), append=False)
    if workers := getattr(config, "workerinput", {}).get("workercount"):
        items[:] = dealt(items, workers)


def dealt(items: list[pytest.Item], workers: int) -> list[pytest.Item]:
    """Each worker is given as many tests in a row, and takes of the others' last when it is done. So each begins with
    some that wait, as others work meanwhile; short ones come last, so that all end together."""
    files = [list(group) for _, group in itertools.groupby(items, key=lambda item: item.path)]
    rank = {name: number for number, name in enumerate(LONGEST)}
    early = [file for file in files if file[0].path.name in rank or file[0].path.parent.name in WAITING]
    early.sort(key=lambda file: rank.get(file[0].path.name, len(rank)))
    late = iter([item for file in files if file not in early for item in file])
    hands = [list(itertools.chain(*early[worker::workers])) for worker in range(workers)]
    left = len(items)
    for worker, hand in enumerate(hands):
        size = left // (workers - worker)
        hand += itertools.islice(late, max(0, size - len(hand)))
        left -= size
    return [*itertools.chain(*hands), *late]


def pytest_collection_finish() -> None:
    gc.freeze()  # no collection walks through the modules again
    gc.enable()


@pytest.fixture(scope="session", autouse=True)
def no_authority_of_this_machine() -> Iterator[None]:
    """Nobody whom a test meets is vouched for by one, and OpenSSL takes 60 ms to read them all, for every world."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ssl.SSLContext, "load_default_certs", lambda *_: None)
        yield
