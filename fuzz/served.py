"""A `voice serve` in a process of its own, a simulated Vapi in this one, and a call between them, on real sockets."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import attrs
import trio

from bench.processes import Program, open_program
from db.embedded import open_embedded_server
from simulation.network import TrioSockets
from simulation.vapi_cloud import VapiCloud, open_vapi_cloud
from simulation.websockets import open_client_socket

FLEET_SECRET: Final = "fleet-secret-of-the-account"
CALL_SECONDS: Final = 15.0
SERVE: Final = ("runtime.cli", "serve")


@attrs.frozen(eq=False)
class Served:
    program: Program
    voice_url: str
    webhook_url: str
    secret: str
    """Of the call that is on."""
    call_id: str


@asynccontextmanager
async def open_served(folder: Path, module: Sequence[str] = SERVE) -> AsyncIterator[Served]:
    """Raises BenchFailure and EmbeddedServerError when a part does not get ready."""
    async with AsyncExitStack() as stack:
        database_url = await stack.enter_async_context(open_embedded_server())
        cloud = await stack.enter_async_context(open_vapi_cloud())
        environ = settings(cloud.base_url, cloud.api_key, database_url)
        program = await stack.enter_async_context(
            open_program("serve", module, core=None, folder=folder, environ=environ)
        )
        voice_url = await program.says("voice listening on ")
        webhook = await program.says("webhook listening on ")
        await stack.enter_async_context(_call(voice_url))
        secret = await _secret(cloud)
        yield Served(program, voice_url, f"http://{webhook}", secret, cloud.calls[0].id)


def settings(vapi: str, api_key: str, database_url: str) -> dict[str, str]:
    """The runtime's defaults, but for where things are."""
    return {
        "VAPI_BASE_URL": vapi, "VAPI_API_KEY": api_key, "DATABASE_URL": database_url, "VOICE_HOST": "127.0.0.1",
        "PORT": "0", "WEBHOOK_PORT": "0", "CONSOLE_BIND": "none", "POD_ID": "fuzz", "WEBHOOK_SECRET": FLEET_SECRET,
    }  # fmt: skip


@asynccontextmanager
async def _call(voice_url: str) -> AsyncIterator[None]:
    async with open_client_socket(TrioSockets(), voice_url) as caller, trio.open_nursery() as nursery:

        async def hear() -> None:
            while True:
                await caller.get_message()

        async def speak() -> None:
            while True:
                await caller.send_message(b"\x00\x20\x00\xe0" * 240)
                await trio.sleep(0.02)

        nursery.start_soon(hear)
        nursery.start_soon(speak)
        yield
        nursery.cancel_scope.cancel()


async def _secret(cloud: VapiCloud) -> str:
    """Of the first call, as soon as it is on: POST /call told it to Vapi."""
    with trio.fail_after(CALL_SECONDS):
        while not any(call.status == "in-progress" for call in cloud.calls):  # noqa: ASYNC110
            await trio.sleep(0.02)
    assistant: Any = cloud.calls[0].assistant
    return str(assistant["model"]["tools"][0]["server"]["headers"]["X-Voice-Secret"])
