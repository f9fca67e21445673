"""What the project is made of: pinned by hash, under licences that it may use, told in its docs, audited honestly."""

import json
import re
import sys
import tomllib
from pathlib import Path
from typing import Any, Final

import pytest

from scripts import audit, licences, sbom

ROOT: Final = licences.ROOT
LOCKS: Final = sorted(ROOT.glob("requirements*.lock"))
SECTIONS: Final = {
    "In production": None,
    "For the sandbox (`make demo`, `make torture`, `voice run`, `voice stress`)": "sandbox",
    "For the bench (`make bench`)": "bench",
    "For the fuzzer (`make fuzz`)": "fuzz",
    "For development": "dev",
}
ANSWERED: Final = {"dependencies": [{"name": "trio", "version": "0.35.0", "vulns": []}], "fixes": []}
UNKNOWN: Final = {"name": "h11", "skip_reason": "Dependency not found on PyPI and could not be audited: h11 (0.16.0)"}
HOLE: Final = {"id": "GHSA-xxxx", "fix_versions": ["0.36.0"], "aliases": [], "description": ""}


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def names(requirements: list[str]) -> set[str]:
    found = {re.split(r"[^\w.-]", requirement)[0].lower() for requirement in requirements}
    return found - {project()["project"]["name"]}


def table(section: str) -> dict[str, list[str]]:
    """The rows below `section` of docs/dependencies.md: package -> its other cells."""
    page = (ROOT / "docs/dependencies.md").read_text(encoding="utf-8")
    below = page.partition(f"## {section}\n")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in below.splitlines() if line[:1] == "|"]
    assert len({row[0] for row in rows}) == len(rows), f"{section}: a package stands there twice"
    return {row[0]: row[1:] for row in rows[2:]}


@pytest.mark.parametrize("section", SECTIONS)
def test_page_tells_of_every_package_that_is_asked_for_and_of_no_other(section: str) -> None:
    extra, found = SECTIONS[section], project()["project"]
    asked = found["dependencies"] if extra is None else found["optional-dependencies"][extra]
    assert set(table(section)) == names(asked)


def test_page_tells_of_every_tool_of_the_audit() -> None:
    assert set(table("For this page")) == names(project()["dependency-groups"]["audit"])


@pytest.mark.parametrize("section", SECTIONS)
def test_page_has_licence_month_and_reason_of_each_package(section: str) -> None:
    for name, (licence, released, reason) in table(section).items():
        assert licence == (licences.licence_of(name) or licence), name  # some are for one platform only
        assert re.fullmatch(r"20\d\d-(0[1-9]|1[0-2])", released), name
        assert reason, name


@pytest.mark.parametrize("lock", [licences.PRODUCTION_LOCK, licences.DEVELOPMENT_LOCK], ids=lambda lock: lock.name)
def test_no_package_has_a_licence_that_is_not_allowed(lock: Path) -> None:
    assert licences.refused(lock) == []


@pytest.mark.parametrize(
    ("expression", "allowed"),
    [
        ("MIT", True), ("MIT OR GPL-3.0", True), ("MIT AND PSF-2.0", True),
        ("GPL-3.0", False), ("MIT AND GPL-3.0", False), ("unknown", False), ("none stated", False),
        ("(MIT OR GPL-3.0) AND ISC", False), ("", False),
    ],
)  # fmt: skip
def test_licence_is_allowed_when_all_that_it_asks_for_is(expression: str, allowed: bool) -> None:
    assert licences.is_allowed(expression) is allowed


def test_copyleft_is_refused_in_production_where_development_may_have_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = tmp_path / "requirements.lock"
    lock.write_text("vapi-server-sdk==3.0.0 \\\n    --hash=sha256:00\nno-such-package==1 \\\n    --hash=sha256:00\n")
    monkeypatch.setattr(licences, "PRODUCTION_LOCK", lock)
    refused = licences.refused(lock)
    assert [line.split()[1] for line in refused] == ["vapi-server-sdk", "no-such-package"]
    assert "'none stated'" in refused[0]
    assert "not installed" in refused[1]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_every_pin_has_hashes_and_no_host(lock: Path) -> None:
    text = lock.read_text(encoding="utf-8")
    assert "://" not in text
    blocks = re.split(r"\n(?=\S)", text.strip())
    assert len(blocks) == len(licences.pins(lock)) > 0
    assert [block for block in blocks if not re.search(r"--hash=sha256:[0-9a-f]{64}", block)] == []


def test_production_gets_the_versions_that_the_tests_have() -> None:
    tested = {(pin.name, pin.version) for pin in licences.pins(licences.DEVELOPMENT_LOCK)}
    shipped = [pin for pin in licences.pins(licences.PRODUCTION_LOCK) if "'nt'" not in pin.marker]
    assert [pin for pin in shipped if (pin.name, pin.version) not in tested] == [], "run `make lock`"


def test_what_is_pinned_for_how_it_behaves_is_pinned_in_every_project_file() -> None:
    for file in ("pyproject.toml", "packages/simulation/pyproject.toml"):
        asked = tomllib.loads((ROOT / file).read_text(encoding="utf-8"))["project"]["dependencies"]
        loose = [line for line in asked if line.startswith(("trio-websocket", "hypercorn")) and "==" not in line]
        assert loose == [], file


def fake_pip_audit(folder: Path, *, says: str = "", fails: str = "") -> list[str]:
    """A program in pip-audit's place. pip-audit exits with 0 for what it could not audit, and prints where it fails."""
    program = folder / "fake_pip_audit.py"
    lines = f"import sys\nsys.stdout.write({says!r})\nsys.stderr.write({fails!r})\nsys.exit({int(bool(fails))})\n"
    program.write_text(lines, encoding="utf-8")
    return [sys.executable, str(program)]


@pytest.mark.parametrize(
    ("packages", "code", "words"),
    [
        ([{"name": "trio", "version": "0.35.0", "vulns": []}], audit.CLEAN, "1 packages, no known vulnerability"),
        ([{"name": "trio", "version": "0.35.0", "vulns": [HOLE]}], audit.VULNERABLE, "GHSA-xxxx, mended in 0.36.0"),
        ([UNKNOWN], audit.NOT_AUDITED, "not audited: `osv` knows nothing of 1 of 1 packages (h11)"),
        ([UNKNOWN, {"name": "trio", "version": "0.35.0", "vulns": [HOLE]}], audit.VULNERABLE, "GHSA-xxxx"),
    ],
)
def test_audit_tells_apart_what_is_clean_vulnerable_and_not_known(
    tmp_path: Path, packages: list[Any], code: int, words: str
) -> None:
    program = fake_pip_audit(tmp_path, says=json.dumps(ANSWERED | {"dependencies": packages}))
    got, lines = audit.examine(Path("requirements.lock"), "osv", program)
    assert got == code
    assert words in lines[0]


def test_audit_says_in_one_line_that_it_did_not_happen_when_the_service_does_not_answer(tmp_path: Path) -> None:
    program = fake_pip_audit(tmp_path, fails="Traceback …\nConnectionError: Failed to resolve 'api.osv.dev'\n")
    code, lines = audit.examine(Path("requirements.lock"), "osv", program)
    assert code == audit.NOT_AUDITED
    (line,) = lines
    assert "not audited: `osv` does not answer (ConnectionError: Failed to resolve" in line
    assert audit.examine(Path("requirements.lock"), "osv", ["/no/such/program"])[0] == audit.NOT_AUDITED


def test_sbom_is_refused_when_it_lacks_a_package_a_licence_or_tells_of_another(tmp_path: Path) -> None:
    lock, told = tmp_path / "requirements.lock", tmp_path / "sbom.json"
    lock.write_text(
        "trio==0.35.0 \\\n    --hash=sha256:00\nwin==1 ; sys_platform == 'win32' \\\n    --hash=sha256:00\n"
    )
    trio, other = (
        {"name": "Trio", "version": "0.35.0", "licenses": [{}]},
        {"name": "pip", "version": "23", "licenses": []},
    )
    told.write_text(json.dumps({"components": [trio]}))
    assert sbom.problems(told, lock) == []
    told.write_text(json.dumps({"components": [trio | {"version": "0.34.0"}, other]}))
    assert sbom.problems(told, lock) == ["pip: no licence", "pip: not in requirements.lock", "trio 0.35.0: not there"]
