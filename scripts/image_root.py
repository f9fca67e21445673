"""The root folders that `make image-steps` builds in: this machine's programs, read-only, and a Python with pip.

Each stage of a Dockerfile gets a root of its own, entered by chroot, so paths are the image's own. Nothing of a
container engine is needed, but the right to mount: root on Linux. The mounts are those of a namespace, and end with it.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import attrs

from scripts.dockerfile import Instruction, Stage

PROJECT: Final = Path(__file__).parent.parent
BASE_ENVIRONMENT: Final = {"PATH": "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
WHEELS: Final = "/wheels"
OFFLINE: Final = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": WHEELS}
STEP_SECONDS: Final = 120.0
MERGED: Final = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")  # links into /usr, on a system of today
FOLDERS: Final = ("usr", "etc", "dev", "proc", "tmp", "run/postgresql", "opt", "wheels")
NOT_COPIED: Final = shutil.ignore_patterns("__pycache__", "*.pyc", "*.pyo")


class StepFailed(Exception):
    """A step of an image did not work. The message is one line, with the last words of the program."""


def run(command: Sequence[str]) -> str:
    """What it prints, within STEP_SECONDS. Raises StepFailed."""
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=STEP_SECONDS
        )
    except subprocess.TimeoutExpired:
        raise StepFailed(f"{' '.join(command)[-100:]}: takes more than {STEP_SECONDS:.0f} s") from None
    if done.returncode != 0:
        words = (done.stdout.strip().splitlines() or ["it said nothing"])[-1]
        raise StepFailed(f"{' '.join(command)[-100:]}: exit code {done.returncode}: {words}")
    return done.stdout


def bind(source: Path, target: Path, *, writable: bool = False) -> None:
    run(["mount", "-o", "bind,rw" if writable else "bind,ro", str(source), str(target)])


@attrs.frozen
class Root:
    """A root folder, mounted. `local`: its /usr/local, with the Python of the base image and its pip."""

    path: Path
    local: Path

    def enter(self, environ: Mapping[str, str], folder: str, user: str = "0:0") -> list[str]:
        """What goes before a command to run it in here, with nothing of our own environment and no capabilities."""
        uid, _, gid = user.partition(":")
        drop = ["--inh-caps=-all", "--bounding-set=-all", "--no-new-privs"] if uid != "0" else []
        become = ["setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups", *drop]
        values = [f"{name}={value}" for name, value in environ.items()]
        return ["chroot", str(self.path), *become, "env", "-i", "-C", folder, *values]

    def at(self, path: str, folder: str = "/") -> Path:
        """Where a path of the image is, for us."""
        return self.path / os.path.normpath(f"{folder}/{path}" if not path.startswith("/") else path).lstrip("/")

    def make_read_only(self) -> None:
        for mounted in (self.path, self.path / "usr/local"):
            run(["mount", "-o", "remount,bind,ro", str(mounted)])

    @contextmanager
    def with_folder(self, source: Path, target: str, *, writable: bool = False) -> Iterator[None]:
        """A folder of this machine in the image's, as `docker run --volume` puts it there."""
        bind(source, self.at(target), writable=writable)
        try:
            yield
        finally:
            run(["umount", str(self.at(target))])


@attrs.frozen
class Workshop:
    """Where roots are made, below `clean`. `wheels`: all packages that the locks name, fetched beforehand."""

    clean: Path

    def open(self) -> None:
        """Fetch what is locked, by this machine's own pip, and make the base image's Python."""
        (self.clean / "wheels").mkdir()
        for lock in ("requirements.lock", "requirements-build.lock"):
            fetch = [
                "download",
                "-q",
                "--only-binary",
                ":all:",
                "--require-hashes",
                "--dest",
                str(self.clean / "wheels"),
            ]
            run([sys.executable, "-m", "pip", *fetch, "-r", str(PROJECT / lock)])
        (self.clean / "local").mkdir()
        base = self._mounted("base", self.clean / "local")
        run([*base.enter(BASE_ENVIRONMENT, "/"), sys._base_executable, "-m", "venv", "/usr/local"])  # type: ignore[attr-defined]

    def new_root(self, name: str) -> Root:
        local = self.clean / f"{name}-local"
        shutil.copytree(self.clean / "local", local, symlinks=True)
        return self._mounted(name, local)

    def _mounted(self, name: str, local: Path) -> Root:
        root = self.clean / name
        root.mkdir()
        bind(root, root, writable=True)
        for folder in FOLDERS:
            (root / folder).mkdir(parents=True)
        (root / "tmp").chmod(0o1777)
        for link in MERGED:
            if Path("/", link).is_symlink():
                (root / link).symlink_to(Path("/", link).readlink())
        for shared in ("usr", "etc", "dev"):
            bind(Path("/", shared), root / shared)
        bind(local, root / "usr/local", writable=True)
        bind(self.clean / "wheels", root / WHEELS.lstrip("/"))
        if not Path(sys.base_prefix).is_relative_to("/usr"):
            (root / sys.base_prefix.lstrip("/")).mkdir(parents=True)
            bind(Path(sys.base_prefix), root / sys.base_prefix.lstrip("/"))
        return Root(root, local)


def copy(root: Root, one: Instruction, folder: str, source_root: Path) -> None:
    """COPY, as a builder does it: a folder's contents, a file into a folder. Root's own, unless --chown says whose."""
    target = root.at(one.target, folder)
    for source in one.sources:
        found = source_root / source.lstrip("/")
        if found.is_dir():
            shutil.copytree(found, target, symlinks=True, dirs_exist_ok=True, ignore=None if one.flags else NOT_COPIED)
            made = target
        else:
            into = one.target.endswith("/")
            (target if into else target.parent).mkdir(parents=True, exist_ok=True)
            made = Path(shutil.copy2(found, target / found.name if into else target))
        if owner := one.flags.get("chown"):
            uid, _, gid = owner.partition(":")
            os.chown(made, int(uid), int(gid))


def working_folder(stage: Stage) -> str:
    folders = stage.all_of("WORKDIR")
    return folders[-1].text if folders else "/"
