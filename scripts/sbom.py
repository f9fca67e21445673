"""Whether an SBOM tells of all that a lock pins for this platform, of nothing else, and of each one's licence."""

import json
import re
import sys
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def pinned(lock: Path) -> dict[str, str]:
    """Name and version of what applies here."""
    lines = re.findall(r"^[\w.-]+==[^\\\n]+", lock.read_text(encoding="utf-8"), re.MULTILINE)
    wanted = [wanted for wanted in map(Requirement, lines) if wanted.marker is None or wanted.marker.evaluate()]
    return {canonicalize_name(one.name): str(one.specifier).removeprefix("==") for one in wanted}


def problems(sbom: Path, lock: Path) -> list[str]:
    components = json.loads(sbom.read_text(encoding="utf-8"))["components"]
    told: dict[str, str] = {canonicalize_name(one["name"]): one["version"] for one in components}
    wanted = pinned(lock)
    silent = [f"{one['name']}: no licence" for one in components if not one.get("licenses")]
    missing = [f"{name} {version}: not there" for name, version in wanted.items() if told.get(name) != version]
    surplus = [f"{name}: not in {lock.name}" for name in told if name not in wanted]
    return sorted([*silent, *missing, *surplus])


def main() -> int:
    sbom, lock = map(Path, sys.argv[1:])
    found = problems(sbom, lock)
    for line in found:
        sys.stdout.write(f"sbom: {line}\n")
    if not found:
        sys.stdout.write(
            f"sbom: {sbom}: {len(pinned(lock))} packages of {lock}, each with its licence; valid CycloneDX\n"
        )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
