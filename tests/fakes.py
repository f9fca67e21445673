"""Stand-ins for what stands around an actor: legs, an HTTP client, Vapi's API, a faulty database, a log. All in memory.

Each keeps the contract of the real thing and records what it was asked, with Trio's time, so that virtual time shows.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import attrs
import msgspec
import structlog
import trio
from structlog.testing import LogCapture

from db.door import Answer, Database, DatabaseUnavailable, Effect
from runtime import limits
from runtime.errors import NoAnswer
from runtime.http_client import Reply, Unreachable
from runtime.leg import AtOnce, Audio, Closed, LegClosed, LegStalled, Passing, Received, Text
from runtime.record import CallRecord, Event
from runtime.tool_posts import PendingPost, ToolCall
from runtime.vapi_api import CreatedCall

LOUD = b"\x00\x20"  # one sample, well above the audible peak


def speech(seconds: float) -> bytes:
    return LOUD * round(seconds * limits.SAMPLE_RATE_HZ)


def silence(seconds: float) -> bytes:
    return bytes(2 * round(seconds * limits.SAMPLE_RATE_HZ))


def seconds_of(pcm: bytes) -> float:
    return len(pcm) / limits.AUDIO_BYTES_PER_SECOND


@attrs.frozen
class Sent:
    """`at`: when the send began, in seconds since the leg was made."""

    at: float
    what: bytes | str


@attrs.define(eq=False)
class FakeLeg:
    """A leg (runtime/leg.py) whose peer is the test.

    Knobs: `send_seconds` a send takes; `stalled`, the peer takes nothing; `closed`, the peer is gone;
    `peer_answers`, whether the peer takes part in the close handshake.
    """

    send_seconds: float = 0.0
    stall_seconds: float = limits.UPLINK_STALL_SECONDS
    stalled: bool = False
    closed: bool = False
    peer_answers: bool = True
    sent: list[Sent] = attrs.field(factory=list)
    closings: list[tuple[int, str]] = attrs.field(factory=list)
    received: int = 0
    _since: float = attrs.field(factory=trio.current_time)
    _inbox: Any = attrs.field(factory=lambda: trio.open_memory_channel[Received | Exception](10_000))

    def arrives(self, *items: Received | Exception | bytes | str) -> None:
        """What `receive` gives next: bytes are audio, a str is a text, an exception is raised."""
        for item in items:
            if isinstance(item, bytes):
                item = Audio(item)
            elif isinstance(item, str):
                item = Text(item)
            self._inbox[0].send_nowait(item)

    def hangs_up(self, code: int = 1000) -> None:
        self.closed = True
        self.arrives(Closed(code))

    @property
    def waiting(self) -> int:
        """How much has arrived and was not received."""
        return int(self._inbox[0].statistics().current_buffer_used)

    async def receive(self, at_once: AtOnce | None = None) -> Received:  # noqa: ARG002  # never: as `offer`
        item = await self._inbox[1].receive()
        self.received += 1
        if isinstance(item, Exception):
            raise item
        got: Received = item
        return got

    def offer(self, audio: Passing) -> bool:  # noqa: ARG002
        """Never: what is sent at once has tests of its own, on legs that are real."""
        return False

    async def send_audio(self, pcm: bytes) -> None:
        assert len(pcm) % limits.SAMPLE_BYTES == 0, "half a sample"
        await self._send(pcm)

    async def send_text(self, data: str) -> None:
        await self._send(data)

    async def _send(self, what: bytes | str) -> None:
        await trio.lowlevel.checkpoint()
        if self.closed:
            raise LegClosed
        began = trio.current_time() - self._since
        if self.stalled:
            await trio.sleep(self.stall_seconds)
            self.closed = True
            raise LegStalled
        await trio.sleep(self.send_seconds)
        self.sent.append(Sent(began, what))

    async def aclose(self, code: int, reason: str, within_seconds: float = limits.CLOSE_SECONDS) -> bool:
        with trio.CancelScope(deadline=trio.current_time() + within_seconds, shield=True):
            await trio.lowlevel.checkpoint()
            self.closings.append((code, reason))
            self.closed = True
            if not self.peer_answers:
                await trio.sleep_forever()
        return self.peer_answers

    @property
    def audio(self) -> bytes:
        return b"".join(sent.what for sent in self.sent if isinstance(sent.what, bytes))

    @property
    def texts(self) -> list[str]:
        return [sent.what for sent in self.sent if isinstance(sent.what, str)]


@attrs.define
class FakeHttp:
    """An HTTP client (runtime/http_client.py) whose peer is the test.

    `down`: no connection is made. `status`: what each request gets, unless `respond` decides.
    """

    down: bool = False
    status: int = 200
    seconds: float = 0.0
    respond: Callable[[str, str, Any], Reply] | None = None
    requests: list[tuple[str, str, Any]] = attrs.field(factory=list)
    """Those that were taken: method, URL, JSON."""
    tried: int = 0
    headers: dict[str, str] = attrs.field(factory=dict)

    async def request(self, method: str, url: str, *, seconds: float, json: Any = None, headers: Any = None) -> Reply:
        self.tried += 1
        self.headers = dict(headers or {})
        body = msgspec.json.encode(json)
        await trio.lowlevel.checkpoint()
        if self.down:
            raise Unreachable("connection refused", sent=False)
        if self.seconds > seconds:
            await trio.sleep(seconds)
            raise Unreachable(f"no answer within {seconds:g} s", sent=True)
        await trio.sleep(self.seconds)
        self.requests.append((method, url, msgspec.json.decode(body)))
        return self.respond(method, url, json) if self.respond else Reply(self.status, b"{}")


@attrs.define(eq=False)
class FakeVapi:
    """Vapi's REST API (runtime/vapi_api.py), and its sockets by `dial`. Every call it makes runs until it is ended."""

    create_seconds: float = 0.0
    reply_lost: bool = False
    refuses: Exception | None = None
    finds_after_seconds: float | None = 0.0
    """When a call whose reply was lost shows in the list; None: never."""
    control_seconds: float = 0.0
    control_works: bool = True
    dial_fails: bool = False
    dial_seconds: float = 0.0
    running: set[str] = attrs.field(factory=set)
    legs: list[FakeLeg] = attrs.field(factory=list)
    dialled: list[str] = attrs.field(factory=list)
    ended_by: list[tuple[str, str]] = attrs.field(factory=list)
    ended_at: list[float] = attrs.field(factory=list)
    _made: int = 0
    _lost_at: float = 0.0
    reply: trio.Event | None = None
    """When given, POST /call is not answered before it is set."""

    async def create(self, _body: dict[str, Any]) -> CreatedCall:
        await trio.sleep(self.create_seconds)
        if self.reply is not None:
            await self.reply.wait()
        if self.refuses is not None:
            raise self.refuses
        self._made += 1
        call = CreatedCall(f"vapi-{self._made}", f"ws://vapi-{self._made}")
        self.running.add(call.id)
        if self.reply_lost:
            self._lost_at = trio.current_time()
            raise Unreachable("no answer within 15 s", sent=True)
        return call

    async def find(self, _tag: str) -> CreatedCall | None:
        await trio.lowlevel.checkpoint()
        if self.finds_after_seconds is None or trio.current_time() < self._lost_at + self.finds_after_seconds:
            return None
        return CreatedCall(f"vapi-{self._made}", "")

    async def control_url(self, call_id: str) -> tuple[str, str | None]:
        await trio.sleep(self.control_seconds)
        if not self.control_works:
            raise Unreachable("no answer within 5 s", sent=True)
        return ("in-progress", f"https://control/{call_id}") if call_id in self.running else ("ended", None)

    async def end_by_control(self, control_url: str) -> bool:
        await trio.lowlevel.checkpoint()
        self._end(control_url.rpartition("/")[2], "control")
        return True

    @asynccontextmanager
    async def dial(self, url: str, *_where: object) -> AsyncIterator[FakeLeg]:
        """Takes the place of `runtime.ws_handshake.dial_vapi`."""
        self.dialled.append(url)
        await trio.sleep(self.dial_seconds)
        if self.dial_fails:
            raise NoAnswer("vapi_down", "Vapi's WebSocket cannot be reached")
        leg = FakeLeg()
        self.legs.append(leg)
        try:
            yield leg
        finally:
            if '{"type":"end-call"}' in leg.texts:
                self._end(url.removeprefix("ws://"), "socket")

    def _end(self, call_id: str, how: str) -> None:
        self.running.discard(call_id)
        self.ended_by.append((call_id, how))
        self.ended_at.append(trio.current_time())


@attrs.define
class FaultyDatabase:
    """A database in memory with knobs. `undo_seconds`: how long a transaction takes to roll back, cancelled or not."""

    inner: Database
    down: bool = False
    undo_seconds: float = 0.0
    before: Callable[[str], Awaitable[None]] | None = None
    """Awaited with the tool call's id before its transaction begins."""

    async def run_once(self, call_id: str, tool_call_id: str, fingerprint: str, effect: Effect) -> Answer:
        await trio.lowlevel.checkpoint()
        if self.down:
            raise DatabaseUnavailable("connection refused")
        done = False
        try:
            if self.before is not None:
                await self.before(tool_call_id)
            answer = await self.inner.run_once(call_id, tool_call_id, fingerprint, effect)
            done = True
        finally:
            if not done:
                with trio.move_on_after(self.undo_seconds, shield=True):
                    await trio.sleep_forever()
        return answer

    async def answers(self, call_id: str, tool_call_ids: Sequence[str]) -> dict[str, Answer]:
        return await self.inner.answers(call_id, tool_call_ids)

    async def rows(self, table: str, where: Any) -> list[dict[str, Any]]:
        return await self.inner.rows(table, where)


def captured_log() -> tuple[structlog.typing.FilteringBoundLogger, list[Any]]:
    """A logger, and the entries it was given."""
    capture = LogCapture()
    wrapper = structlog.make_filtering_bound_logger(0)
    return structlog.wrap_logger(None, processors=[capture], wrapper_class=wrapper), capture.entries


def arriving_now(calls: tuple[ToolCall, ...]) -> PendingPost:
    return PendingPost(calls, trio.current_time() + limits.POST_SECONDS)


def new_record(trace: list[Event] | None = None) -> CallRecord:
    """The record of a call that is live at Vapi; its events go to `trace`."""
    record = CallRecord("c-1", (trace if trace is not None else []).append)
    record.known_at_vapi_as("vapi-call-1")
    record.phase = "live"
    return record


def assert_every_byte_is_counted(record: CallRecord) -> None:
    """The two equations of a record (runtime/record.py), once its call is over."""
    counts = record.counts
    uplink = counts["setup_bytes_discarded"] + counts["uplink_bytes"] + counts["uplink_bytes_discarded"]
    downlink = counts["downlink_bytes"] + counts["interrupted_bytes"] + counts["downlink_bytes_discarded"]
    assert (counts["caller_bytes"], counts["agent_bytes"]) == (uplink, downlink), dict(counts)
