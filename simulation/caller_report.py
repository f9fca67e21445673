"""What a call was like at the caller's ear: measured from audio on the wire, never from anybody's own log.

Times are seconds since the caller's socket opened. Agent speech is found by the energy detector in the received bytes;
its onset is when the message holding its first audible sample arrived, its end is when its last one has been played.
"""

import bisect
from collections.abc import Sequence

import attrs

from simulation.events import Event
from simulation.pcm import BYTES_PER_SAMPLE, SAMPLE_RATE_HZ, seconds_of
from simulation.voice_activity import VAD_FRAME_BYTES, Segment, VoiceActivity

SPLIT_SECONDS = 0.25
"""A gap on the wire that divides two stretches of speech, as a pause of that length within the audio does."""


@attrs.frozen
class Chunk:
    """One message of audio as received."""

    at: float
    pcm: bytes = attrs.field(repr=lambda pcm: f"{len(pcm)} bytes")


@attrs.frozen
class Placed:
    """A chunk on the ear's time line: ``at`` is when its first sample plays."""

    at: float
    chunk: Chunk
    silent: bool


@attrs.frozen
class Utterance:
    """One turn of the caller as sent; ``last_speech_at``: the frame with its last audible sample went out."""

    text: str
    started_at: float
    last_speech_at: float
    barge_in: bool = False


@attrs.frozen
class AgentSpeech:
    """A stretch of the agent's speech; ``tail_ms`` is the silence received behind it, up to the next or the end."""

    onset_at: float
    end_at: float
    segment: Segment
    tail_ms: float


@attrs.frozen
class CallerTurn:
    """A turn with its measures; None where there is nothing to measure.

    ``response_ms``: the caller's last speech sample to the agent's next onset. ``turn_gap_ms``: the agent's last
    audible sample to this turn's first. ``tail_ms``: received silence behind the agent's last speech before this turn.
    ``stop_ms``: for a barge-in, this turn's first sample to the end of the speech it cut (None: it did not stop).
    """

    text: str
    started_at: float
    last_speech_at: float
    agent_onset_at: float | None
    response_ms: float | None
    turn_gap_ms: float | None
    tail_ms: float | None
    barge_in: bool
    stop_ms: float | None


@attrs.frozen
class CallerReport:
    """A finished call.

    ``ending`` is one of the scenario's ENDINGS; ``outcome`` begins with it or says more. ``sent`` is every byte that
    went out, ``received`` every message of audio that came in, in order. ``close_code`` and ``close_reason`` are the
    agent's, None while it did not close. ``lateness_ms`` is the worst this caller was behind its own clock: above
    about 20, do not trust the other times.
    """

    scenario: str
    url: str
    protocol: str
    ending: str
    outcome: str
    connected_mono: float
    duration_seconds: float
    sent: bytes = attrs.field(default=b"", repr=lambda pcm: f"{len(pcm)} bytes")
    received: tuple[Chunk, ...] = attrs.field(default=(), repr=lambda chunks: f"{len(chunks)} chunks")
    turns: tuple[CallerTurn, ...] = ()
    agent_speech: tuple[AgentSpeech, ...] = ()
    close_code: int | None = None
    close_reason: str | None = None
    violations: tuple[str, ...] = ()
    events: tuple[Event, ...] = attrs.field(default=(), repr=lambda events: f"{len(events)} events")
    lateness_ms: float = 0.0

    @property
    def received_pcm(self) -> bytes:
        """All audio received, in order."""
        return b"".join(chunk.pcm for chunk in self.received)


def place(received: Sequence[Chunk]) -> list[Placed]:
    """Where each chunk plays: at its arrival, or when what is playing has ended.

    Zero PCM plays too but never makes later speech wait: a burst of 1.7 s of it is a mark, not a pause to sit out.
    """
    placed = []
    busy_until = 0.0
    for chunk in received:
        silent = not any(chunk.pcm)
        at = max(chunk.at, busy_until)
        placed.append(Placed(at, chunk, silent))
        if not silent:
            busy_until = at + seconds_of(len(chunk.pcm))
    return placed


@attrs.define
class _Ear:
    """Chunks to stretches of speech. Mutable: ``starts`` (first sample of each chunk), ``found``."""

    placed: Sequence[Placed]
    starts: list[int] = attrs.field(factory=list)
    found: list[Segment] = attrs.field(factory=list)
    _hearing: VoiceActivity = attrs.field(factory=VoiceActivity)

    def listen(self) -> list[Segment]:
        position = 0
        ends_at = 0.0
        for item in self.placed:
            if item.at - ends_at > SPLIT_SECONDS:
                self._divide()
            self.starts.append(position // BYTES_PER_SAMPLE)
            position += len(item.chunk.pcm)
            ends_at = item.at + seconds_of(len(item.chunk.pcm))
            for start in range(0, len(item.chunk.pcm), VAD_FRAME_BYTES):
                self._hearing.feed(item.chunk.pcm[start : start + VAD_FRAME_BYTES])
                if self._hearing.silence_ms >= SPLIT_SECONDS * 1000:
                    self._divide()
        self._divide()
        return self.found

    def _divide(self) -> None:
        if self._hearing.onset is not None and self._hearing.last_speech is not None:
            self.found.append(Segment(self._hearing.onset, self._hearing.last_speech))
        self._hearing.forget()

    def chunk_of(self, sample: int) -> int:
        return max(0, bisect.bisect_right(self.starts, sample) - 1)


def agent_speech_in(received: Sequence[Chunk]) -> tuple[AgentSpeech, ...]:
    """The agent's speech as the caller heard it."""
    placed = place(received)
    ear = _Ear(placed)
    segments = ear.listen()
    total = sum(len(chunk.pcm) for chunk in received) // BYTES_PER_SAMPLE
    heard = []
    for index, segment in enumerate(segments):
        following = segments[index + 1].start if index + 1 < len(segments) else total
        last = ear.chunk_of(segment.end - 1)
        heard.append(
            AgentSpeech(
                onset_at=received[ear.chunk_of(segment.start)].at,
                end_at=placed[last].at + (segment.end - ear.starts[last]) / SAMPLE_RATE_HZ,
                segment=segment,
                tail_ms=(following - segment.end) * 1000 / SAMPLE_RATE_HZ,
            )
        )
    return tuple(heard)


def measure_turns(utterances: Sequence[Utterance], heard: Sequence[AgentSpeech]) -> tuple[CallerTurn, ...]:
    """Each turn of the caller with what came before and after it."""
    turns = []
    for index, said in enumerate(utterances):
        until = utterances[index + 1].started_at if index + 1 < len(utterances) else float("inf")
        answer = next((speech for speech in heard if said.last_speech_at <= speech.onset_at < until), None)
        before = [speech for speech in heard if speech.onset_at < said.started_at]
        last = before[-1] if before else None
        cut = said.barge_in and last is not None and last.end_at > said.started_at
        turns.append(
            CallerTurn(
                text=said.text,
                started_at=said.started_at,
                last_speech_at=said.last_speech_at,
                agent_onset_at=answer.onset_at if answer else None,
                response_ms=(answer.onset_at - said.last_speech_at) * 1000 if answer else None,
                turn_gap_ms=(said.started_at - last.end_at) * 1000 if last else None,
                tail_ms=last.tail_ms if last else None,
                barge_in=said.barge_in,
                stop_ms=(last.end_at - said.started_at) * 1000 if cut and last else None,
            )
        )
    return tuple(turns)
