"""The text of a gateway's configuration. Pure: options in, text out.

The rules are the same in all of them. The pod stands in the path, matched as it was sent. Only a request with a secret
of the right shape passes; whether it is the right one, the pod decides. A request that a pod may have seen is
never sent again. The templates beside this file say the rest where it applies.
"""

import hashlib
import math
import string
import textwrap
from importlib.resources import files
from typing import Any, Final, Literal

import attrs

from runtime import limits
from runtime.errors import SettingsError
from runtime.gateway.options import CALLS_MAP, GatewayOptions
from runtime.webhook_secret import SECRET_HEADER

Kind = Literal["nginx", "haproxy", "k8s"]

VAPI_ADDRESSES: Final = "167.150.224.0/23"  # Vapi's documentation: static IP addresses
_VOICE_PORT: Final = 8008
_WEBHOOK_PORT: Final = 8009
_CONSOLE_PORT: Final = 8010
_IMAGE_USER: Final = 10001  # of the Dockerfile
_NGINX_PORT: Final = 8443
_NGINX_USER: Final = 101  # of the stock image
_CONFIGURATION_FOLDER: Final = "/etc/voice-gateway"
_TLS_FOLDER: Final = "/etc/nginx/tls"
_SECRET_VARIABLE: Final = SECRET_HEADER.lower().replace("-", "_")
_NOTICE_SECONDS: Final = 5  # until every load balancer of a cluster knows that a pod goes
_END_SECONDS: Final = math.ceil(limits.PROCESS_END_SECONDS) + 5  # and Python's own exit
_NGINX_END_SECONDS: Final = limits.GATEWAY_READ_SECONDS + 10


class _Template(string.Template):
    """`@{name}`: nginx and HAProxy both use `$` and braces for themselves."""

    delimiter = "@"


def print_config(kind: Kind, options: GatewayOptions = GatewayOptions()) -> str:  # noqa: B008  # frozen
    """The whole configuration, ready to be written to a file. Raises SettingsError when an option is missing."""
    match kind:
        case "nginx":
            return _nginx_of_a_host(options)
        case "haproxy":
            return _haproxy(options)
        case "k8s":
            return _kubernetes(options)


def _fill(template: str, **values: Any) -> str:
    """A line that is nothing but a name goes when its value is empty."""
    text = files("runtime.gateway").joinpath(template).read_text(encoding="utf-8")
    values |= {
        "post_seconds": f"{limits.POST_SECONDS:g}",
        "vapi_seconds": limits.VAPI_TOOL_TIMEOUT_SECONDS,
        "read_seconds": limits.GATEWAY_READ_SECONDS,
        "connect_seconds": limits.GATEWAY_CONNECT_SECONDS,
        "head_seconds": f"{limits.HANDSHAKE_SECONDS:g}",
        "body_seconds": f"{limits.BODY_SECONDS:g}",
        "body_bytes": limits.BODY_BYTES,
    }
    gone = {f"@{{{name}}}" for name, value in values.items() if value == ""}
    kept = "\n".join(line for line in text.splitlines() if line.strip() not in gone)
    return _Template(kept).substitute(values) + "\n"


def _indented(lines: list[str]) -> str:
    return textwrap.indent("\n".join(lines), "    ")


def _nginx_of_a_host(options: GatewayOptions) -> str:
    if options.shared_database and not options.pods:
        raise SettingsError("--shared-database needs a --pod for each pod, so that /tool can lead to any of them")
    any_pod = options.shared_database
    servers = [f"server unix:{options.sockets}/{pod}.sock fail_timeout=5s;" for pod in options.pods]
    return _nginx(
        options,
        pods_are=f"Pods of this host have WEBHOOK_BIND=unix:{options.sockets}/{{POD_ID}}.sock, writable for nginx.",
        pod_address=f"unix:{options.sockets}/$voice_pod.sock:",
        resolver="",
        upstream=f"upstream voice_any_pod {{\n{_indented(servers)}\n}}",
        any_pod_pass="proxy_pass http://voice_any_pod/tool;" if any_pod else "",
        fleet=len(options.pods),
    )


def _nginx(
    options: GatewayOptions,
    *,
    pods_are: str,
    pod_address: str,
    resolver: str,
    upstream: str,
    any_pod_pass: str,
    fleet: int,
) -> str:
    """`any_pod_pass`: what leads to any pod of `fleet`; empty: there is no /tool."""
    allow = [f"allow {VAPI_ADDRESSES};", "deny all;"] if options.vapi_addresses_only else []
    any_pod = _fill("nginx_any_pod.conf", fleet_burst=options.burst * fleet, any_pod_pass=any_pod_pass).rstrip()
    return _fill(
        "nginx.conf",
        pods_are=pods_are,
        secret_variable=_SECRET_VARIABLE,
        rate=options.rate,
        burst=options.burst,
        listen=_indented(_nginx_listen(options)),
        server_name=options.server_name,
        allow=_indented(allow),
        resolver=resolver,
        pod_address=pod_address,
        any_pod_upstream=_nginx_fleet(options.rate * fleet, upstream) if any_pod_pass else "",
        any_pod_location=any_pod if any_pod_pass else "",
    )


def _nginx_listen(options: GatewayOptions) -> list[str]:
    if not options.certificate:
        return [f"listen {options.listen};"]
    return [
        f"listen {options.listen} ssl;",
        f"ssl_certificate {options.certificate};",
        f"ssl_certificate_key {options.certificate_key};",
        "ssl_protocols TLSv1.2 TLSv1.3;",
    ]


def _nginx_fleet(rate: int, upstream: str) -> str:
    headers = " ".join(f"$http_{name}" for name in (_SECRET_VARIABLE, "x_vapi_secret", "authorization"))
    return "\n".join(
        (
            "# /tool takes the fleet's own secret as well, in any header that a credential of Vapi's may choose.",
            f'map "{headers}" $voice_secret {{',
            "    default 0;",
            '    "~[!-~]{16}" 1;',
            "}",
            f"limit_req_zone $binary_remote_addr zone=voice_fleet:10m rate={rate}r/s;",
            upstream,
        )
    )


def _haproxy(options: GatewayOptions) -> str:
    if not options.pods:
        raise SettingsError("haproxy needs a --pod for each pod: it knows no others")
    at = options.listen if ":" in options.listen else f":{options.listen}"
    window = max(1, math.ceil(options.burst / options.rate))
    requests = options.rate * window + options.burst
    allowed = f"http-request return status 403 unless {{ src {VAPI_ADDRESSES} }}"
    return _fill(
        "haproxy.cfg",
        calls_map=CALLS_MAP,
        runtime_socket=options.runtime_socket,
        connections=limits.GATEWAY_CONNECTIONS,
        user=_indented([f"user {options.haproxy_user}"] if options.haproxy_user else []),
        buffer_bytes=limits.BODY_BYTES + limits.HEAD_BYTES,
        bind=f"{at} ssl crt {options.certificate} alpn h2,http/1.1" if options.certificate else at,
        allow=_indented([allowed] if options.vapi_addresses_only else []),
        secret_header=SECRET_HEADER,
        rate=options.rate,
        burst=options.burst,
        window_seconds=window,
        window_requests=requests,
        fleet_window_requests=requests * len(options.pods),
        any_pod_backend=_haproxy_any_pod(options),
        pod_backends="\n\n".join(
            f"backend pod_{pod}\n    server {pod} unix@{options.sockets}/{pod}.sock" for pod in options.pods
        ),
    )


def _haproxy_any_pod(options: GatewayOptions) -> str:
    if not options.shared_database:
        return _fill("haproxy_no_pod.cfg").rstrip()
    servers = [f"server {pod} unix@{options.sockets}/{pod}.sock check inter 2s fall 2 rise 1" for pod in options.pods]
    return _fill("haproxy_any_pod.cfg", any_pod_servers=_indented(servers)).rstrip()


def _kubernetes_nginx(options: GatewayOptions) -> str:
    pods = f"{options.service}.{options.namespace}.svc.{options.cluster_domain}"
    return _nginx(
        attrs.evolve(
            options,
            listen=str(_NGINX_PORT),
            certificate=f"{_TLS_FOLDER}/tls.crt",
            certificate_key=f"{_TLS_FOLDER}/tls.key",
        ),
        pods_are=f"The pods are those of the StatefulSet {options.service}; DNS knows each by its name.",
        pod_address=f"$voice_pod.{pods}:{_WEBHOOK_PORT}",
        resolver=_indented([f"resolver {options.resolver} valid=5s;", "resolver_timeout 2s;"]),
        upstream="",
        any_pod_pass=f"set $voice_pods {pods};\n        proxy_pass http://$voice_pods:{_WEBHOOK_PORT}/tool;",
        fleet=options.replicas,
    )


def _kubernetes(options: GatewayOptions) -> str:
    nginx = _kubernetes_nginx(options)
    nginx_pod = _fill("nginx_pod.conf", configuration_folder=_CONFIGURATION_FOLDER)
    return _fill(
        "k8s.yaml",
        server_name=options.server_name,
        namespace=options.namespace,
        service=options.service,
        replicas=options.replicas,
        image=options.image,
        nginx_image=options.nginx_image,
        user=_IMAGE_USER,
        monitoring=options.monitoring,
        voice_port=_VOICE_PORT,
        webhook_port=_WEBHOOK_PORT,
        console_port=_CONSOLE_PORT,
        account_slots=options.vapi_slots,
        pod_slots=max(1, options.vapi_slots // options.replicas),
        most_calls=limits.MAX_CALLS,
        ready_seconds=math.ceil(limits.READY_PING_SECONDS) + 1,
        drain_seconds=options.drain_seconds,
        notice_seconds=_NOTICE_SECONDS,
        end_seconds=_END_SECONDS,
        stop_seconds=_NOTICE_SECONDS + options.drain_seconds + _END_SECONDS,
        gateway_port=_NGINX_PORT,
        nginx_user=_NGINX_USER,
        nginx_stop_seconds=_NOTICE_SECONDS + _NGINX_END_SECONDS,
        configuration_folder=_CONFIGURATION_FOLDER,
        tls_folder=_TLS_FOLDER,
        nginx_pod=_inside(nginx_pod),
        nginx=_inside(nginx),
        checksum=hashlib.sha256((nginx_pod + nginx).encode()).hexdigest()[:16],
    )


def _inside(text: str) -> str:
    """As a block of YAML."""
    return textwrap.indent(text.rstrip(), "    ")
