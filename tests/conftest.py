"""Every async test of the folders in VIRTUAL runs in virtual time, under a limit on real time."""

import gc
import inspect
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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent in VIRTUAL and inspect.iscoroutinefunction(getattr(item, "obj", None)):
            item.add_marker(pytest.mark.trio(run=run_in_virtual_time), append=False)
    items.sort(key=lambda item: item.path.name != "test_torture.py")  # the longest first, so that it does not end last


def pytest_collection_finish() -> None:
    gc.freeze()  # no collection walks through the modules again
    gc.enable()


@pytest.fixture(scope="session", autouse=True)
def no_authority_of_this_machine() -> Iterator[None]:
    """Nobody whom a test meets is vouched for by one, and OpenSSL takes 60 ms to read them all, for every world."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ssl.SSLContext, "load_default_certs", lambda *_: None)
        yield
