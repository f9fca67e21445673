"""The two sides of the load, callers and cloud, as whoever runs them sees them: told what to do, and asked.

Each may run in a process of its own (`python -m stress callers|cloud OPTIONS`), where a command is one line of JSON on
standard input and so is its reply, or here.
"""

import inspect
import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, Protocol

import attrs
import trio

from runtime.garbage import ShortCollections
from runtime.poller import Poller, kernel_poller
from runtime.switchboard import Switchboard
from simulation.background import open_background
from stress.asks import Asks, of_json
from stress.callers import Callers
from stress.cloud import Cloud, open_cloud
from stress.ends import Clock, Half
from stress.frames import Frames

COMMANDS: Final = ("call", "status", "quiet", "account", "hang_up")
SLOTS_PER_FRAME: Final = 20
"""Of the real clock: frames are sent on whole milliseconds, as most programs do."""


class Side(Protocol):
    """`do` is one of COMMANDS, the rest are its arguments."""

    async def ask(self, do: str, **arguments: Any) -> dict[str, Any]: ...


@attrs.frozen
class Here:
    """A side that runs in this process."""

    half: Callers | Cloud

    async def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """See :class:`Side`."""
        assert do in COMMANDS, do
        answer = getattr(self.half, do)(**arguments)
        if inspect.isawaitable(answer):
            answer = await answer
        await trio.lowlevel.checkpoint()
        return answer or {}


@attrs.frozen
class Options:
    """Of a side. `asks`: what stress/asks.py makes of a scenario; empty: its default."""

    frame_ms: int
    slots_per_frame: int = SLOTS_PER_FRAME
    account_slots: int = 0
    tool_every_seconds: float = 5.0
    asks: tuple[dict[str, Any], ...] = ()


@asynccontextmanager
async def open_callers(options: Options, clock: Clock, poller: Poller) -> AsyncIterator[Callers]:
    """For the body; who is still calling then is cut off."""
    half = Half(Frames(options.frame_ms), clock, options.slots_per_frame)
    async with open_background() as nursery:
        yield Callers(half, await _running(half, poller, nursery), nursery)


@asynccontextmanager
async def open_cloud_side(options: Options, clock: Clock, poller: Poller) -> AsyncIterator[Cloud]:
    half = Half(Frames(options.frame_ms), clock, options.slots_per_frame)
    async with open_background() as nursery:
        switchboard = await _running(half, poller, nursery)
        asks: Asks = of_json(options.asks)
        async with open_cloud(half, switchboard, asks, options.tool_every_seconds, options.account_slots) as cloud:
            yield cloud


async def _running(half: Half, poller: Poller, nursery: trio.Nursery) -> Switchboard:
    switchboard = Switchboard(poller)
    await nursery.start(switchboard.run)
    nursery.start_soon(half.pacer.run)
    return switchboard


async def obey(role: str, options: Options, clock: Clock) -> None:
    """A side as a process: until standard input is closed."""
    opening: Callable[..., Any] = {"callers": open_callers, "cloud": open_cloud_side}[role]
    async with opening(options, clock, kernel_poller()) as half:
        ShortCollections().begin()
        _say({"base_url": half.vapi.base_url} if isinstance(half, Cloud) else {})
        side, lines = Here(half), b""
        async with trio.lowlevel.FdStream(sys.stdin.fileno()) as commands:
            async for chunk in commands:
                *whole, lines = (lines + chunk).split(b"\n")
                for line in whole:
                    command = json.loads(line)
                    _say(await side.ask(command.pop("do"), **command))


def _say(message: dict[str, Any]) -> None:
    """Whoever asked waits for it: a pipe that is full is soon empty."""
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()
