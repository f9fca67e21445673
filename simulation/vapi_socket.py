"""A call's socket: one reader, one writer, the assistant between them, and the ways a call ends.

Order of shutdown: the end is decided (``call.ending``); reader, assistant and watchdogs stop; the writer sends what is
queued and the ``ended``; the socket closes; all within ``finish_seconds``.
"""

import json
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection

from simulation.behaviour import Behaviour
from simulation.ear import Ear
from simulation.events import mono_now
from simulation.scenario import AgentTurn
from simulation.speech import Voice
from simulation.vapi_call import SimulatedCall
from simulation.vapi_hearing import Understanding
from simulation.vapi_names import CLIENT_INBOUND_MESSAGES
from simulation.vapi_script import Script
from simulation.vapi_speaker import Speaker
from simulation.vapi_tools import ToolCaller
from simulation.webhook_client import WebhookClient
from simulation.websockets import close_socket

WORKER_DIED = "call.in-progress.error-vapifault-worker-died"
STALLED = "call.in-progress.error-vapifault-call-started-but-connection-to-transport-missing"
OUTBOX_MESSAGES = 64
PAUSE_SECONDS = 0.05
"""How often a held-back reader or writer looks whether it may go on."""


@attrs.frozen(eq=False)
class Casting:
    """What a call's assistant is made of."""

    behaviour: Callable[[], Behaviour]
    agent: Sequence[AgentTurn]
    caller_lines: Sequence[str]
    voice: Voice
    webhooks: WebhookClient
    rng: random.Random
    ear: Ear | None = None


@attrs.define(eq=False)
class CallSocket:
    """Serves one open socket until the call is over. Mutable: ``_open`` (the TCP connection is still worth using)."""

    call: SimulatedCall
    connection: WebSocketConnection
    stream: trio.abc.Stream
    casting: Casting
    _open: bool = True
    _outbox: tuple[trio.MemorySendChannel[str | bytes], trio.MemoryReceiveChannel[str | bytes]] = attrs.field(
        factory=lambda: trio.open_memory_channel[str | bytes](OUTBOX_MESSAGES), repr=False
    )

    async def run(self) -> None:
        """Hold the call. Cancelled: the stream is the caller's to close; nothing more is sent."""
        self.call.status = "in-progress"
        self.call.opened_mono = mono_now()
        self.call.log.add("vapi", "socket-open")
        written = trio.Event()
        try:
            async with trio.open_nursery() as writing:
                writing.start_soon(self._write, written)
                await self._live()
                await self._finish(written)
                writing.cancel_scope.cancel()
        finally:
            self.call.end(WORKER_DIED, by="vapi")
            self.call.closed_mono = mono_now()
            self.call.log.add("vapi", "socket-closed", code=self.call.close_code)

    async def _live(self) -> None:
        """Everything that stops when the end has been decided."""
        await self._tell({"type": "status-update", "status": "in-progress"})
        casting = self.casting
        async with trio.open_nursery() as nursery:
            speaker = Speaker(self._outbox[0], casting.behaviour, casting.rng, self.call.resumptions)
            tools = ToolCaller(self.call, casting.behaviour, casting.webhooks, self._tell, casting.rng)
            script = Script(
                call=self.call,
                agent=casting.agent,
                caller_lines=casting.caller_lines,
                behaviour=casting.behaviour,
                voice=casting.voice,
                tools=tools,
                speaker=speaker,
                tell=self._tell,
                nursery=nursery,
                understanding=Understanding(casting.ear, self.call, casting.caller_lines) if casting.ear else None,
            )
            nursery.start_soon(self._read, script)
            nursery.start_soon(script.run)
            if script.understanding is not None:
                nursery.start_soon(script.listen)
            nursery.start_soon(speaker.stream_silence)
            nursery.start_soon(self._watch_silence, script)
            nursery.start_soon(self._watch_duration)
            nursery.start_soon(self._watch_drop)
            await self.call.ending.wait()
            nursery.cancel_scope.cancel()

    async def _tell(self, message: Mapping[str, Any]) -> None:
        """Queue a text message if the client subscribed to its type."""
        behaviour = self.casting.behaviour()
        if message["type"] not in self.call.subscribed or message["type"] in behaviour.silent_texts:
            return
        wire = {"message": message} if behaviour.envelope == "message" else message
        await self._outbox[0].send(json.dumps(wire, ensure_ascii=False, separators=(",", ":")))

    async def _read(self, script: Script) -> None:
        while True:
            while self.casting.behaviour().stop_reading:  # noqa: ASYNC110  # the knob is plain data, no event
                await trio.sleep(PAUSE_SECONDS)
            try:
                message = await self.connection.get_message()
            except ConnectionClosed as closed:
                self._on_close(closed)
                return
            if isinstance(message, bytes):
                self.call.hear(message)
                await script.hear(message)
            else:
                self._obey(message)

    def _on_close(self, closed: ConnectionClosed) -> None:
        """The client has gone; whichever of reader and writer notices first."""
        self._open = False
        self.call.close_code = closed.reason.code if closed.reason else 1006
        self.call.end("customer-ended-call", by="client")

    def _obey(self, text: str) -> None:
        """A text message of the client; what ClientInboundMessage does not know is a violation."""
        self.call.received_texts.append(text)
        try:
            message = json.loads(text)
        except ValueError:
            message = None
        kind = message.get("type") if isinstance(message, dict) else None
        if kind in ("end-call", "hangup"):
            # "hangup" stands in the documentation's example only, and is obeyed. The reason is a guess of ours.
            self.call.end("manually-canceled", by="client")
        elif kind not in CLIENT_INBOUND_MESSAGES:
            self.call.violate(f"text message not in ClientInboundMessage: {text[:200]}")

    async def _write(self, written: trio.Event) -> None:
        """The only task that sends, so that a message is never cut in half by a cancellation."""
        async for message in self._outbox[1]:
            while self.casting.behaviour().stop_sending:  # noqa: ASYNC110  # the knob is plain data, no event
                await trio.sleep(PAUSE_SECONDS)
            if isinstance(message, bytes):
                self.call.speak(message)  # before it goes: what was cut short may have arrived all the same
            try:
                with trio.fail_after(self.casting.behaviour().send_stall_seconds):
                    await self.connection.send_message(message)
            except ConnectionClosed as closed:
                self._on_close(closed)
                break
            except trio.TooSlowError:
                self._open = False
                self.call.end(STALLED, by="client")
                break
            if isinstance(message, str):
                self.call.sent_texts.append(json.loads(message))
        written.set()
        # Whoever is still queueing must not wait for a writer that has gone.
        async for _ in self._outbox[1]:
            pass

    async def _watch_silence(self, script: Script) -> None:
        while True:
            quiet_until = script.last_sound + self.call.silence_seconds
            if trio.current_time() < quiet_until:
                await trio.sleep_until(quiet_until)
            elif script.busy:
                await trio.sleep(PAUSE_SECONDS)
            else:
                self.call.end("silence-timed-out", by="vapi")
                return

    async def _watch_duration(self) -> None:
        await trio.sleep(self.call.max_seconds)
        self.call.end("exceeded-max-duration", by="vapi")

    async def _watch_drop(self) -> None:
        after = self.casting.behaviour().drop_after_seconds
        if after is None:
            return
        await trio.sleep(after)
        self._open = False
        self.call.end(WORKER_DIED, by="vapi")

    async def _finish(self, written: trio.Event) -> None:
        """Say that the call has ended and close, unless the client or the connection has gone already."""
        behaviour = self.casting.behaviour()
        if not self._open:
            self._outbox[0].close()
            await trio.aclose_forcefully(self.stream)
            return
        with trio.move_on_after(behaviour.finish_seconds):
            if not behaviour.close_before_ended:
                await self._tell(
                    {"type": "status-update", "status": "ended", "endedReason": self.call.ended_reason or ""}
                )
            self._outbox[0].close()
            await written.wait()
            await close_socket(self.connection, behaviour.close_code)
