"""The simulated world for tests that know nothing of Trio: a Vapi, an engine and callers, in a thread, on real sockets.

with open_world_outside() as world:
    ...start the bridge with VAPI_BASE_URL=world.vapi_url and ENGINE_URL=world.engine_url...
    held = world.hold("ws://127.0.0.1:8008/voice", "lost-card.yaml")
assert not held.failures
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import trio

from simulation.behaviour import Behaviour
from simulation.caller import Caller
from simulation.caller_report import CallerReport
from simulation.checks import Check, check_expectations
from simulation.engine import Engine, open_engine
from simulation.evidence import Evidence, Rows
from simulation.scenario import Scenario, load_scenario
from simulation.speech import Tones
from simulation.vapi_call import SimulatedCall
from simulation.vapi_cloud import VapiCloud, open_vapi_cloud

START_SECONDS = 10.0
OVER_SECONDS = 5.0
REPORTS_SECONDS = 2.0
NO_ROWS = "the test gave no way to read rows"

ReadRows = Callable[[], Rows]


@attrs.frozen
class HeldOutside:
    """A call that is over: the caller's report, the simulated Vapi's record (None: it was not asked), the checks."""

    report: CallerReport
    cloud_call: SimulatedCall | None
    checks: tuple[Check, ...]

    @property
    def failures(self) -> tuple[Check, ...]:
        """The checks that failed."""
        return tuple(check for check in self.checks if check.failed)


@attrs.define(eq=False)
class OutsideWorld:
    """The running world. Its methods may be called from any thread but its own."""

    cloud: VapiCloud
    engine: Engine
    simulation_id: str
    _token: trio.lowlevel.TrioToken

    @property
    def vapi_url(self) -> str:
        """What VAPI_BASE_URL should be; any key will do that is ``world.cloud.api_key``."""
        return self.cloud.base_url

    @property
    def engine_url(self) -> str:
        """What ENGINE_URL should be; SIMULATION_ID is ``world.simulation_id``."""
        return self.engine.base_url

    def hold(
        self, url: str, scenario: Scenario | Path | str, *, read_rows: ReadRows | None = None, **knobs: Any
    ) -> HeldOutside:
        """Call ``url``, play the scenario (a file's path will do), and grade it; speech is tones.

        ``read_rows`` gives the rows of the agent's tables by name; it is called before the call and after it. Without
        it, what the scenario expects of rows is not checked. ``knobs`` are those of
        :class:`simulation.caller.Caller`.

        :raises ScenarioError: the file cannot be used.
        """
        played = scenario if isinstance(scenario, Scenario) else load_scenario(Path(scenario))
        reports, calls = len(self.engine.received), len(self.cloud.calls)
        before = read_rows() if read_rows else None
        report, call = trio.from_thread.run(self._call, url, played, knobs, trio_token=self._token)
        evidence = Evidence(
            report=report,
            cloud_call=call,
            other_calls=self.cloud.calls[calls:-1],
            engine_events=self.engine.received[reports:],
            rows=read_rows() if read_rows else None,
            rows_before=before,
            absent={} if read_rows else {"database": NO_ROWS},
        )
        return HeldOutside(report, call, tuple(check_expectations(played, evidence)))

    async def _call(
        self, url: str, scenario: Scenario, knobs: Mapping[str, Any]
    ) -> tuple[CallerReport, SimulatedCall | None]:
        before, reports = len(self.cloud.calls), len(self.engine.received)
        self.cloud.agent, self.cloud.caller_lines = scenario.agent, scenario.caller_lines
        self.cloud.behaviour = Behaviour(**scenario.faults.vapi)
        self.engine.delay_seconds = scenario.faults.engine.get("delay_seconds", 0.0)
        self.engine.fail_status = scenario.faults.engine.get("fail_status")
        report = await Caller(url, scenario, **{"speech": self.cloud.voice, **knobs}).run()
        call = self.cloud.calls[-1] if len(self.cloud.calls) > before else None
        if call is not None:
            with trio.move_on_after(OVER_SECONDS):
                await call.over.wait()
            first = [item for item in call.exchanges if item.attempt == 1 and not item.redelivered]
            await self._reported(reports + sum(len(item.tools) for item in first))
        return report, call

    async def _reported(self, count: int) -> None:
        """Reports may still be under way when the call is over."""
        with trio.move_on_after(REPORTS_SECONDS + self.engine.delay_seconds):
            while len(self.engine.received) < count and self.engine.fail_status is None:  # noqa: ASYNC110  # no event
                await trio.sleep(0.02)


@contextmanager
def open_world_outside(*, simulation_id: str = "outside", ms_per_word: int = 80) -> Iterator[OutsideWorld]:
    """A world in a thread of its own for the body.

    :raises OSError: no port is free.
    """
    ready, made, stop = threading.Event(), [], trio.Event()
    failed: list[BaseException] = []

    async def live() -> None:
        async with open_vapi_cloud(speech=Tones(ms_per_word)) as cloud, open_engine() as engine:
            made.append(OutsideWorld(cloud, engine, simulation_id, trio.lowlevel.current_trio_token()))
            ready.set()
            await stop.wait()

    def run() -> None:
        try:
            trio.run(live)
        except OSError as error:
            failed.append(error)
        finally:
            ready.set()

    thread = threading.Thread(target=run, name="simulated world", daemon=True)
    thread.start()
    ready.wait(START_SECONDS)
    if not made:
        raise failed[0] if failed else OSError("the simulated world did not open")
    try:
        yield made[0]
    finally:
        made[0]._token.run_sync_soon(stop.set)
        thread.join(START_SECONDS)
