"""`voice serve` with a meter on its event loop: `python -m fuzz.siege_server [look]`. Each line that it reads makes it
print `meter NUMBER JSON` of what it has measured since the line before."""

import json
import os
import sys

import trio

from fuzz.loop_meter import LoopMeter
from runtime.doors import Doors
from runtime.logs import configure_logging
from runtime.serve import serve
from runtime.settings import read_settings


async def _serve(meter: LoopMeter) -> None:
    settings = read_settings()
    configure_logging(settings.log_level)

    async def ready(doors: Doors) -> None:  # noqa: ASYNC124  # as in runtime/cli.py
        _say(f"voice listening on {doors.voice_url}")
        _say(f"webhook listening on {doors.webhook}")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(_tell, meter)
        await serve(settings, ready)
        nursery.cancel_scope.cancel()


async def _tell(meter: LoopMeter) -> None:
    number = 0
    async with trio.lowlevel.FdStream(os.dup(sys.stdin.fileno())) as orders:
        async for _ in orders:
            number += 1
            _say(f"meter {number}: " + json.dumps(meter.take()).encode().hex())


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    _meter = LoopMeter()
    if "look" in sys.argv:
        _meter.look()
    trio.run(_serve, _meter, instruments=[_meter])
