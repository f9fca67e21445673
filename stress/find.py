"""How many calls hold: more and more, until a number does not; then what lies between."""

from collections.abc import Awaitable, Callable
from typing import Final

import attrs

from stress.plan import Plan
from stress.sample import Result
from stress.verdict import held

GROWTH: Final = 1.5
STEP_CALLS: Final = 25
"""Numbers are multiples of it, so the answer is right to so many."""
MOST_CALLS: Final = 2_000


async def find_most(plan: Plan, hold: Callable[[Plan], Awaitable[Result]]) -> list[Result]:
    """From `plan.calls` up, or down if those did not hold. All runs, in their order."""
    results: list[Result] = []
    good, bad, calls = 0, MOST_CALLS + STEP_CALLS, plan.calls
    while good < calls < bad:
        result = await hold(attrs.evolve(plan, calls=calls))
        results.append(result)
        if held(result):
            good = calls
        else:
            bad = calls
        calls = _next(good, bad)
    return results


def _next(good: int, bad: int) -> int:
    """What to try, when `good` calls hold and `bad` do not. One of the two: nothing lies between."""
    wanted = good * GROWTH if bad > MOST_CALLS else (good + bad) / 2
    steps = max(round(wanted / STEP_CALLS), good // STEP_CALLS + 1)
    return min(steps * STEP_CALLS, MOST_CALLS if bad > MOST_CALLS else bad)
