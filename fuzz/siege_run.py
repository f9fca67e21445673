"""`python -m fuzz siege`: every attack, the table, and results/siege.json."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Final

from bench.failure import BenchFailure
from fuzz.siege import PLAN, Length, open_siege
from fuzz.siege_table import as_json, quiet_p99, table

RESULTS: Final = Path(__file__).parent / "results"


async def besiege(only: str, look: bool, tell: Callable[[str], None]) -> bool:
    """Returns whether every bar was held. A whole run keeps its results."""
    plan = [planned for planned in PLAN if only in planned.name]
    try:
        async with open_siege(Length(), look=look) as siege:
            calms, assaults = await siege.run(plan, tell)
    except BenchFailure as exc:
        tell(f"not measured: {exc}")
        return False
    tell(table(calms, assaults))
    if len(plan) == len(PLAN) and not look:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "siege.json").write_text(json.dumps(as_json(calms, assaults), indent=2, sort_keys=True) + "\n")
    return not any(one.missed(quiet_p99(calms)) for one in assaults)
