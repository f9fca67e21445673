"""A process with a tunnel of its own: `python -m tests.tunnels.driver LOCKS HOLD_SECONDS`, settings in the environment.

It prints "ready URL" when a POST through the address has come back, and "done" when it has held the tunnel for that
long; or "failed CAUSE". Its log is between these lines.
"""

import sys
from pathlib import Path

import trio

from runtime.errors import NoAnswer
from runtime.settings import read_settings
from runtime.tunnels import share
from tests.tunnels.agents import open_stage


def say(*words: object) -> None:
    print(*words, flush=True)


async def main(hold_seconds: float) -> None:
    async with open_stage(read_settings()) as stage:
        with stage.tunnel.use():
            try:
                url = await stage.tunnel.base_url()
            except NoAnswer as exc:
                say("failed", exc.cause, exc.line)
                return
            assert await stage.leads_here(url)
            say("ready", url)
            await trio.sleep(hold_seconds)
        say("done")


share.LOCKS = Path(sys.argv[1])  # type: ignore[misc]
trio.run(main, float(sys.argv[2]))
