"""What a call was like at the caller's ear: measured from audio on the wire, never from anybody's own log.

Times are seconds since the caller's socket opened. Agent speech is found by the energy detector in the received bytes;
its onset is when its first audible sample plays at the ear, its end is when its last one has been played
(:mod:`simulation.playout` says when a sample plays). The caller's own samples count from the moment their frame went
out.
"""

from collections.abc import Sequence
from math import inf

import attrs

from simulation.events import Event
from simulation.pcm import SAMPLE_RATE_HZ
from simulation.playout import Chunk, Playout, stretches_in
from simulation.voice_activity import Segment

PAUSE_SECONDS = 0.5
"""Speech that goes on after less than this was only pausing for breath (Full-Duplex-Bench merges the same)."""
YIELD_SECONDS = 2.0
"""An agent that still speaks this long after an interruption did not yield (tau-voice and EVA-Bench draw it here)."""
CUT_BY_THE_END_SECONDS = 0.1
"""Speech that ends this close to the caller's own hang-up was cut by it: when it would have ended is not known."""


@attrs.frozen
class Utterance:
    """Something the caller said, as sent.

    ``started_at`` and ``last_speech_at``: its first and behind its last audible sample, as the words were recorded,
    before the line did anything to them. ``speech``: begin and end of each stretch within, between pauses of 250 ms or
    more. ``leaves``: the caller hangs up right behind it, and waits for no answer.
    """

    text: str
    started_at: float
    last_speech_at: float
    barge_in: bool = False
    speech: tuple[tuple[float, float], ...] = ()
    leaves: bool = False


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

    ``response_ms``: the caller's last speech sample to the agent's next onset; negative when the answer began within
    the turn. ``turn_gap_ms``: the agent's last audible sample to this turn's first. ``tail_ms``: received silence
    behind the agent's last speech before this turn. ``stop_ms``: for a barge-in, this turn's first sample to the end of
    the speech it cut, breaths included; None when that did not stop within YIELD_SECONDS, or the caller left first.
    ``speech`` and ``leaves``: see :class:`Utterance`.
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
    speech: tuple[tuple[float, float], ...] = ()
    leaves: bool = False


@attrs.frozen
class CallerReport:
    """A finished call.

    ``ending`` is one of the scenario's ENDINGS; ``outcome`` begins with it or says more. ``sent`` is every byte that
    went out, ``received`` every message of audio that came in, in order. ``close_code`` and ``close_reason`` are the
    agent's, None while it did not close. ``lateness_ms`` is the worst this caller was behind its own clock: above
    about 20, do not trust the other times. ``backchannels`` are no turns. ``needs_silence_ms``: received silence that
    hands this caller the floor.
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
    backchannels: tuple[Utterance, ...] = ()
    agent_speech: tuple[AgentSpeech, ...] = ()
    needs_silence_ms: float = 1_500.0
    close_code: int | None = None
    close_reason: str | None = None
    violations: tuple[str, ...] = ()
    events: tuple[Event, ...] = attrs.field(default=(), repr=lambda events: f"{len(events)} events")
    lateness_ms: float = 0.0

    @property
    def received_pcm(self) -> bytes:
        """All audio received, in order."""
        return b"".join(chunk.pcm for chunk in self.received)


def agent_speech_in(received: Sequence[Chunk]) -> tuple[AgentSpeech, ...]:
    """The agent's speech as the caller heard it."""
    playout = Playout()
    for chunk in received:
        playout.add(chunk)
    segments = stretches_in(playout.placed)
    ends = [*(segment.start for segment in segments[1:]), playout.samples]
    return tuple(
        AgentSpeech(
            onset_at=playout.onset_at(segment.start),
            end_at=playout.end_at(segment.end),
            segment=segment,
            tail_ms=(following - segment.end) * 1000 / SAMPLE_RATE_HZ,
        )
        for segment, following in zip(segments, ends, strict=False)
    )


def end_of_speech(heard: Sequence[AgentSpeech], at: float, until: float = inf) -> float | None:
    """When the speech that goes on at ``at`` ends; breaths that are over before ``until`` do not end it.

    None: the agent does not speak then.
    """
    end = None
    for speech in heard:
        if end is None:
            end = speech.end_at if speech.onset_at <= at < speech.end_at + PAUSE_SECONDS else None
        elif speech.onset_at - end < PAUSE_SECONDS and speech.onset_at < until:
            end = speech.end_at
    return end if end is not None and end > at else None


def measure_turns(
    utterances: Sequence[Utterance], heard: Sequence[AgentSpeech], left_at: float = inf
) -> tuple[CallerTurn, ...]:
    """Each turn of the caller with what came before and after it; ``left_at``: when the caller itself hung up."""
    turns = []
    for index, said in enumerate(utterances):
        until = utterances[index + 1].started_at if index + 1 < len(utterances) else inf
        onset = _answered_at(said, heard, until)
        before = [speech for speech in heard if speech.onset_at < said.started_at]
        last = before[-1] if before else None
        turns.append(
            CallerTurn(
                text=said.text,
                started_at=said.started_at,
                last_speech_at=said.last_speech_at,
                agent_onset_at=onset,
                response_ms=None if onset is None else (onset - said.last_speech_at) * 1000,
                turn_gap_ms=(said.started_at - last.end_at) * 1000 if last else None,
                tail_ms=last.tail_ms if last else None,
                barge_in=said.barge_in,
                stop_ms=_stop_ms(said, heard, left_at) if said.barge_in else None,
                speech=said.speech or ((said.started_at, said.last_speech_at),),
                leaves=said.leaves,
            )
        )
    return tuple(turns)


def _answered_at(said: Utterance, heard: Sequence[AgentSpeech], until: float) -> float | None:
    """The onset of the answer: the next one behind the turn, or one within it of speech that outlasts it.

    Within an interruption, what goes on is still the speech that was interrupted.
    """
    behind = next((speech.onset_at for speech in heard if said.last_speech_at <= speech.onset_at < until), None)
    if behind is not None or said.barge_in:
        return behind
    within = [speech for speech in heard if said.started_at < speech.onset_at < said.last_speech_at]
    return next((speech.onset_at for speech in within if speech.end_at > said.last_speech_at), None)


def _stop_ms(said: Utterance, heard: Sequence[AgentSpeech], left_at: float) -> float | None:
    end = end_of_speech(heard, said.started_at, said.last_speech_at)
    if end is None or end - said.started_at > YIELD_SECONDS or end > left_at - CUT_BY_THE_END_SECONDS:
        return None
    return (end - said.started_at) * 1000
