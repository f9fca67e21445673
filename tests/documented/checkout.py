"""A copy of the work tree, as a clone of it would be, with a virtual environment that runs the copy's code."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.house_rules import ROOT

FILES: Final = ("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
PACKAGES: Final = Path(*next(Path(entry).parts for entry in sys.path if Path(entry).name == "site-packages"))


@contextmanager
def open_checkout() -> Iterator[Path]:
    """A folder that everybody may pass through: for root, PostgreSQL's server runs as another user in it."""
    with tempfile.TemporaryDirectory(prefix="documented-", ignore_cleanup_errors=True) as name:
        folder = Path(name).resolve() / "mini-bcs-voice-vapi"
        Path(name).chmod(0o755)
        copy_files(folder)
        link_environment(folder)
        yield folder


def copy_files(folder: Path) -> None:
    """What git knows, and what is new and not ignored, as it is in the work tree now."""
    listed = subprocess.run(FILES, cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
    for path in filter(None, listed):
        if (ROOT / path).is_file():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / path, folder / path)
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    subprocess.run(["git", "add", "--all"], cwd=folder, check=True)
    if (ROOT / ".mypy_cache").is_dir():
        shutil.copytree(ROOT / ".mypy_cache", folder / ".mypy_cache", symlinks=True)


def link_environment(folder: Path) -> None:
    """The same packages, not copied; but `import runtime` finds the copy, in every process, whatever it inherits."""
    venv = folder / ".venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    (site,) = venv.glob("lib/python*/site-packages")
    (site / "checkout.pth").write_text(f"{folder}\nimport site; site.addsitedir({str(PACKAGES)!r})\n")
    ours, theirs = f"#!{sys.prefix}/bin/python", f"#!{venv}/bin/python"
    for program in (Path(sys.prefix) / "bin").iterdir():
        link = venv / "bin" / program.name
        if link.exists():
            continue
        if program.read_bytes().startswith(ours.encode()):
            link.write_text(program.read_text().replace(ours, theirs, 1))
            link.chmod(0o755)
        else:
            link.symlink_to(program)
    (venv / ".installed").touch()  # newer than the lock: `make install` has nothing to do
