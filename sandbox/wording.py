"""What all reports of a run say alike: titles, reasons, counts, and which measure is called what."""

from collections.abc import Mapping
from typing import Any, Final

import attrs

from sandbox.verdict import Conversation, Tally, Verdict
from simulation.check import Check
from simulation.limit_checks import TRUSTED_LATENESS_MS
from simulation.measures import nearest_rank

NOTHING: Final = "-"
"""In place of a figure that does not exist."""
NEVER: Final = "never"
"""In place of a time that had no end: no answer came, or the agent did not stop."""

NAMED: Final = 3
"""Scenarios in one sentence."""


@attrs.frozen
class Measure:
    """One entry of ``latency_ms``: its ``key`` there, what people call it, its unit, and what it means."""

    key: str
    label: str
    unit: str
    meaning: str


MEASURES: Final = (
    Measure("greeting", "greeting", "ms", "from the connection to the agent's first sound"),
    Measure("response", "response", "ms", "from the caller's last sound to the agent's next, for each answered turn; "
            "negative: the agent began before the caller had ended"),
    Measure("response_p50", "response, p50", "ms", "half of the responses were not slower"),
    Measure("response_p95", "response, p95", "ms", "95 of 100 responses were not slower"),
    Measure("response_max", "response, longest", "ms", "the slowest response"),
    Measure("unanswered", "unanswered", "", "turns that were owed an answer and got none"),
    Measure("barge_in_stop", "barge-in stop", "ms", "from the caller's interruption to the agent's silence"),
    Measure("unyielded", "unyielded", "", "interruptions that the agent talked on through"),
    Measure("false_interruptions", "false interruptions", "", "how often the agent stopped for a sound of listening"),
    Measure("talk_over", "talk-over", "ms", "how long the agent spoke into the caller's turns, barge-ins aside"),
    Measure("dead_air", "dead air", "ms", "the longest silence in which the agent owed speech"),
    Measure("turn_gap", "turn gap", "ms", "from the agent's last sound to the caller's next turn"),
    Measure("tail", "tail", "ms", "silence received behind the agent's speech"),
    Measure("instrument_lateness_max", "instrument late", "ms", "how far this caller was behind its clock, at worst: "
            f"above {TRUSTED_LATENESS_MS:.0f} ms the other figures deserve no trust"),
)  # fmt: skip


def printable(text: object) -> str:
    """One line that moves no cursor, hides nothing and fits every encoding: what is not to be seen becomes a space."""
    return "".join(letter if letter.isprintable() else " " for letter in str(text)).strip()


def milliseconds(value: float | None) -> str:
    """A figure as people read it; NOTHING of None."""
    return NOTHING if value is None else f"{value:.0f}" if abs(value) >= 10 or value == int(value) else f"{value:.1f}"


def numbers(latencies: Mapping[str, Any], key: str) -> list[float]:
    """All figures under ``key``: one, many or none."""
    held = latencies.get(key)
    listed = held if isinstance(held, list | tuple) else [held]
    return [float(value) for value in listed if isinstance(value, int | float) and not isinstance(value, bool)]


def measured(conversation: Conversation) -> list[tuple[Measure, str]]:
    """The measures of one conversation that say anything, in the order of MEASURES; unknown ones last."""
    known = {measure.key for measure in MEASURES}
    others = [Measure(key, key.replace("_", " "), "", "") for key in conversation.latencies if key not in known]
    found = [(measure, numbers(conversation.latencies, measure.key)) for measure in (*MEASURES, *others)]
    return [(measure, ", ".join(milliseconds(value) for value in values)) for measure, values in found if values]


@attrs.frozen(kw_only=True)
class Row:
    """A scenario in the table of a verdict, all its runs together; times in milliseconds, None where there is none.

    ``pass_all``: pass^k for the most runs that any scenario had. Times from ``barge_in_stop`` on: the worst of all
    runs. ``unanswered`` and ``unyielded``: how many turns and interruptions had no time that could be told.
    """

    tally: Tally
    pass_all: float | None
    response_p50: float | None
    response_p95: float | None
    barge_in_stop: float | None
    talk_over: float | None
    dead_air: float | None
    lateness: float | None
    unanswered: float
    unyielded: float

    @property
    def passed(self) -> bool:
        """All its runs did."""
        return self.tally.passed == self.tally.runs

    @property
    def figures(self) -> tuple[str, ...]:
        """As people read them, beneath FIGURES."""
        slowest = NEVER if self.unanswered else milliseconds(self.response_p95)
        responses = slowest if self.response_p50 is None else f"{milliseconds(self.response_p50)} / {slowest}"
        stop = NEVER if self.unyielded else milliseconds(self.barge_in_stop)
        return (responses, stop, *map(milliseconds, (self.talk_over, self.dead_air, self.lateness)))


FIGURES: Final = ("response p50 / p95", "barge-in stop", "talk-over", "dead air", "instrument late")


def rows_of(verdict: Verdict) -> list[Row]:
    """One row for each scenario, in the verdict's order."""
    most = most_runs(verdict)
    return [_row(tally, verdict, most) for tally in verdict.tallies]


def most_runs(verdict: Verdict) -> int:
    """How often the scenario with the most runs was held; 0 of none."""
    return max((tally.runs for tally in verdict.tallies), default=0)


def _row(tally: Tally, verdict: Verdict, most: int) -> Row:
    held = [one for one in verdict.conversations if one.scenario == tally.scenario]

    def pooled(key: str) -> list[float]:
        return [value for one in held for value in numbers(one.latencies, key)]

    def worst(key: str) -> float | None:
        return max(pooled(key), default=None)

    responses = pooled("response")
    return Row(
        tally=tally,
        pass_all=tally.pass_all(most),
        response_p50=nearest_rank(responses, 0.5),
        response_p95=nearest_rank(responses, 0.95),
        barge_in_stop=worst("barge_in_stop"),
        talk_over=worst("talk_over"),
        dead_air=worst("dead_air"),
        lateness=worst("instrument_lateness_max"),
        unanswered=sum(pooled("unanswered")),
        unyielded=sum(pooled("unyielded")),
    )


def lateness_warning(verdict: Verdict) -> str:
    """Which figures deserve no trust, in a line; "" when all do."""
    late = [row for row in rows_of(verdict) if row.lateness is not None and row.lateness > TRUSTED_LATENESS_MS]
    if not late:
        return ""
    worst = max(row.lateness or 0.0 for row in late)
    names = ", ".join(printable(row.tally.scenario) for row in late[:NAMED])
    more = f" and {len(late) - NAMED} more" if len(late) > NAMED else ""
    return f"The instrument itself was up to {worst:.0f} ms late: do not trust the figures of {names}{more}."


def title_of(conversation: Conversation) -> str:
    """The scenario's name, and which attempt when it is not the first."""
    name = printable(conversation.scenario)
    return name if conversation.attempt == 1 else f"{name} [{conversation.attempt}]"


def told(check: Check) -> str:
    """A check in one line: its name, and what was seen."""
    return f"{printable(check.name)}: {printable(check.detail)}" if check.detail else printable(check.name)


def why_unchecked(check: Check) -> str:
    """Why nobody could look, without saying again that nobody did."""
    return printable(check.detail).removeprefix("not checked: ") or "no reason was given"


def reason_of(conversation: Conversation) -> str:
    """Why it did not pass, in one line; "" when it did."""
    if conversation.passed:
        return ""
    if conversation.problem:
        return printable(conversation.problem)
    failures = conversation.failures
    if not failures:
        return "nothing could be checked"
    more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
    return told(failures[0]) + more


def unchecked_of(verdict: Verdict) -> list[tuple[str, int, tuple[str, ...]]]:
    """What nobody could look at, summed up: (reason, how many checks, their names), the most frequent first."""
    reasons: dict[str, list[str]] = {}
    for check in (check for one in verdict.conversations for check in one.unchecked):
        reasons.setdefault(why_unchecked(check), []).append(printable(check.name))
    summed = [(reason, len(names), tuple(dict.fromkeys(names))) for reason, names in reasons.items()]
    return sorted(summed, key=lambda one: -one[1])


def closing_line(verdict: Verdict) -> str:
    """The whole verdict in a line. The checks are all there were; those not checked are among them."""
    held = verdict.conversations
    if not held:
        return "0 scenarios, 0 conversations: nothing was held, so nothing has passed"
    passed = sum(one.passed for one in held)
    checks = sum(len(one.checks) for one in held)
    unchecked = sum(len(one.unchecked) for one in held)
    return (
        f"{_counted(len(verdict.tallies), 'scenario')}, {_counted(len(held), 'conversation')}: "
        f"{passed} passed, {len(held) - passed} failed; "
        f"{_counted(checks, 'check')}, {unchecked} not checked; {verdict.wall_seconds:.1f} s"
    )


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
