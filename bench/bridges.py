"""The bridges that are compared, each as its users start it."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, Literal, get_args

import attrs

from bench.processes import Cores, Program, open_program

Kind = Literal["ours", "reference", "relay"]
Transport = Literal["tls", "plain"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
TRANSPORTS: Final[tuple[Transport, ...]] = get_args(Transport)
MODULES: Final = {
    "ours": ("runtime.cli", "serve"),
    "reference": ("bench.peers.reference",),
    "relay": ("bench.peers.picows_relay",),
}


@attrs.frozen
class Surroundings:
    """What a bridge finds: where Vapi is, by transport; the CA of its certificate; our database; a folder for logs."""

    vapi: dict[str, str]
    ca: Path
    database_url: str
    folder: Path
    cores: Cores


@attrs.frozen(eq=False)
class Bridge:
    """A bridge that takes calls."""

    kind: Kind
    program: Program
    voice_url: str


@asynccontextmanager
async def open_bridge(
    kind: Kind, transport: Transport, around: Surroundings, *, log_level: str = "info"
) -> AsyncIterator[Bridge]:
    """Raises BenchFailure when it does not get ready. `log_level` is for ours only."""
    if kind == "ours":
        async with open_ours("ours", transport, around, {"LOG_LEVEL": log_level}) as bridge:
            yield bridge
        return
    module = (*MODULES[kind], "--vapi-base-url", around.vapi[transport])
    environ = {"SSL_CERT_FILE": str(around.ca)}
    async with open_program(kind, module, core=around.cores.bridge, folder=around.folder, environ=environ) as program:
        yield Bridge(kind, program, await program.says("voice listening on "))


@asynccontextmanager
async def open_ours(
    name: str,
    transport: Transport,
    around: Surroundings,
    changes: Mapping[str, str],
    module: Sequence[str] = MODULES["ours"],
) -> AsyncIterator[Bridge]:
    """Our runtime under a name of its own, with `changes` to its settings. Raises BenchFailure."""
    environ = {"SSL_CERT_FILE": str(around.ca), **_settings(around.vapi[transport], around.database_url), **changes}
    core, folder = around.cores.bridge, around.folder
    async with open_program(name, module, core=core, folder=folder, environ=environ) as program:
        yield Bridge("ours", program, await program.says("voice listening on "))


def _settings(vapi: str, database_url: str) -> dict[str, str]:
    """The runtime's defaults, but for where things are and how many calls it may take."""
    return {
        "VAPI_BASE_URL": vapi,
        "VAPI_API_KEY": "simulated-key",
        "VAPI_SLOTS": "100000",
        "MAX_CALLS": "100000",
        "TOOL_POLICY": "open",  # as the reference has its tools
        "VOICE_HOST": "127.0.0.1",
        "PORT": "0",
        "WEBHOOK_PORT": "0",
        "CONSOLE_BIND": "none",
        "RECORD_CALLS": "off",
        "POD_ID": "bench",
        "DATABASE_URL": database_url,
        "LOG_LEVEL": "info",
    }
