"""Programs that some tests need and `make system-packages` brings. Call `need` from a plain fixture: a skip inside an
async test loses its reason."""

import os
import shutil

import pytest


def need(program: str, package: str) -> str:
    """The program's path. Without it the test is skipped with the reason; in CI, where it must be, it fails."""
    path = shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin")
    if path is None:
        reason = f"{program} is not installed: make system-packages brings Debian's {package}"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return path
