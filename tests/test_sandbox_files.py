"""Every path, port and command in .veris/ exists in the project, and says the same in each place."""

import json
import re
import shlex
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import attrs
import pytest
import yaml

from runtime.settings import Settings

ROOT = Path(__file__).parent.parent
HOME = "/agent"


@pytest.fixture
def veris() -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / ".veris/veris.yaml").read_text()))


@pytest.fixture
def dockerfile() -> list[str]:
    text = (ROOT / ".veris/Dockerfile.sandbox").read_text().replace("\\\n", " ")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def paths_in(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [path for inner in value.values() for path in paths_in(inner)]
    if isinstance(value, list):
        return [path for inner in value for path in paths_in(inner)]
    return [value] if isinstance(value, str) and value.startswith(HOME) else []


def test_every_path_of_the_sandbox_exists(veris: dict[str, Any]) -> None:
    paths = paths_in(veris)
    assert f"{HOME}/db/schema.sql" in paths
    assert [path for path in paths if not (ROOT / path.removeprefix(HOME).lstrip("/")).exists()] == []


def test_every_port_of_the_sandbox_is_the_voice_doors(veris: dict[str, Any], dockerfile: list[str]) -> None:
    (channel,) = veris["actor"]["channels"]
    exposed = [int(line.split()[1]) for line in dockerfile if line.startswith("EXPOSE")]
    default = attrs.fields(Settings).port.default
    assert {urlsplit(channel["url"]).port, veris["agent"]["port"], int(veris["agent"]["environment"]["PORT"])} == {
        default
    }
    assert exposed == [default]
    assert urlsplit(channel["url"]).path == "/voice"
    assert channel["type"] == "voice_ws"
    assert channel["protocol"] == attrs.fields(Settings).voice_protocol.default


def test_every_variable_of_the_sandbox_is_a_setting(veris: dict[str, Any]) -> None:
    known = {field.metadata.get("env") for field in attrs.fields(Settings)}
    assert set(veris["agent"]["environment"]) <= known


def test_image_copies_only_what_exists_and_all_that_is_needed(dockerfile: list[str]) -> None:
    copied = [source for line in dockerfile if line.startswith("COPY") for source in line.split()[1:-1]]
    assert [source for source in copied if not (ROOT / source).exists()] == []
    assert {"requirements.lock", "agent_desc.txt", "runtime", "actors", "tools", "db"} <= set(copied)


def test_image_starts_what_the_sandbox_starts(veris: dict[str, Any], dockerfile: list[str]) -> None:
    (command,) = [line.removeprefix("CMD ") for line in dockerfile if line.startswith("CMD")]
    assert json.loads(command) == shlex.split(veris["agent"]["entry_point"])
    module, _, name = shlex.split(veris["agent"]["entry_point"])[-1].partition(":")
    assert re.search(rf"^async def {name}\(", (ROOT / (module.replace(".", "/") + ".py")).read_text(), re.MULTILINE)


def test_image_is_built_on_the_base_it_is_given_and_brings_ngrok(dockerfile: list[str]) -> None:
    assert dockerfile[:2] == ["ARG VERIS_BASE", "FROM ${VERIS_BASE}"]
    assert any("install" in line and "ngrok" in line for line in dockerfile)
    assert any("--require-hashes -r requirements.lock" in line for line in dockerfile)
