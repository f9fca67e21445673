"""What a gateway's configuration can be told. Every value is checked, because it is written into a file of code."""

import math
import re
from collections.abc import Callable
from typing import Any, Final

import attrs

from runtime import limits
from runtime.errors import SettingsError

CALLS_MAP: Final = "voice-calls.map"
"""HAProxy's map from call ids to pods: the file beside its configuration, and its name in the runtime API."""

_PATH: Final = r"/[A-Za-z0-9._/-]{1,100}"
_LABEL: Final = r"[a-z]([a-z0-9-]{0,28}[a-z0-9])?"
_IMAGE: Final = r"[A-Za-z0-9._:/@-]{1,255}"
PORT_MOST: Final = 65_535
Check = Callable[[Any, "attrs.Attribute[Any]", Any], None]


def _shaped(pattern: str, what: str) -> Check:
    def check(_: Any, attribute: "attrs.Attribute[Any]", value: str) -> None:
        if not re.fullmatch(pattern, value):
            raise SettingsError(f"--{attribute.name.replace('_', '-')} {value!r} is not {what}")

    return check


def _at_least_one(_: Any, attribute: "attrs.Attribute[Any]", value: int) -> None:
    if not 1 <= value < 1_000_000:
        raise SettingsError(f"--{attribute.name.replace('_', '-')} {value!r} is not a whole number above 0")


def _port_of_its_own(_: Any, __: "attrs.Attribute[Any]", value: str) -> None:
    if not 1 <= int(value.rpartition(":")[2]) <= PORT_MOST:
        raise SettingsError(f"--listen {value!r} is not a port from 1 to {PORT_MOST}, or host:port with one")


def _pods(_: Any, __: "attrs.Attribute[Any]", value: tuple[str, ...]) -> None:
    for pod in value:
        if not re.fullmatch(r"[a-z0-9-]{1,40}", pod):
            raise SettingsError(f"--pod {pod!r} is not 1 to 40 of a-z, 0-9 and '-'")
    if len(set(value)) != len(value):
        raise SettingsError("--pod names a pod twice")


@attrs.frozen(kw_only=True)
class GatewayOptions:
    """Raises SettingsError, in one line that names the option."""

    server_name: str = attrs.field(
        default="hooks.example.com", validator=_shaped(r"[A-Za-z0-9._-]{1,253}", "a host name")
    )
    listen: str = attrs.field(
        default="443",
        validator=[_shaped(r"([A-Za-z0-9.*-]+:|\[[0-9a-fA-F:]+\]:)?[0-9]{1,5}", "port or host:port"), _port_of_its_own],
    )
    certificate: str = attrs.field(
        default="/etc/voice-gateway/tls.crt", validator=_shaped(f"({_PATH})?", "an absolute path")
    )
    """Empty: plain HTTP, for a gateway that has a tunnel or a TLS load balancer in front of it."""
    certificate_key: str = attrs.field(
        default="/etc/voice-gateway/tls.key", validator=_shaped(_PATH, "an absolute path")
    )
    """nginx's. HAProxy looks for it in the certificate's file, or beside that as NAME.key."""
    sockets: str = attrs.field(default="/run/pods", validator=_shaped(r"/[A-Za-z0-9._/-]{1,50}", "an absolute path"))
    """The folder of the pods' sockets, {pod}.sock each."""
    pods: tuple[str, ...] = attrs.field(default=(), converter=tuple, validator=_pods)
    """HAProxy knows no others. nginx needs them only for /tool, and finds any pod in the sockets' folder."""
    shared_database: bool = False
    """All pods have one DATABASE_URL and one WEBHOOK_KEY, so any pod may answer /tool."""
    rate: int = attrs.field(default=limits.GATEWAY_REQUESTS_PER_SECOND, validator=_at_least_one)
    burst: int = attrs.field(default=limits.GATEWAY_BURST_REQUESTS, validator=_at_least_one)
    vapi_addresses_only: bool = False
    """With VAPI_STATIC_IPS=on: nobody else is let in."""
    runtime_socket: str = attrs.field(default="/run/haproxy/voice.sock", validator=_shaped(_PATH, "an absolute path"))
    """HAProxy's runtime API; the pods' HAPROXY_SOCKET."""
    haproxy_user: str = attrs.field(default="haproxy", validator=_shaped(r"([a-z_][a-z0-9_-]{0,31})?", "a user's name"))
    """Empty: it stays who it was started as."""
    namespace: str = attrs.field(default="default", validator=_shaped(_LABEL, "a Kubernetes name"))
    service: str = attrs.field(default="voice", validator=_shaped(_LABEL, "a Kubernetes name"))
    replicas: int = attrs.field(default=3, validator=_at_least_one)
    image: str = attrs.field(
        default="registry.example.com/mini-bcs-voice-vapi:0.1.0",
        validator=_shaped(_IMAGE, "an image's name"),
    )
    nginx_image: str = attrs.field(default="nginx:1.28", validator=_shaped(_IMAGE, "an image's name"))
    """Kubernetes: the stock nginx, of Docker's official images, whose user is 101."""
    resolver: str = attrs.field(
        default="kube-dns.kube-system.svc.cluster.local",
        validator=_shaped(r"[A-Za-z0-9.:\[\]-]{1,253}", "a name server"),
    )
    """Kubernetes: who knows the pods' names."""
    cluster_domain: str = attrs.field(
        default="cluster.local", validator=_shaped(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?", "a domain")
    )
    monitoring: str = attrs.field(default="monitoring", validator=_shaped(_LABEL, "a Kubernetes name"))
    """Kubernetes: the namespace from which the pods' figures may be asked for."""
    vapi_slots: int = attrs.field(default=limits.VAPI_SLOTS, validator=_at_least_one)
    """Kubernetes: calls at once on the Vapi account; the pods share them."""
    drain_seconds: int = attrs.field(default=math.ceil(limits.LONGEST_CALL_SECONDS), validator=_at_least_one)
    """Kubernetes: how long the calls of a pod that is replaced may go on."""
