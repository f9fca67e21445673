"""How a call went, in the field's own measures: from the audio that was received and sent, never from anybody's log.

All times are those of the caller's ear (:mod:`simulation.caller_report`). A measure that could not be taken is None,
never a guess. Where the definitions come from: response latency, interruption and overlap as EVA-Bench, tau-voice,
Full-Duplex-Bench and voicebench have them; a backchannel's error as tau-voice's S_BC and Full-Duplex-Bench 1.5; dead
air as voxprobe (a silence by the party that owes speech); the instrument's own error as streamdouble.
"""

import math
from collections.abc import Sequence

import attrs

from simulation.caller_report import (
    CUT_BY_THE_END_SECONDS,
    YIELD_SECONDS,
    AgentSpeech,
    CallerReport,
    CallerTurn,
    Utterance,
    end_of_speech,
)

STOPPED_SECONDS = 1.0
"""An agent that falls silent this soon behind the onset of a backchannel gave way to it (tau-voice)."""


@attrs.frozen
class Measures:
    """Times in milliseconds.

    ``greeting_ms``: the socket's opening to the agent's first onset (time to first words). None when the agent did not
    speak before the caller's first turn.
    ``response_ms``: the caller's last audible sample to the agent's next onset, for each turn that was answered;
    negative when the answer began within the turn. ``unanswered``: turns that were owed an answer and got none. A turn
    right behind which the caller left is owed none, and an agent that hangs up has answered.
    ``barge_in_stop_ms``: the interruption's first audible sample to the end of the speech it cut, for each that was
    yielded to. ``unyielded``: interruptions of speech that was heard to go on for YIELD_SECONDS; censored, as no time
    can be told. An interruption that came when the agent was silent is neither.
    ``backchannels``: those that began while the agent spoke. ``false_interruptions``: how many of them it stopped for:
    its speech ended within STOPPED_SECONDS of the backchannel's onset, and did not go on after a breath. An end that
    was due anyway looks the same to whoever only listens, and is counted: put a backchannel where the agent has more
    than a second left to say. An agent that answers one within half a second of stopping passes for one that went on.
    ``talk_over_ms``: how long agent and caller were both audible within the caller's own turns, barge-ins and
    backchannels aside. None when the caller had no such turn.
    ``dead_air_ms``: the longest silence in which the agent owed speech: from the caller's last audible sample to the
    answer; from the agent's last one to where it went on, when no silence was received that hands over the floor; or to
    the end of the call, when nothing came any more. The wait for a greeting that came is ``greeting_ms``.
    ``lateness_ms``: how far the caller itself was behind its clock, at worst: every other figure may be off by it.
    """

    greeting_ms: float | None = None
    response_ms: tuple[float, ...] = ()
    unanswered: int = 0
    barge_in_stop_ms: tuple[float, ...] = ()
    unyielded: int = 0
    backchannels: int = 0
    false_interruptions: int = 0
    talk_over_ms: float | None = None
    dead_air_ms: float | None = None
    lateness_ms: float = 0.0

    @property
    def response_p50_ms(self) -> float | None:
        """The median of the answered turns, by nearest rank."""
        return nearest_rank(self.response_ms, 0.50)

    @property
    def response_p95_ms(self) -> float | None:
        """The 95th percentile of the answered turns, by nearest rank: the worst one of fewer than 20."""
        return nearest_rank(self.response_ms, 0.95)

    def value_of(self, name: str) -> float | None:
        """The figure a limit of that name is held against: the worst of several, a count as it is.

        None: it could not be taken; there was no occasion, or what happened has no end that could be measured.

        :raises KeyError: not one of :data:`simulation.scenario.LIMITS`.
        """
        all_answered, all_yielded = not self.unanswered, not self.unyielded
        values = {
            "greeting_ms": self.greeting_ms,
            "response_ms": max(self.response_ms, default=None) if all_answered else None,
            "response_p95_ms": self.response_p95_ms if all_answered else None,
            "barge_in_stop_ms": max(self.barge_in_stop_ms, default=None) if all_yielded else None,
            "false_interruptions": self.false_interruptions if self.backchannels else None,
            "talk_over_ms": self.talk_over_ms,
            "dead_air_ms": self.dead_air_ms,
        }
        return values[name]


def nearest_rank(values: Sequence[float], share: float) -> float | None:
    """The smallest of ``values`` that ``share`` of them (0 to 1) do not exceed; None of nothing."""
    ranked = sorted(values)
    # Rounded first: 0.95 x 20 must not become 20 by the last bit of a float.
    return ranked[max(0, math.ceil(round(share * len(ranked), 9)) - 1)] if ranked else None


def measure(report: CallerReport) -> Measures:
    """All measures of one call."""
    heard = report.agent_speech
    backchannels = [said for said in report.backchannels if end_of_speech(heard, said.started_at) is not None]
    interruptions = [turn for turn in report.turns if turn.barge_in]
    own = [turn for turn in report.turns if not turn.barge_in]
    return Measures(
        greeting_ms=_greeting_ms(report),
        response_ms=tuple(turn.response_ms for turn in report.turns if turn.response_ms is not None),
        unanswered=sum(_went_unanswered(report, turn) for turn in report.turns),
        barge_in_stop_ms=tuple(turn.stop_ms for turn in interruptions if turn.stop_ms is not None),
        unyielded=sum(_was_talked_down(report, turn) for turn in interruptions),
        backchannels=len(backchannels),
        false_interruptions=sum(_was_stopped_for(report, said) for said in backchannels),
        talk_over_ms=sum((_overlap_ms(turn, heard) for turn in own), 0.0) if own else None,
        dead_air_ms=_dead_air_ms(report),
        lateness_ms=report.lateness_ms,
    )


def _greeting_ms(report: CallerReport) -> float | None:
    first_turn = report.turns[0].started_at if report.turns else math.inf
    first = report.agent_speech[0].onset_at if report.agent_speech else math.inf
    return first * 1000 if first < first_turn else None


def _went_unanswered(report: CallerReport, turn: CallerTurn) -> bool:
    return turn.response_ms is None and _is_owed(report, turn) and report.ending != "agent_hung_up"


def _is_owed(report: CallerReport, turn: CallerTurn) -> bool:
    """An answer is, unless the caller left with its last word, or began to speak again by itself."""
    return turn is report.turns[-1] and not turn.leaves


def _was_talked_down(report: CallerReport, turn: CallerTurn) -> bool:
    """The agent was heard to speak on for YIELD_SECONDS behind the interruption's onset."""
    end = end_of_speech(report.agent_speech, turn.started_at, turn.last_speech_at)
    return end is not None and end - turn.started_at > YIELD_SECONDS


def _was_stopped_for(report: CallerReport, said: Utterance) -> bool:
    end = end_of_speech(report.agent_speech, said.started_at)
    if end is None or end - said.started_at > STOPPED_SECONDS:
        return False
    return report.ending != "caller_hung_up" or end <= report.duration_seconds - CUT_BY_THE_END_SECONDS


def _overlap_ms(turn: CallerTurn, heard: Sequence[AgentSpeech]) -> float:
    """Stretch by stretch: a pause of either party is no overlap."""
    shared = (
        min(end, speech.end_at) - max(start, speech.onset_at) for start, end in turn.speech for speech in heard
    )  # fmt: skip
    return sum((seconds for seconds in shared if seconds > 0), 0.0) * 1000


def _dead_air_ms(report: CallerReport) -> float | None:
    """The longest of the silences the agent owed; None when it never owed any."""
    bounds = [0.0, *(turn.last_speech_at for turn in report.turns)]
    ends = [*(turn.started_at for turn in report.turns), report.duration_seconds]
    silences: list[float] = []
    for index, (start, end) in enumerate(zip(bounds, ends, strict=True)):
        heard = [speech for speech in report.agent_speech if speech.end_at > start and speech.onset_at < end]
        is_last = index == len(report.turns)
        gave_up = is_last and report.ending == "deadlock"
        if heard:
            if index:
                silences.append(max(0.0, heard[0].onset_at - start))
            silences += _held(report, heard, end if gave_up else None)
        elif gave_up or (is_last and index and _is_owed(report, report.turns[-1])):
            silences.append(end - start)
    return max(silences) * 1000 if silences else None


def _held(report: CallerReport, heard: Sequence[AgentSpeech], gave_up_at: float | None) -> list[float]:
    """Silences in which the agent kept the floor: too little silence was received behind its speech to hand it over."""
    ends = [*(speech.onset_at for speech in heard[1:]), gave_up_at]
    return [
        end - speech.end_at
        for speech, end in zip(heard, ends, strict=True)
        if end is not None and speech.tail_ms < report.needs_silence_ms
    ]
