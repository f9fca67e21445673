"""Everything one run of the bench found out."""

import attrs

from bench.alternations import Audio
from bench.bars import HARMED_WATCHED, Verdict, judge, judge_all, judge_harmed
from bench.plan import Plan
from bench.pods import PodsFound
from bench.ratios import all_spreads, harmed_at_100
from bench.spread import Spread
from bench.turnarounds import ShortCalls, Webhook
from bench.watching import Watching
from bench.watching_figures import harmed
from bench.windows import Window


@attrs.define
class Outcome:
    """Filled part by part. Mutable."""

    plan: Plan
    audio: Audio = attrs.field(factory=Audio)
    short_calls: list[ShortCalls] = attrs.field(factory=list)
    webhooks: list[Webhook] = attrs.field(factory=list)
    growth: list[Window] = attrs.field(factory=list)
    growth_ends: list[str] = attrs.field(factory=list)
    watching: Watching = attrs.field(factory=Watching)
    pods: PodsFound = attrs.field(factory=PodsFound)

    @property
    def spreads(self) -> dict[str, Spread]:
        return all_spreads(self.audio)

    @property
    def verdicts(self) -> list[Verdict]:
        verdicts = judge_all(self.spreads, harmed_at_100(self.audio, self.plan.seconds))
        watched = harmed(self.watching, self.plan.watching_seconds)
        verdicts += [judge_harmed(watched, HARMED_WATCHED)] if watched else []
        return [*verdicts, *(judge(bar, spread) for bar, spread in self.pods.bars())]
