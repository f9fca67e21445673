"""What the caller understood of the agent: its speech as received, heard with what the agent may say.

Stretches of speech belong together when less than JOIN_SECONDS lie between them: that is a pause for breath. Sentences
of two turns may come that close as well (a filler, and the answer behind it); what is understood as no line is
divided at its longest pause and heard again. What the caller cut short is heard as the beginning of a line.
"""

from collections.abc import Sequence
from itertools import pairwise

import attrs

from simulation.caller_report import AgentSpeech, CallerReport
from simulation.ear import REPROMPT, Ear, Heard
from simulation.evidence import HeardSpeech
from simulation.grammar import leading_parts
from simulation.pcm import BYTES_PER_SAMPLE
from simulation.scenario import Scenario

JOIN_SECONDS = 0.8
CUT_SECONDS = 1.0
"""Speech that ends this soon behind the beginning of a barge-in, or before the end of the call, may be cut short."""


async def hear_agent(report: CallerReport, scenario: Scenario, ear: Ear) -> tuple[HeardSpeech, ...]:
    """Each stretch of the agent's speech with its words, in order; "" where it is none of the agent's lines.

    :raises EarError: nothing can be heard at all.
    """
    listener = _Listener(report, (*agent_phrases(scenario), *_behind_fillers(scenario)), ear)
    heard: list[HeardSpeech] = []
    for stretches in _together(report.agent_speech):
        heard += await listener.hear(stretches)
    return tuple(heard)


def agent_phrases(scenario: Scenario) -> tuple[str, ...]:
    """All that the agent of a scenario may say."""
    said = [*(turn.say for turn in scenario.agent), str(scenario.faults.vapi.get("filler", "")), REPROMPT]
    return tuple(dict.fromkeys(text for text in said if text))


def _behind_fillers(scenario: Scenario) -> list[str]:
    """An answer may follow its filler without any pause, and no pause is then there to divide them at."""
    filler = str(scenario.faults.vapi.get("filler", ""))
    return [f"{filler} {turn.say}" for turn in scenario.agent if filler and turn.calls and turn.say]


def _together(speech: Sequence[AgentSpeech]) -> list[list[AgentSpeech]]:
    groups = [[stretch] for stretch in speech[:1]]
    for before, stretch in pairwise(speech):
        if stretch.onset_at - before.end_at < JOIN_SECONDS:
            groups[-1].append(stretch)
        else:
            groups.append([stretch])
    return groups


@attrs.define(eq=False)
class _Listener:
    """Hears one call. ``_pcm`` is all that was received, in order."""

    report: CallerReport
    lines: tuple[str, ...]
    ear: Ear
    _pcm: bytes = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._pcm = self.report.received_pcm

    async def hear(self, stretches: Sequence[AgentSpeech]) -> list[HeardSpeech]:
        """What was said in ``stretches``: a line, several of them, the beginning of one, or nothing that is known."""
        heard = await self._decode(stretches, self.lines)
        if not heard.text and self._cut_short(stretches[-1]):
            heard = await self._decode(stretches, [part for line in self.lines for part in leading_parts(line)])
        whole = [HeardSpeech(round(stretches[0].onset_at, 3), heard.text, heard.score)]
        if heard.text or len(stretches) == 1:
            return whole
        at = max(range(1, len(stretches)), key=lambda at: stretches[at].onset_at - stretches[at - 1].end_at)
        parts = [*await self.hear(stretches[:at]), *await self.hear(stretches[at:])]
        return parts if any(part.text for part in parts) else whole

    async def _decode(self, stretches: Sequence[AgentSpeech], phrases: Sequence[str]) -> Heard:
        start, end = stretches[0].segment.start, stretches[-1].segment.end
        return await self.ear.hear(self._pcm[start * BYTES_PER_SAMPLE : end * BYTES_PER_SAMPLE], phrases)

    def _cut_short(self, last: AgentSpeech) -> bool:
        """The caller began to speak over it, or left."""
        if self.report.duration_seconds - last.end_at < CUT_SECONDS:
            return True
        starts = [turn.started_at for turn in self.report.turns if turn.barge_in]
        return any(last.onset_at < at and abs(last.end_at - at) < CUT_SECONDS for at in starts)
