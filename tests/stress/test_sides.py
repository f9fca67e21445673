"""The sides of the load as processes: what limits their start does not limit the run."""

import math
from pathlib import Path

import trio

from stress.programs import open_side
from stress.sides import Options


async def test_run_may_last_longer_than_a_side_may_take_to_start(tmp_path: Path) -> None:
    options = Options(frame_ms=20, account_slots=1, tool_every_seconds=5.0, asks=())
    async with open_side("cloud", options, tmp_path) as (_, said):
        assert said
        assert trio.current_effective_deadline() == math.inf
