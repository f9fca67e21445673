"""The world that cases are let at: the product's doors on a network in memory, and a Vapi whose sockets are ours."""

import random
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Final
from urllib.parse import urlsplit

import attrs
import trio

from db.memory import open_memory_database
from db.seed import BankFiles
from fuzz.http_bytes import Known
from fuzz.leg_scripts import VapiScript
from fuzz.quiet_vapi import QuietVapi
from fuzz.script import play
from fuzz.ws_bytes import agreement
from runtime.doors import Doors, open_doors
from runtime.settings import Settings, read_settings
from runtime.webhook_secret import sign
from simulation.network import TrioSockets, VirtualNetwork, port_of
from simulation.speech import Tones
from simulation.vapi_cloud import VapiCloud, open_vapi_cloud
from simulation.virtual_poller import VirtualPoller
from simulation.websockets import open_client_socket
from torture.chronicle import Chronicle
from torture.world import product_tasks

FLEET_SECRET: Final = "fleet-secret-of-the-account"
SETTLE_SECONDS: Final = 60.0
HEALTHY_SECONDS: Final = 30.0
HEAD_BYTES: Final = 64 * 1024


@attrs.define(eq=False)
class FuzzWorld:
    """Mutable: `hostile`, what Vapi's next sockets do, in order; none left: they are quiet."""

    network: VirtualNetwork
    doors: Doors
    cloud: VapiCloud
    chronicle: Chronicle
    known: Known
    quiet: Counter[str]
    """The product's tasks when nothing is asked of it."""
    hostile: deque[VapiScript]

    @property
    def voice_port(self) -> int:
        return urlsplit(self.doors.voice_url).port or 0

    @property
    def webhook_port(self) -> int:
        return urlsplit(f"//{self.doors.webhook}").port or 0

    async def settled(self) -> Counter[str]:
        """Wait until nothing of any case is left in the product; what is left all the same."""
        with trio.move_on_after(SETTLE_SECONDS):
            while product_tasks() - self.quiet:  # noqa: ASYNC110  # no event tells of a task's end
                await trio.sleep(0.25)
        return product_tasks() - self.quiet

    def sockets_left(self) -> list[str]:
        """The product's ends of connections that are still open, but for the call that stays."""
        doors = (self.voice_port, self.webhook_port)
        legs = [link for link in self.network.links if link.port in doors and not link.server.closed]
        legs += [
            link for link in self.network.links if link.port == self.cloud.transport_port and not link.client.closed
        ]
        return [f"{link.client} {link.server}" for link in legs][2:]  # the call that stays has two


async def _serve_vapi(hostile: deque[VapiScript], stream: trio.SocketStream) -> None:
    """One connection to a call's socket. Raises nothing but Cancelled."""
    try:
        request = await _head(stream)
        script = hostile.popleft() if hostile else None
        if script is None:
            await stream.send_all(agreement(None, request))
            await QuietVapi(stream).run()
        else:
            if not script.silent:
                await stream.send_all(agreement(random.Random(script.seed), request))
            await play(stream, script.behind)
    except (trio.BrokenResourceError, OSError):
        pass  # the product has left
    finally:
        await trio.aclose_forcefully(stream)


async def _head(stream: trio.SocketStream) -> bytes:
    head = b""
    while b"\r\n\r\n" not in head and len(head) < HEAD_BYTES:
        data = await stream.receive_some()
        if not data:
            return b""
        head += data
    return head


@asynccontextmanager
async def open_fuzz_world(
    network: VirtualNetwork, bank: BankFiles, chronicle: Chronicle, seed: int
) -> AsyncIterator[FuzzWorld]:
    """Raises what falls out of the doors."""
    hostile = deque[VapiScript]()
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(open_memory_database(files=bank))
        cloud = await stack.enter_async_context(
            open_vapi_cloud(slots=100_000, speech=Tones(ms_per_word=40), rng=random.Random(f"cloud {seed}"))
        )
        listeners = list(await TrioSockets().listen("127.0.0.1", 0))
        background = await stack.enter_async_context(trio.open_nursery())
        stack.callback(background.cancel_scope.cancel)
        await background.start(trio.serve_listeners, partial(_serve_vapi, hostile), listeners)
        cloud.transport_port = port_of(listeners)
        doors = await stack.enter_async_context(
            open_doors(_settings(cloud), database, chronicle.on_record_event, None, VirtualPoller())
        )
        await stack.enter_async_context(_call_that_stays(doors))
        record = next(iter(doors.house.calls))
        known = Known(
            (
                sign(doors.house.webhook_key, record.call_key).encode(),
                sign(doors.house.webhook_key, bytes(16)).encode(),
                FLEET_SECRET.encode(),
            ),
            str(record.vapi_call_id),
        )
        yield FuzzWorld(network, doors, cloud, chronicle, known, product_tasks(), hostile)


@asynccontextmanager
async def _call_that_stays(doors: Doors) -> AsyncIterator[None]:
    """A quiet caller, so that there is a live call that tools can be asked for."""
    async with open_client_socket(TrioSockets(), doors.voice_url) as caller, trio.open_nursery() as nursery:

        async def hear() -> None:
            while True:
                await caller.get_message()

        nursery.start_soon(hear)
        with trio.fail_after(HEALTHY_SECONDS):
            while not any(record.vapi_call_id and record.tool_posts for record in doors.house.calls):  # noqa: ASYNC110
                await trio.sleep(0.05)
            await trio.sleep(1.0)
        yield
        nursery.cancel_scope.cancel()


def _settings(cloud: VapiCloud) -> Settings:
    return read_settings(
        {
            "PORT": "0",
            "VOICE_HOST": "127.0.0.1",
            "WEBHOOK_PORT": "0",
            "CONSOLE_BIND": "none",
            "POD_ID": "pod",
            "VAPI_API_KEY": cloud.api_key,
            "VAPI_BASE_URL": cloud.base_url,
            "VAPI_SLOTS": "100000",
            "SETUPS_PER_SECOND": "100000",
            "WEBHOOK_SECRET": FLEET_SECRET,
        }
    )
