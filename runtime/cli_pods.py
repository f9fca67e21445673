"""`voice pods`: several pods on this machine, and nginx before them."""

import os
import sys
from typing import Annotated

import trio
import typer

from runtime import limits
from runtime.errors import OwnError
from runtime.logs import configure_logging
from runtime.settings import read_settings

WRONG_USE, STOPPED = 2, 130


def pods(
    count: Annotated[int, typer.Argument(min=1, max=limits.PODS_MOST, help="How many.")],
    listen: Annotated[
        str, typer.Option(help="Where nginx listens: port, or host:port. PUBLIC_BASE_URL leads there.")
    ] = "127.0.0.1:9000",
) -> None:
    """Serve callers with several pods on this machine, behind nginx; SIGHUP replaces them one after the other."""
    try:
        settings = read_settings()
        configure_logging(settings.log_level, settings.pod_id)
        from runtime.pods import run_pods  # behind the settings: half a second for what may be refused
        from runtime.pods_plan import plan_pods

        plan = plan_pods(settings, count, listen)

        def ready(voice_url: str) -> None:
            sys.stdout.write(f"voice listening on {voice_url}\ngateway listening on {plan.gateway_address}\n")
            sys.stdout.write(f"pods: {count} take calls; kill -HUP {os.getpid()} replaces them\n")
            sys.stdout.flush()

        trio.run(run_pods, plan, ready)
    except OwnError as exc:
        sys.stderr.write(f"voice: {exc}\n")
        raise typer.Exit(WRONG_USE) from None
    except KeyboardInterrupt:
        sys.stderr.write("voice: stopped\n")
        raise typer.Exit(STOPPED) from None
