"""What `voice gateway print-config k8s` prints: valid for Kubernetes; its objects fit each other and the product."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import kubernetes_validate
import pytest

from runtime import limits
from runtime.gateway import GatewayOptions, print_config
from runtime.settings import read_settings, setting_fields
from tests.gateway.kubernetes import container_of, environment_of, printed_objects
from tests.house_rules import ROOT

FOLDER = ROOT / "deploy" / "k8s"
SECRET = {"VAPI_API_KEY": "key", "DATABASE_URL": "postgresql://db/bank", "WEBHOOK_KEY": "sixteen-characters"}
OPTIONS = GatewayOptions(namespace="calls", replicas=7, server_name="hooks.test", vapi_slots=100, monitoring="figures")


def test_shipped_manifest_is_what_is_printed() -> None:
    again = "voice gateway print-config k8s > deploy/k8s/voice.yaml"
    assert (FOLDER / "voice.yaml").read_text() == print_config("k8s"), f"print it again: {again}"


@pytest.mark.parametrize("version", ["1.25", "1.31", "1.37"])
def test_objects_are_what_kubernetes_knows(version: str) -> None:
    for each in printed_objects().values():
        kubernetes_validate.validate(each, version, strict=True)
    wrong = printed_objects()["StatefulSet", "voice"]
    wrong["spec"]["template"]["spec"]["terminationGracePeriod"] = 60
    with pytest.raises(kubernetes_validate.ValidationError, match="terminationGracePeriod"):
        kubernetes_validate.validate(wrong, version, strict=True)


WORKLOADS = (("StatefulSet", "voice"), ("Deployment", "voice-gateway"))


def test_whatever_selects_pods_selects_those_of_one_workload() -> None:
    found = printed_objects(OPTIONS)
    labels = {name: found[kind, name]["spec"]["template"]["metadata"]["labels"] for kind, name in WORKLOADS}
    assert labels["voice"] != labels["voice-gateway"]
    for (kind, name), each in found.items():
        owner, spec = ("voice-gateway" if name == "voice-gateway" else "voice"), each.get("spec", {})
        if kind == "Service":
            assert spec["selector"] == labels[owner]
        elif kind == "NetworkPolicy":
            assert spec["podSelector"]["matchLabels"] == labels[owner]
        elif kind != "ConfigMap":
            assert spec["selector"]["matchLabels"] == labels[owner]
    for kind, name in WORKLOADS:
        (spread,) = found[kind, name]["spec"]["template"]["spec"]["topologySpreadConstraints"]
        assert spread["labelSelector"]["matchLabels"] == labels[name]
        assert found["PodDisruptionBudget", name]["spec"]["maxUnavailable"] == 1


def test_ports_that_are_named_exist() -> None:
    found = printed_objects(OPTIONS)
    ports: dict[str, dict[str, int]] = {}
    for kind, name in WORKLOADS:
        container = container_of(found, kind, name)
        ports[name] = {port["name"]: port["containerPort"] for port in container["ports"]}
        for probe in ("readinessProbe", "livenessProbe"):
            if probe in container:
                assert container[probe]["httpGet"]["port"] in ports[name]
    callers, outside = found["Service", "voice-callers"]["spec"], found["Service", "voice-gateway"]["spec"]
    assert [port["targetPort"] for port in callers["ports"]] == ["voice"]
    assert [port["targetPort"] for port in outside["ports"]] == ["https"]
    assert f"listen {ports['voice-gateway']['https']} ssl;" in voice_conf(found)
    assert f".voice.calls.svc.cluster.local:{ports['voice']['webhook']}/p/" in voice_conf(found)
    headless = found["Service", found["StatefulSet", "voice"]["spec"]["serviceName"]]["spec"]
    assert (headless["clusterIP"], headless["publishNotReadyAddresses"]) == ("None", True)
    assert headless["ports"] == [{"name": "webhook", "port": ports["voice"]["webhook"]}]


def voice_conf(found: Any) -> str:
    return str(found["ConfigMap", "voice-gateway"]["data"]["voice.conf"])


def test_each_door_lets_in_those_who_have_business_there() -> None:
    found = printed_objects(OPTIONS)
    rules = found["NetworkPolicy", "voice"]["spec"]["ingress"]
    gateway = found["Deployment", "voice-gateway"]["spec"]["template"]["metadata"]["labels"]
    assert {rule["ports"][0]["port"]: rule.get("from") for rule in rules} == {
        8008: None,
        8009: [{"podSelector": {"matchLabels": gateway}}],
        8010: [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "figures"}}}],
    }
    assert all(len(rule["ports"]) == 1 for rule in rules)
    assert found["NetworkPolicy", "voice-gateway"]["spec"]["ingress"] == [{"ports": [{"port": 8443}]}]


def test_environment_is_made_of_settings_and_read_without_complaint() -> None:
    environment = environment_of(printed_objects(OPTIONS), **SECRET)
    assert set(environment) <= {field.metadata["env"] for field in setting_fields()}
    settings = read_settings(environment)
    assert (settings.port, str(settings.webhook_bind), str(settings.console_bind)) == (
        8008, "0.0.0.0:8009", "0.0.0.0:8010",
    )  # fmt: skip
    assert (settings.pod_id, settings.public_base_url) == ("voice-0", "https://hooks.test")
    assert settings.vapi_slots == 14, "a seventh of 100"
    pod_id = container_of(printed_objects(), "StatefulSet", "voice")["env"][0]
    assert pod_id["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.name"


@pytest.mark.parametrize("drain_seconds", [None, 60])
def test_pod_may_take_longer_to_go_than_its_longest_call(drain_seconds: int | None) -> None:
    options = GatewayOptions() if drain_seconds is None else GatewayOptions(drain_seconds=drain_seconds)
    found = printed_objects(options)
    pod, drain = found["StatefulSet", "voice"]["spec"]["template"]["spec"], options.drain_seconds
    assert read_settings(environment_of(found)).drain_seconds == drain
    if drain_seconds is None:
        assert drain >= limits.LONGEST_CALL_SECONDS > limits.CALL_MOST_SECONDS
    assert pod["terminationGracePeriodSeconds"] > paused_seconds(pod) + drain + limits.PROCESS_END_SECONDS
    gateway = found["Deployment", "voice-gateway"]["spec"]["template"]["spec"]
    assert gateway["terminationGracePeriodSeconds"] > paused_seconds(gateway) + limits.GATEWAY_READ_SECONDS


def paused_seconds(pod: Any) -> int:
    word, seconds = pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
    assert word == "sleep"
    return int(seconds)


def test_pods_may_do_nothing_that_they_need_not() -> None:
    found = printed_objects()
    for kind, name in WORKLOADS:
        pod = found[kind, name]["spec"]["template"]["spec"]
        assert (pod["automountServiceAccountToken"], pod["enableServiceLinks"]) == (False, False)
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["securityContext"]["runAsUser"] > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["containers"][0]["securityContext"] == {
            "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
        }  # fmt: skip
        mounted = {mount["name"] for mount in pod["containers"][0]["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["volumes"]}


def test_images_are_of_a_version_and_those_that_were_asked_for() -> None:
    shipped, told = printed_objects(), printed_objects(GatewayOptions(nginx_image="mirror.test/nginx@sha256:ab12"))
    for kind, name in WORKLOADS:
        assert re.search(r":\d+\.\d+(\.\d+)?$", container_of(shipped, kind, name)["image"])
    assert container_of(told, "Deployment", "voice-gateway")["image"] == "mirror.test/nginx@sha256:ab12"
    assert f"by default `{GatewayOptions().nginx_image}`" in (FOLDER / "README.md").read_text()


def test_gateway_writes_to_its_temporary_folder_only() -> None:
    conf = printed_objects()["ConfigMap", "voice-gateway"]["data"]["nginx.conf"]
    written = re.findall(r"^ *(pid|\w+_temp_path) (\S+);$", conf, re.MULTILINE)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    assert {word for word, _ in written} == {"pid", *(f"{kind}_temp_path" for kind in kinds)}
    assert all(path.startswith("/tmp/") for _, path in written)
    mounts = container_of(printed_objects(), "Deployment", "voice-gateway")["volumeMounts"]
    assert [mount["mountPath"] for mount in mounts if not mount.get("readOnly")] == ["/tmp"]


def test_probe_waits_for_longer_than_the_answer_may_take() -> None:
    probe = container_of(printed_objects(), "StatefulSet", "voice")["readinessProbe"]
    assert limits.READY_PING_SECONDS < probe["timeoutSeconds"] < probe["periodSeconds"]


def test_gateway_pods_are_replaced_when_their_configuration_changes_and_only_then() -> None:
    def checksum(options: GatewayOptions) -> str:
        template = printed_objects(options)["Deployment", "voice-gateway"]["spec"]["template"]
        return str(template["metadata"]["annotations"]["checksum/configuration"])

    assert checksum(OPTIONS) != checksum(attrs.evolve(OPTIONS, rate=60))
    assert checksum(OPTIONS) == checksum(attrs.evolve(OPTIONS, image="voice:2", drain_seconds=60))


def named_in(text: str) -> Iterator[str]:
    """Words that look like environment variables."""
    return (word for word in re.findall(r"[A-Z_]{4,}", text) if "_" in word)


@pytest.mark.parametrize("page", ["README.md", "voice.yaml"])
def test_page_names_settings_that_there_are(page: str) -> None:
    known = {field.metadata["env"] for field in setting_fields()}
    assert set(named_in((FOLDER / page).read_text())) - known == set()


def test_options_that_the_readme_names_are_those_of_the_command() -> None:
    text = (FOLDER / "README.md").read_text()
    options = {option.replace("-", "_") for option in re.findall(r"--([a-z-]+)[ `=]", text)}
    ours = {field.name for field in attrs.fields(GatewayOptions)}
    assert options - ours <= KUBECTL_OPTIONS
    assert {"image", "replicas", "namespace", "server_name", "vapi_slots", "drain_seconds"} <= options


KUBECTL_OPTIONS = {"from_env_file", "cert", "key", "dry_run"}


@pytest.mark.parametrize("page", [FOLDER / "README.md", ROOT / "docs" / "fleet.md"])
def test_page_says_for_how_long_a_pod_drains(page: Path) -> None:
    assert f"{GatewayOptions().drain_seconds:,}" in page.read_text()


def test_dockerfile_has_the_user_and_the_folder_of_the_manifest() -> None:
    pod = printed_objects()["StatefulSet", "voice"]["spec"]["template"]["spec"]
    text, user = (ROOT / "Dockerfile").read_text(), pod["securityContext"]["runAsUser"]
    assert re.search(rf"^USER {user}(:{user})?$", text, re.MULTILINE)
    (mount,) = pod["containers"][0]["volumeMounts"]
    assert re.search(rf"^WORKDIR {mount['mountPath'].removesuffix('/runs')}$", text, re.MULTILINE)
