"""Where the endings are played: a world in virtual time on a network in memory, and calls that are watched until they
are gone.

*Gone* means: every task of the call has finished, both of its sockets are closed, the house has forgotten it.
"""

import base64
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import attrs
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection

from runtime import limits
from runtime.record import CallRecord
from simulation.background import open_background
from simulation.network import Link, TrioSockets, VirtualNetwork
from simulation.scenario import AgentTurn, ToolCall
from simulation.vapi_call import SimulatedCall
from simulation.websockets import open_client_socket
from tests.fakes import assert_every_byte_is_counted, speech
from tests.peers import texts_and_close
from tests.world import World, open_world

FRAME = speech(limits.FRAME_SECONDS)
FRAME_IN_JSON = json.dumps({"type": "audio", "audio": base64.b64encode(FRAME).decode()})
AT_ONCE_SECONDS = 0.1
NOTICED_SECONDS = 10.0
"""Until a peer is missed that is silent without having left."""
ANSWERED_A_PING_SECONDS = limits.PING_SECONDS + 0.1
"""When a call has lasted so long, its peers have just shown that they live: it takes longest until they are missed."""
END_CALL = '{"type":"end-call"}'
GREETING = AgentTurn(say="hello")
FIND_CARD = ToolCall("display_card_info_by_last4", {"last4": "4242"})
REPLACE_CARD = ToolCall("request_card_replacement", {"card_id": 5})


def words(seconds: float) -> str:
    """What the simulated assistant says for so long."""
    return " ".join(["word"] * round(seconds / 0.040))


def tasks_below(task: trio.lowlevel.Task) -> Iterator[trio.lowlevel.Task]:
    """The task, and all that its nurseries hold."""
    yield task
    for nursery in task.child_nurseries:
        for child in nursery.child_tasks:
            yield from tasks_below(child)


@attrs.define(eq=False)
class HeldCall:
    """A caller who does no more than speak and listen, and the call behind his connection.

    Mutable: `vapi_links` (the call's connections to Vapi; all there are, until it is live) and what was heard and told.
    """

    stage: "Stage"
    connection: WebSocketConnection
    link: Link
    handler: trio.lowlevel.Task
    """The task of the voice door under which all others of the call live."""
    record: CallRecord
    message: bytes | str = FRAME
    """20 ms of speech, as his protocol has it."""
    vapi_links: list[Link] = attrs.field(factory=list)
    heard_bytes: int = 0
    heard_at: float = 0.0
    """When audio came last."""
    texts: list[str] = attrs.field(factory=list)
    closed: trio.Event = attrs.field(factory=trio.Event)
    told: tuple[int, str] | None = None
    """Code and reason of the close frame that came; None when none did."""

    @property
    def at_vapi(self) -> SimulatedCall:
        """The call as Vapi sees it."""
        return next(call for call in self.stage.world.cloud.calls if call.id == self.record.vapi_call_id)

    async def live(self) -> "HeldCall":
        """Until audio can pass both ways."""
        network, cloud = self.stage.network, self.stage.world.cloud
        await self.stage.world.until(lambda: self.record.phase == "live" and self.at_vapi.status == "in-progress")
        self.vapi_links = [network.links_to(cloud.transport_port)[-1]]
        return self

    @property
    def waiting_bytes(self) -> int:
        """Of the caller's audio: received, and neither sent nor discarded yet."""
        counts = self.record.counts
        gone = counts["setup_bytes_discarded"] + counts["uplink_bytes"] + counts["uplink_bytes_discarded"]
        return counts["caller_bytes"] - gone

    @property
    def vapi_link(self) -> Link:
        (link,) = self.vapi_links
        return link

    def remains(self, vapi_links: list[Link]) -> list[str]:
        """What is left of the call in our house."""
        left = [task.name for task in tasks_below(self.handler)] if self.handler in self.stage.connections() else []
        left += [] if self.link.server.closed else ["the caller's socket"]
        left += ["Vapi's socket" for link in vapi_links if not link.client.closed]
        left += ["its registration"] if self.record in list(self.stage.world.doors.house.calls) else []
        return left

    async def gone(self, within_seconds: float) -> float:
        """Assert that the call is gone in time, and that no byte of it went uncounted; returns how long it took."""
        began = trio.current_time()
        links = self.vapi_links or self.stage.network.links_to(self.stage.world.cloud.transport_port)
        while left := self.remains(links):
            waited = trio.current_time() - began
            assert waited <= within_seconds, f"after {waited:.3f} s there is left: {left}"
            await trio.sleep(min(within_seconds / 100, 0.05))
        assert_every_byte_is_counted(self.record)
        return trio.current_time() - began

    async def was_told(self, code: int, reason: str) -> None:
        """Assert what the close frame said that came, or is about to."""
        with trio.move_on_after(1):
            await self.closed.wait()
        assert self.told == (code, reason), f"the caller was told {self.told}"

    async def vapi_saw(self, *expected: str | int) -> None:
        """Assert all that Vapi reads on its socket beside audio, in order: texts, and the code of a close frame."""
        with trio.fail_after(1):
            await self.at_vapi.over.wait()
        seen = texts_and_close(bytes(self.stage.read_by_vapi[self.vapi_link]))
        assert seen == list(expected), f"Vapi saw {seen}"

    async def speak(self) -> None:
        """A frame every 20 ms, as fast as they are taken."""
        frame_at = trio.current_time()
        with suppress(ConnectionClosed):
            while True:
                await self.connection.send_message(self.message)
                frame_at += limits.FRAME_SECONDS
                await trio.sleep_until(frame_at)

    async def listen(self) -> None:
        try:
            while True:
                message = await self.connection.get_message()
                if isinstance(message, str):
                    self.texts.append(message)
                else:
                    self.heard_bytes += len(message)
                    self.heard_at = trio.current_time()
        except ConnectionClosed as closed:
            if closed.reason is not None and closed.reason.code != 1006:
                self.told = int(closed.reason.code), closed.reason.reason or ""
        finally:
            self.closed.set()


@attrs.frozen
class Stage:
    world: World
    network: VirtualNetwork
    voice_port: int
    read_by_vapi: dict[Link, bytearray] = attrs.field(factory=dict)
    """Every byte that Vapi has read, per connection to its sockets' host."""

    def tap(self, link: Link) -> None:
        """Called with each new connection."""
        if link.port != self.world.cloud.transport_port:
            return
        seen = self.read_by_vapi[link] = bytearray()
        receive = link.server.recv

        async def receive_and_note(most_bytes: int) -> bytes:
            data = await receive(most_bytes)
            seen.extend(data)
            return data

        link.server.recv = receive_and_note  # type: ignore[method-assign, assignment]

    def connections(self) -> set[trio.lowlevel.Task]:
        """The tasks of the voice door that serve one connection each."""
        root = trio.lowlevel.current_root_task()
        assert root is not None
        (door,) = (task for task in tasks_below(root) if task.name == "process VoiceDoor")
        return {task for task in tasks_below(door) if task.name.endswith("._run_handler")}

    @asynccontextmanager
    async def call(self, protocol: str = "binary", *, speaks: bool = False) -> AsyncIterator[HeldCall]:
        """A caller who has connected. His call is being set up, unless Vapi is very quick."""
        connections, records = self.connections(), set(self.world.doors.house.calls)
        url = f"{self.world.doors.voice_url}?protocol={protocol}"
        async with open_client_socket(TrioSockets(), url) as connection, open_background() as nursery:
            (handler,) = self.connections() - connections
            (record,) = set(self.world.doors.house.calls) - records
            link = self.network.links_to(self.voice_port)[-1]
            message = FRAME if protocol == "binary" else FRAME_IN_JSON
            held = HeldCall(self, connection, link, handler, record, message)
            nursery.start_soon(held.listen)
            if speaks:
                nursery.start_soon(held.speak)
            yield held

    @asynccontextmanager
    async def live_call(self, protocol: str = "binary", *, speaks: bool = False) -> AsyncIterator[HeldCall]:
        """A caller whose call at Vapi is open."""
        async with self.call(protocol, speaks=speaks) as held:
            yield await held.live()


@asynccontextmanager
async def open_stage(**world: Any) -> AsyncIterator[Stage]:
    """A world on a network of its own, 10 ms from everywhere to everywhere."""
    network = VirtualNetwork()
    with network.installed():
        async with open_world(**world) as opened:
            opened.cloud.agent = (GREETING,)
            voice_port = int(opened.doors.voice_url.rpartition(":")[2].partition("/")[0])
            stage = Stage(opened, network, voice_port)
            network.on_link = stage.tap
            yield stage
