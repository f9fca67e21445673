"""`voice gateway …` and `voice tunnel …`: how the world reaches the webhook door."""

import sys
from functools import partial
from typing import Annotated, Any, get_args

import trio
import typer
from rich.console import Console

from runtime.errors import OwnError
from runtime.gateway import GatewayOptions, Kind, print_config
from runtime.logs import configure_logging
from runtime.settings import read_settings

WRONG_USE = 2
STOPPED = 130
_DEFAULTS = GatewayOptions()

gateway = typer.Typer(help="A stock load balancer in front of several pods.", no_args_is_help=True)
tunnel = typer.Typer(help="The way from the internet to the webhook door.", no_args_is_help=True)


@gateway.callback()
def _gateway() -> None:
    """A stock load balancer in front of several pods."""


@gateway.command("print-config")
def print_gateway_config(
    kind: Annotated[str, typer.Argument(help="nginx, haproxy or k8s.")],
    server_name: Annotated[str, typer.Option(help="The public name.")] = _DEFAULTS.server_name,
    listen: Annotated[str, typer.Option(help="Port, or host:port.")] = _DEFAULTS.listen,
    certificate: Annotated[str, typer.Option(help="TLS certificate; empty for plain HTTP.")] = _DEFAULTS.certificate,
    certificate_key: Annotated[str, typer.Option(help="Its key (nginx).")] = _DEFAULTS.certificate_key,
    sockets: Annotated[str, typer.Option(help="Folder of the pods' sockets, {pod}.sock each.")] = _DEFAULTS.sockets,
    pod: Annotated[list[str] | None, typer.Option(help="A pod's POD_ID; may be repeated. HAProxy needs them.")] = None,
    shared_database: Annotated[bool, typer.Option(help="The pods share DATABASE_URL and WEBHOOK_KEY.")] = False,
    rate: Annotated[int, typer.Option(help="Requests a second and pod.")] = _DEFAULTS.rate,
    burst: Annotated[int, typer.Option(help="More at once than that.")] = _DEFAULTS.burst,
    vapi_addresses_only: Annotated[bool, typer.Option(help="Let in Vapi's fixed addresses only.")] = False,
    runtime_socket: Annotated[str, typer.Option(help="HAProxy's runtime API.")] = _DEFAULTS.runtime_socket,
    haproxy_user: Annotated[str, typer.Option(help="The user HAProxy runs as.")] = _DEFAULTS.haproxy_user,
    namespace: Annotated[str, typer.Option(help="Kubernetes namespace.")] = _DEFAULTS.namespace,
    service: Annotated[str, typer.Option(help="Kubernetes service.")] = _DEFAULTS.service,
    replicas: Annotated[int, typer.Option(help="Pods in Kubernetes.")] = _DEFAULTS.replicas,
    image: Annotated[str, typer.Option(help="The pods' image.")] = _DEFAULTS.image,
    nginx_image: Annotated[str, typer.Option(help="Kubernetes: the gateway's image.")] = _DEFAULTS.nginx_image,
    resolver: Annotated[str, typer.Option(help="Kubernetes' DNS.")] = _DEFAULTS.resolver,
    cluster_domain: Annotated[str, typer.Option(help="Kubernetes' own domain.")] = _DEFAULTS.cluster_domain,
    monitoring: Annotated[str, typer.Option(help="Kubernetes namespace of Prometheus.")] = _DEFAULTS.monitoring,
    vapi_slots: Annotated[int, typer.Option(help="Slots of the Vapi account, for all pods.")] = _DEFAULTS.vapi_slots,
    drain_seconds: Annotated[int, typer.Option(help="For the calls of a pod that goes.")] = _DEFAULTS.drain_seconds,
) -> None:  # fmt: skip
    """Print a working configuration; docs/fleet.md says where it belongs."""
    options: dict[str, Any] = {name: value for name, value in locals().items() if name not in ("kind", "pod")}
    if kind not in get_args(Kind):
        _wrong(f"{kind!r} is not one of: {', '.join(get_args(Kind))}")
    try:
        sys.stdout.write(print_config(kind, GatewayOptions(pods=tuple(pod or ()), **options)))  # type: ignore[arg-type]
    except OwnError as exc:
        _wrong(str(exc))


@tunnel.callback()
def _tunnel() -> None:
    """The way from the internet to the webhook door."""


@tunnel.command("check")
def check() -> None:
    """Open the configured tunnel, see whether it leads here, and close it. The exit code tells the cause."""
    from runtime.tunnels.check import check_tunnel

    code, line = STOPPED, "stopped"
    try:
        settings = read_settings()
        configure_logging(settings.log_level)
        code = trio.run(partial(check_tunnel, settings, Console()))
    except* OwnError as errors:
        code, line = WRONG_USE, str(errors.exceptions[0])
    except* KeyboardInterrupt:
        pass
    if code in (STOPPED, WRONG_USE):
        _wrong(line, code)
    raise typer.Exit(code)


def _wrong(line: str, code: int = WRONG_USE) -> None:
    sys.stderr.write(f"voice: {line}\n")
    raise typer.Exit(code)
