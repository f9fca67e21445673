"""A run from beginning to end: the database, the load, then part after part."""

import signal
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import trio

from bench.alternations import Alternations, Tell
from bench.bridges import Surroundings
from bench.failure import BenchFailure
from bench.growth import measure_growth
from bench.load_link import LoadLink, open_load
from bench.outcome import Outcome
from bench.plan import Part
from bench.pods import PodsPart
from bench.processes import Cores
from bench.turnarounds import measure_short_calls, measure_webhooks
from bench.watching import WatchingPart
from db.embedded import EmbeddedServerError, open_embedded_server


class Stopped(Exception):
    """Ctrl-C or SIGTERM; every process has been ended."""


async def run(outcome: Outcome, tell: Tell) -> None:
    """Fill `outcome`. Raises BenchFailure and Stopped; no process is left in any case."""
    work = trio.CancelScope()
    failure: BenchFailure | None = None

    async def listen(signals: AsyncIterator[int]) -> None:
        async for _ in signals:  # a second one changes nothing: the processes are being ended
            work.cancel()

    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen, signals)
            with work:
                try:
                    await _measure(outcome, tell)
                except BenchFailure as exc:  # the nursery would wrap it in a group
                    failure = exc
            nursery.cancel_scope.cancel()
    if work.cancelled_caught:
        raise Stopped
    if failure is not None:
        raise failure


async def _measure(outcome: Outcome, tell: Tell) -> None:
    cores = Cores.of_this_machine()
    with tempfile.TemporaryDirectory(prefix="bench-") as made:
        folder = Path(made)
        try:
            async with open_embedded_server() as database_url, open_load(folder, cores, outcome.plan.grain_ns) as load:
                around = Surroundings(load.vapi, folder / "ca.pem", database_url, folder, cores)
                parts = _parts(outcome, load, around, tell)
                for part in outcome.plan.parts:
                    await parts[part]()
        except EmbeddedServerError as exc:
            raise BenchFailure(f"our runtime needs a PostgreSQL, and none could be started: {exc}") from exc


def _parts(
    outcome: Outcome, load: LoadLink, around: Surroundings, tell: Tell
) -> dict[Part, Callable[[], Awaitable[None]]]:
    plan = outcome.plan

    async def audio() -> None:
        await Alternations(plan, load, around, tell, outcome.audio).run()

    async def setup() -> None:
        outcome.short_calls += await measure_short_calls(plan, load, around, tell)

    async def webhook() -> None:
        outcome.webhooks += await measure_webhooks(plan, load, around, tell)

    async def growth() -> None:
        windows, ends = await measure_growth(plan, load, around, tell)
        outcome.growth += windows
        outcome.growth_ends += ends

    async def watching() -> None:
        await WatchingPart(plan, load, around, tell, outcome.watching).run()

    async def pods() -> None:
        await PodsPart(plan, load, around, tell, outcome.pods).run()

    return {
        "audio": audio, "setup": setup, "webhook": webhook, "growth": growth, "watching": watching, "pods": pods,
    }  # fmt: skip
