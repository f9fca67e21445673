"""The caller's end of a voice_ws socket: frames out at 50 a second, audio in, and what the rules forbid.

Out: one 20 ms frame every 20 ms, silence when there is nothing to say; a sender that fell behind catches up, so the
mean rate holds. In: audio is kept with its time of arrival and fed to the detector. A text frame in binary mode, or a
binary one in json mode, breaks the protocol and ends the call, as the hosted actor did; an odd length is noted.
"""

import base64
import json
from collections import deque
from typing import Literal

import attrs
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection

from simulation.caller_report import Utterance
from simulation.events import EventLog
from simulation.pcm import BYTES_PER_SAMPLE, FRAME_BYTES, frames_of, seconds_of
from simulation.playout import Chunk, Playout
from simulation.voice_activity import Segment, VoiceActivity, refined, speech_segments

Protocol = Literal["binary", "json"]
SEND_STALL_SECONDS = 10.0
END_TO_CLOSE_SECONDS = 1.0
"""For the close that follows json mode's ``end``."""
NO_ANSWER_CODE = 1011


class ProtocolBroken(Exception):
    """The agent sent what the channel's protocol forbids."""


@attrs.frozen
class Sound:
    """Something to be said: ``pcm`` as it is to be sent, and where the words lie in it, in samples."""

    pcm: bytes = attrs.field(default=b"", repr=lambda pcm: f"{len(pcm)} bytes")
    speech: tuple[Segment, ...] = ()

    @classmethod
    def of(cls, recording: bytes, sent: bytes | None = None) -> "Sound":
        """``recording``, or what a bad line makes of it (``sent``, as long); the words are sought in the recording.

        Where none are found all of it counts.
        """
        found = tuple(refined(recording, segment) for segment in speech_segments(recording))
        whole = Segment(0, len(recording) // BYTES_PER_SAMPLE)
        return cls(recording if sent is None else sent, found or (whole,))


@attrs.define(eq=False)
class Line:
    """An open call. Mutable: all fields below ``log``; ``news`` wakes whoever waits for something to be heard."""

    connection: WebSocketConnection
    protocol: Protocol
    log: EventLog
    frame_bytes: int = FRAME_BYTES
    """Of a message; 20 ms is what the channel promises, a multiple of it costs a long simulation less."""
    opened: float = attrs.field(factory=trio.current_time)
    sent: bytearray = attrs.field(factory=bytearray, repr=False)
    playout: Playout = attrs.field(factory=Playout)
    utterances: list[Utterance] = attrs.field(factory=list)
    backchannels: list[Utterance] = attrs.field(factory=list)
    violations: list[str] = attrs.field(factory=list)
    hearing: VoiceActivity = attrs.field(factory=VoiceActivity, repr=False)
    onset_at: float | None = None
    """When the first audible sample of the agent's present speech plays, until it is forgotten."""
    holds_floor: bool = False
    """The next turn is the caller's without a word of the agent's, until the agent speaks."""
    close_code: int | None = None
    close_reason: str | None = None
    lateness: float = 0.0
    ending: str | None = None
    outcome: str = ""
    ended_at: float = 0.0
    over: trio.Event = attrs.field(factory=trio.Event, repr=False)
    news: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot, repr=False)
    _frames: deque[bytes] = attrs.field(factory=deque, repr=False)
    _speaking: trio.Event | None = None
    _sent_at: list[float] = attrs.field(factory=list, repr=False)
    """When each frame of what is being said went out; of frames that catch up, when it plays behind the one before."""
    _stopping: bool = False
    _stopped: trio.Event = attrs.field(factory=trio.Event, repr=False)

    def now(self) -> float:
        """Seconds since the socket opened."""
        return trio.current_time() - self.opened

    def finish(self, ending: str, outcome: str) -> None:
        """Decide how the call ended; the first decision counts."""
        if self.ending is None:
            self.ending, self.outcome, self.ended_at = ending, outcome, self.now()
            self.log.add("caller", "call-ended", ending=ending, outcome=outcome)
        self.over.set()
        self.news.unpark_all()

    async def speak(
        self, sound: Sound, text: str, *, barge_in: bool = False, leaves: bool = False, takes_turn: bool = True
    ) -> Utterance:
        """Send ``sound`` in place of silence, beginning with the next frame; returns when its last frame has gone."""
        done = trio.Event()
        self._sent_at.clear()
        self._frames.extend(frames_of(sound.pcm, self.frame_bytes))
        self._speaking = done
        await done.wait()
        one = seconds_of(BYTES_PER_SAMPLE)
        spans = tuple((self._said_at(part.start), self._said_at(part.end - 1) + one) for part in sound.speech)
        said = Utterance(text, spans[0][0], spans[-1][1], barge_in, spans, leaves)
        (self.utterances if takes_turn else self.backchannels).append(said)
        return said

    def _said_at(self, sample: int) -> float:
        """When that sample of what was just said went out: its frame's time, and its place in the frame."""
        frame, into = divmod(max(0, sample) * BYTES_PER_SAMPLE, self.frame_bytes)
        return self._sent_at[frame] + seconds_of(into) if frame < len(self._sent_at) else self.now()

    async def stop_sending(self) -> None:
        """End the sender after the frame it is at, so that a close frame can follow; the caller bounds the wait."""
        self._stopping = True
        await self._stopped.wait()

    async def send_frames(self) -> None:
        """The 50-a-second sender; ends with the connection, or after :meth:`stop_sending`."""
        start = trio.current_time()
        count = 0
        try:
            while not self._stopping:
                due = start + count * seconds_of(self.frame_bytes)
                await trio.sleep_until(due)
                if self._stopping:
                    return
                self.lateness = max(self.lateness, trio.current_time() - due)
                await self._send_next()
                count += 1
        except ConnectionClosed:
            # The receiver learns of it as well, and knows the code.
            return
        except trio.TooSlowError:
            self.finish("violation", f"violation: the agent took no audio for {SEND_STALL_SECONDS:g} s")
        finally:
            self._stopped.set()

    async def _send_next(self) -> None:
        frame = self._frames.popleft() if self._frames else bytes(self.frame_bytes)
        speaking = self._speaking
        if speaking is not None:
            played_until = self._sent_at[-1] + seconds_of(self.frame_bytes) if self._sent_at else 0.0
            self._sent_at.append(max(self.now(), played_until))
        self.sent += frame  # before it goes: what was cut short may have arrived all the same
        with trio.fail_after(SEND_STALL_SECONDS):
            await self.connection.send_message(self._encoded(frame))
        if speaking is not None and not self._frames:
            self._speaking = None
            speaking.set()

    def _encoded(self, frame: bytes) -> bytes | str:
        if self.protocol == "binary":
            return frame
        return json.dumps({"type": "audio", "audio": base64.b64encode(frame).decode()}, separators=(",", ":"))

    async def receive(self) -> None:
        """Everything the agent sends, until it closes or breaks the protocol."""
        try:
            while True:
                pcm = self._decoded(await self.connection.get_message())
                if pcm is None:
                    await self._hear_why()
                    return
                self._hear(pcm)
        except ProtocolBroken as broken:
            self.violate(str(broken))
            self.finish("violation", f"violation: {broken}")
        except ConnectionClosed as closed:
            self._closed_by_agent(closed)

    async def _hear_why(self) -> None:
        """After json mode's ``end``: the close that follows says why; without one it was a plain hang-up."""
        with trio.move_on_after(END_TO_CLOSE_SECONDS):
            try:
                await self.connection.get_message()
            except ConnectionClosed as closed:
                self._closed_by_agent(closed)
                return
        self.finish("agent_hung_up", "agent_hung_up: end")

    def _closed_by_agent(self, closed: ConnectionClosed) -> None:
        self.close_code = closed.reason.code if closed.reason else 1006
        self.close_reason = closed.reason.reason if closed.reason else None
        no_answer = self.close_code == NO_ANSWER_CODE and (self.close_reason or "").startswith("callee_no_answer")
        ending = "callee_no_answer" if no_answer else "agent_hung_up"
        self.finish(ending, f"{ending}: {self.close_code} {self.close_reason or ''}".rstrip())

    def _decoded(self, message: bytes | str) -> bytes | None:
        """The audio of a message; None for json mode's ``end``. Raises ProtocolBroken."""
        if self.protocol == "binary":
            if isinstance(message, bytes):
                return message
            raise ProtocolBroken(f"a text frame in binary mode: {message[:80]!r}")
        if isinstance(message, bytes):
            raise ProtocolBroken(f"a binary frame of {len(message)} bytes in json mode")
        try:
            content = json.loads(message)
            kind = content["type"]
            if kind == "audio":
                return base64.b64decode(content["audio"], validate=True)
        except (ValueError, KeyError, TypeError) as error:
            raise ProtocolBroken(f"not a message of json mode: {message[:80]!r}") from error
        if kind == "end":
            return None
        raise ProtocolBroken(f"an unknown message in json mode: {message[:80]!r}")

    def violate(self, what: str) -> None:
        """Note that the agent broke a rule."""
        self.violations.append(what)
        self.log.add("caller", "violation", what=what)

    def _hear(self, pcm: bytes) -> None:
        placed = self.playout.add(Chunk(self.now(), pcm))
        if len(pcm) % BYTES_PER_SAMPLE:
            self.violate(f"half a sample: a message of {len(pcm)} bytes")
        if placed.divides:
            self.hearing.break_off()
        self.hearing.feed(pcm)
        if self.hearing.onset is not None and self.onset_at is None:
            # The detector is sure 50 ms into the speech, and dates it back.
            self.onset_at = self.playout.onset_at(self.hearing.onset)
            self.log.add("caller", "agent-heard")
        self.news.unpark_all()

    def forget_agent(self) -> None:
        """What the agent said so far is answered; only what it says from now on is its next turn."""
        self.hearing.forget()
        self.onset_at = None
