"""Every async test of the folders in VIRTUAL runs in virtual time, under a limit on real time."""

import inspect
from pathlib import Path

import hypothesis
import pytest

from tests.virtual_time import run_in_virtual_time

pytest_plugins = ["tests.postgres"]
VIRTUAL = tuple(Path(__file__).parent / name for name in ("actors", "runtime", "endings", "traps", "whole"))

hypothesis.settings.register_profile("shared machine", deadline=None)
hypothesis.settings.load_profile("shared machine")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent in VIRTUAL and inspect.iscoroutinefunction(getattr(item, "obj", None)):
            item.add_marker(pytest.mark.trio(run=run_in_virtual_time), append=False)
    items.sort(key=lambda item: item.path.name != "test_torture.py")  # the longest first, so that it does not end last
