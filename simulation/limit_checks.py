"""The measures of a call against the most that a scenario allows."""

from simulation.caller_report import CallerReport
from simulation.check import Check, not_checked
from simulation.measures import measure
from simulation.scenario import Scenario

TRUSTED_LATENESS_MS = 20.0
"""A caller that was further than this behind its own clock is no good instrument."""


def limit_checks(scenario: Scenario, report: CallerReport) -> list[Check]:
    """One for each limit; a measure that could not be taken fails. A time that is above it by less than the instrument
    was late is not known; a count is what it is."""
    if not scenario.expect.limits:
        return []
    measures, late = measure(report), report.lateness_ms
    return [_limit(name, most, measures.value_of(name), late) for name, most in scenario.expect.limits.items()]


def _limit(measured: str, most: float, value: float | None, lateness_ms: float) -> Check:
    name = f"{measured} at most {most:g}"
    instrument = f"instrument {lateness_ms:.0f} ms late"
    if lateness_ms > TRUSTED_LATENESS_MS:
        instrument += ": too late to trust this"
    if value is None:
        return Check(name, False, f"no measurement ({instrument})")
    if measured.endswith("_ms") and value > most >= value - lateness_ms:
        late = f"({lateness_ms:.0f} ms)"
        return not_checked(name, f"{value:.0f}, by no more above it than the instrument was late {late}")
    return Check(name, value <= most, f"{value:.0f} ({instrument})")
