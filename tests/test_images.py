"""What both Dockerfiles name exists, and agrees with the project. That their steps work: `make image-steps`."""

import fnmatch
import os
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import attrs
import pytest
from typer.main import get_command

from runtime.cli import app
from runtime.health_check import ANSWER_SECONDS
from runtime.setting_values import bind
from runtime.settings import Settings, setting_fields
from scripts.dockerfile import Stage, read_dockerfile
from tests.house_rules import ROOT

PRODUCTION = ROOT / "Dockerfile"
SANDBOX = ROOT / ".veris/Dockerfile.sandbox"
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
ROOMS: list[str] = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
# Each is imported only by its own command, which says what is missing.
OF_THE_EXTRA = ("runtime.demo", "runtime.demo_screen")
IMPORT_ALL = """
import importlib, pkgutil, sys

missing, rooms, apart = (words.split(",") for words in sys.argv[1:])


class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in missing:
            raise ModuleNotFoundError(f"{name} is not in the image", name=name)


sys.meta_path.insert(0, Missing())
for room in rooms:
    for found in pkgutil.walk_packages([room], f"{room}."):
        if found.name not in apart:
            importlib.import_module(found.name)
"""


def stages() -> tuple[Stage, Stage]:
    """Of the production image: what builds it, and what it is."""
    build, image = read_dockerfile(PRODUCTION)
    return build, image


def copied_of_the_project(path: Path) -> set[str]:
    parts = read_dockerfile(path, {"VERIS_BASE": "base"})
    return {
        source for stage in parts for one in stage.all_of("COPY") if "from" not in one.flags for source in one.sources
    }


def sent_to_the_builder(name: str) -> bool:
    """As .dockerignore has it: the last line that fits decides."""
    sent = True
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.removeprefix("!").removeprefix("**/")
        if line and not line.startswith("#") and fnmatch.fnmatch(name, pattern):
            sent = line.startswith("!")
    return sent


def names_in(lock: str) -> set[str]:
    lines = (ROOT / lock).read_text().splitlines()
    return {line.partition("==")[0] for line in lines if "==" in line and not line.startswith(" ")}


@pytest.fixture
def hadolint() -> str:
    path = shutil.which("hadolint", path=Path(sys.executable).parent)
    if path is None:
        if sys.platform == "linux" and os.uname().machine == "x86_64":
            pytest.fail("hadolint is not installed: make clean install")
        pytest.skip("hadolint is there for Linux on x86_64 only")
    return path


@pytest.mark.parametrize("path", [PRODUCTION, SANDBOX], ids=str)
def test_linter_finds_nothing_in_a_dockerfile(hadolint: str, path: Path) -> None:
    done = subprocess.run([hadolint, "--no-color", path], capture_output=True, text=True, check=False, timeout=30)
    assert done.stdout + done.stderr == ""
    assert done.returncode == 0


def test_linter_finds_something_when_there_is_something(hadolint: str, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM python\nCMD voice serve\n")
    done = subprocess.run([hadolint, tmp_path / "Dockerfile"], capture_output=True, text=True, check=False, timeout=30)
    assert "DL3006" in done.stdout
    assert "DL3025" in done.stdout


def test_builder_is_sent_what_the_images_copy_and_nothing_else() -> None:
    copied = copied_of_the_project(PRODUCTION) | copied_of_the_project(SANDBOX)
    assert sorted(name for name in copied if not (ROOT / name).exists()) == []
    there = {path.name for path in ROOT.iterdir()}
    assert {name for name in there if sent_to_the_builder(name)} == copied
    assert not sent_to_the_builder(".env")
    assert not sent_to_the_builder("__pycache__")


def test_image_holds_what_its_modules_import() -> None:
    """All of them are imported, while nothing can be found that is not copied, or not in the production lock."""
    rooms = sorted(copied_of_the_project(PRODUCTION) & set(ROOMS))
    locked = {name.lower().replace("_", "-") for name in names_in("requirements.lock")}
    ours = {room for room in ROOMS if room not in rooms} | {"tests"}
    theirs = {
        package
        for package, of in packages_distributions().items()
        if not {name.lower().replace("_", "-").replace(".", "-") for name in of} & locked
    }
    command = [sys.executable, "-c", IMPORT_ALL, ",".join(ours | theirs - set(rooms)), ",".join(rooms)]
    done = subprocess.run(
        [*command, ",".join(OF_THE_EXTRA)], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr[-1000:]


def test_image_installs_by_hash_without_compiler_or_extras() -> None:
    runs = [one.text for stage in stages() for one in stage.all_of("RUN")]
    installs = [part for text in runs for part in text.split("&&") if "pip" in part and " install " in part]
    assert len(installs) == 3
    for part in installs:
        assert "--require-hashes" in part or ("--no-index" in part and "--no-deps" in part)
        assert "--only-binary :all:" in part or "--no-index" in part
    assert "requirements-dev" not in PRODUCTION.read_text()
    assert not any("apt" in text or "gcc" in text for text in runs)


def test_build_lock_is_of_the_packages_that_are_tested() -> None:
    def blocks(lock: str) -> set[str]:
        return set((ROOT / lock).read_text().replace("\n    ", " ").splitlines())

    assert blocks("requirements-build.lock") <= blocks("requirements-dev.lock")
    assert names_in("requirements-build.lock") >= set(PROJECT["build-system"]["requires"])


def test_image_exposes_the_ports_where_its_doors_listen() -> None:
    _, image = stages()
    environ = image.environment({"PATH": ""})
    doors = [bind(environ["WEBHOOK_BIND"]), bind(environ["CONSOLE_BIND"])]
    defaults: Any = attrs.fields(Settings)
    assert [door.port for door in doors] == [defaults.webhook_bind.default.port, defaults.console_bind.default.port]
    assert {door.host for door in doors} == {defaults.voice_host.default}
    assert image.last("EXPOSE").text.split() == [str(defaults.port.default), *(str(door.port) for door in doors)]


def test_image_sets_only_what_python_and_the_settings_know() -> None:
    known = {field.metadata["env"] for field in setting_fields()}
    for stage in stages():
        ours = {name for one in stage.all_of("ENV") for name in one.pairs if not name.startswith(("PYTHON", "PIP_"))}
        assert ours - {"PATH"} <= known


def test_image_runs_as_a_number_that_is_not_root_and_owns_its_runs_alone() -> None:
    _, image = stages()
    user = image.last("USER").text
    uid, _, gid = user.partition(":")
    assert uid.isdigit()
    assert gid.isdigit()
    assert int(uid) > 0
    assert [(one.flags["chown"], one.target) for one in image.all_of("COPY") if "chown" in one.flags] == [
        (user, "./runs")
    ]
    assert image.last("WORKDIR").text == "/agent"


def test_image_starts_a_command_that_there_is_and_lets_another_be_named() -> None:
    _, image = stages()
    program, command = image.last("CMD").command
    assert PROJECT["project"]["scripts"][program] == "runtime.cli:main"
    assert command in get_command(app).commands  # type: ignore[attr-defined]
    assert image.all_of("ENTRYPOINT") == []  # `docker run image voice doctor`, and `args: [voice, serve]`
    assert image.last("STOPSIGNAL").text == "SIGTERM"


def test_image_asks_for_its_health_within_the_time_it_has() -> None:
    _, image = stages()
    check = image.last("HEALTHCHECK")
    assert check.command == ["python", "-m", "runtime.health_check"]
    assert float(check.flags["timeout"].removesuffix("s")) > ANSWER_SECONDS
    assert not {"curl", "wget"} & set(check.text.split())


def test_image_is_labelled_as_the_project() -> None:
    _, image = stages()
    labels = {name.rpartition(".")[2]: value for name, value in image.last("LABEL").pairs.items()}
    project = PROJECT["project"]
    assert (labels["title"], labels["version"], labels["licenses"]) == (
        project["name"], project["version"], project["license"],
    )  # fmt: skip
    assert "LICENSE" in {source for one in image.all_of("COPY") for source in one.sources}


def test_image_has_one_base_and_a_build_argument_pins_it() -> None:
    build, image = stages()
    assert build.base == image.base
    major, minor = PROJECT["project"]["requires-python"].removeprefix(">=").split(".")
    assert build.base.startswith(f"python:{major}.{minor}-slim")
    pinned = read_dockerfile(PRODUCTION, {"PYTHON_IMAGE": "python@sha256:0"})
    assert {stage.base for stage in pinned} == {"python@sha256:0"}
