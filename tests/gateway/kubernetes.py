"""The printed Kubernetes objects, by kind and name."""

from collections.abc import Mapping
from typing import Any

import yaml

from runtime.gateway import GatewayOptions, print_config

Objects = Mapping[tuple[str, str], Any]


def printed_objects(options: GatewayOptions = GatewayOptions()) -> Objects:  # noqa: B008  # frozen
    listed = list(yaml.safe_load_all(print_config("k8s", options)))
    found = {(each["kind"], each["metadata"]["name"]): each for each in listed}
    assert len(found) == len(listed)
    assert {each["metadata"]["namespace"] for each in listed} == {options.namespace}
    return found


def container_of(objects: Objects, kind: str, name: str) -> Any:
    (container,) = objects[kind, name]["spec"]["template"]["spec"]["containers"]
    return container


def environment_of(objects: Objects, **secret: str) -> dict[str, str]:
    """What the first pod's process is given; `secret` is what its Secret holds."""
    entries = container_of(objects, "StatefulSet", "voice")["env"]
    return secret | {entry["name"]: entry.get("value", "voice-0") for entry in entries}
