"""Processes that each have a tunnel of their own, run by a test: see driver.py."""

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import trio

from tests.house_rules import ROOT
from tests.tunnels.agents import TOKEN, until

START_SECONDS = 20.0  # Python alone takes one on an idle machine


@attrs.define(eq=False)
class Driver:
    """Mutable: `output`, what it has printed so far."""

    process: trio.Process
    output: str = ""

    async def listen(self) -> None:
        assert self.process.stdout is not None
        async for data in self.process.stdout:
            self.output += bytes(data).decode()

    async def says(self, words: str, within_seconds: float = START_SECONDS) -> None:
        try:
            await until(lambda: words in self.output, within_seconds)
        except trio.TooSlowError:
            raise AssertionError(f"not said: {words!r}, but: {self.output}") from None

    @property
    def url(self) -> str:
        (line,) = [line for line in self.output.splitlines() if line.startswith("ready ")]
        return line.split()[1]

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)


@asynccontextmanager
async def open_driver(ngrok: str, locks: Path, hold_seconds: float, **environ: str) -> AsyncIterator[Driver]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    settings = {
        "POD_ID": "pod-1",
        "TUNNEL": "ngrok",
        "NGROK_AUTHTOKEN": TOKEN,
        "NGROK_BIN": ngrok,
        "TUNNEL_PROBE": "off",
    }
    process = await trio.lowlevel.open_process(
        [sys.executable, "-m", "tests.tunnels.driver", str(locks), str(hold_seconds)],
        env={**kept, **settings, **environ}, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    driver = Driver(process)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(driver.listen)
            yield driver
            nursery.cancel_scope.cancel()
    finally:
        with trio.move_on_after(5, shield=True):
            process.kill()
            await process.wait()
            assert process.stdout is not None
            await process.stdout.aclose()
