"""Which known vulnerabilities the pinned packages have: `make audit`.

pip-audit asks a public service. Where that does not know a package, or does not answer, pip-audit says "skipped" and
"no known vulnerabilities" in one breath, and exits with 0: here that is "not audited", and an exit code of its own.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

CLEAN: Final = 0
VULNERABLE: Final = 1
NOT_AUDITED: Final = 3
SERVICES: Final = ("pypi", "osv", "esms")
LOCK_SECONDS: Final = 600
"""For one lock: one request for each package."""
SHOWN_NAMES: Final = 3


def examine(lock: Path, service: str, program: Sequence[str]) -> tuple[int, list[str]]:
    """One lock's exit code, and the lines that tell why."""
    command = [
        *program,
        "--requirement",
        str(lock),
        "--require-hashes",
        "--disable-pip",
        "--vulnerability-service",
        service,
    ]
    options = ["--format", "json", "--progress-spinner", "off", "--desc", "off"]
    try:
        ran = subprocess.run([*command, *options], capture_output=True, text=True, timeout=LOCK_SECONDS, check=False)
    except FileNotFoundError:
        return NOT_AUDITED, [
            f"audit: {lock.name}: not audited: there is no {program[0]}; run `make audit`, which installs it"
        ]
    except subprocess.TimeoutExpired:
        return NOT_AUDITED, [f"audit: {lock.name}: not audited: no answer from `{service}` within {LOCK_SECONDS} s"]
    try:
        found: list[dict[str, Any]] = json.loads(ran.stdout)["dependencies"]
    except (ValueError, KeyError):
        why = (ran.stderr.strip().splitlines() or ["it says nothing"])[-1][:200]
        return NOT_AUDITED, [
            f"audit: {lock.name}: not audited: `{service}` does not answer ({why});"
            f" try another, as in `make audit SERVICE=osv` ({', '.join(SERVICES)})"
        ]
    return judge(lock.name, service, found)


def judge(lock: str, service: str, found: Sequence[dict[str, Any]]) -> tuple[int, list[str]]:
    """What pip-audit's list of packages says. A vulnerability weighs more than a package that nobody knows."""
    lines = [
        f"audit: {lock}: {package['name']} {package['version']} has {vulnerability['id']}, mended in"
        f" {' or '.join(vulnerability['fix_versions']) or 'no release yet'}"
        for package in found
        for vulnerability in package.get("vulns", ())
    ]
    unknown = [str(package["name"]) for package in found if "skip_reason" in package]
    if unknown:
        names = ", ".join(unknown[:SHOWN_NAMES]) + (", …" if len(unknown) > SHOWN_NAMES else "")
        lines.append(
            f"audit: {lock}: not audited: `{service}` knows nothing of {len(unknown)} of {len(found)} packages"
            f" ({names}); a mirror has no advisories: run it where the service itself is reached"
        )
    if not lines:
        lines = [f"audit: {lock}: {len(found)} packages, no known vulnerability at `{service}`"]
        return CLEAN, lines
    return (VULNERABLE if len(lines) > bool(unknown) else NOT_AUDITED), lines


def main() -> int:
    parser = argparse.ArgumentParser(description="Known vulnerabilities of all that the locks pin.")
    parser.add_argument("locks", nargs="+", type=Path)
    parser.add_argument("--service", choices=SERVICES, default=SERVICES[0])
    chosen = parser.parse_args()
    codes: set[int] = set()
    for lock in chosen.locks:
        code, lines = examine(lock, chosen.service, [sys.executable, "-m", "pip_audit"])
        sys.stdout.write("\n".join(lines) + "\n")
        sys.stdout.flush()
        codes.add(code)
    return VULNERABLE if VULNERABLE in codes else max(codes)


if __name__ == "__main__":
    sys.exit(main())
