"""A process with a tunnel of its own: `python -m tests.tunnels.driver LOCKS HOLD_SECONDS`, settings in the environment.

It prints "queued N", "ready URL", and, when a POST through the address has come back and it has held the tunnel for
that long, "done".
"""

import sys
from pathlib import Path
from typing import Any

import attrs
import trio

from runtime.errors import NoAnswer
from runtime.settings import read_settings
from runtime.tunnels import share
from tests.tunnels.agents import open_stage


def say(*words: object) -> None:
    print(*words, flush=True)


async def main(hold_seconds: float) -> None:
    async with open_stage(read_settings()) as stage:
        tunnel = stage.tunnel
        placed = tunnel._placed
        tunnel._placed = lambda ahead: (say("queued", ahead), placed(ahead))[1]  # type: ignore[method-assign]
        with tunnel.use():
            try:
                url = await tunnel.base_url()
            except NoAnswer as exc:
                say("failed", exc.cause, exc.line)
                return
            say("ready", url)
            assert await stage.leads_here(url)
            await trio.sleep(hold_seconds)
        say("done")


share.LOCKS = Path(sys.argv[1])  # type: ignore[misc]
trio.run(main, float(sys.argv[2]))
