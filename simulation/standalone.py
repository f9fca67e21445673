"""Each simulated party on its own, for a terminal: what ``voice simulate vapi|caller|engine`` runs.

A server prints one line with its address when it is ready, then one line for each event; it runs until cancelled.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import trio

from simulation.artifacts import write_artifacts
from simulation.behaviour import Behaviour
from simulation.caller import Caller
from simulation.caller_line import Protocol
from simulation.caller_report import CallerReport
from simulation.checks import check_expectations
from simulation.engine import open_engine
from simulation.events import Event
from simulation.evidence import WITNESSES, Evidence
from simulation.scenario import Scenario
from simulation.speech import Speech, Tones, Voice
from simulation.vapi_cloud import open_vapi_cloud

Print = Callable[[str], None]
Mask = Callable[[Any], Any]
"""Takes the JSON of what is shown, and gives what anybody may read."""


def unmasked(content: Any) -> Any:
    return content


QUIET_DATA_CHARACTERS = 160


def say(line: str) -> None:
    """One line to standard output, at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def event_line(event: Event, mask: Mask) -> str:
    """One event for a reader: seconds, who, what, and its data cut to a line."""
    data = json.dumps(mask(dict(event.data)), ensure_ascii=False) if event.data else ""
    if len(data) > QUIET_DATA_CHARACTERS:
        data = data[: QUIET_DATA_CHARACTERS - 1] + "…"
    return f"{event.t:8.3f}  {event.who:<7} {event.event:<22} {data}".rstrip()


def voice_of(scenario: Scenario | None) -> Voice:
    """The recordings that lie beside a scenario in ``audio``; tones when there is no scenario or no such folder."""
    folder = scenario.path.parent / "audio" if scenario else None
    return Speech(folder) if folder is not None and folder.is_dir() else Tones()


async def serve_vapi(
    port: int,
    scenario: Scenario | None = None,
    *,
    api_key: str = "simulated-key",
    slots: int = 10,
    behaviour: Behaviour | None = None,
    write: Print = say,
    mask: Mask = unmasked,
) -> None:
    """A Vapi cloud on ``127.0.0.1:port`` (0 picks one) whose assistant plays ``scenario``. Ends only by cancellation.

    :raises OSError: the port is taken.
    """
    async with open_vapi_cloud(
        port=port,
        slots=slots,
        api_key=api_key,
        agent=scenario.agent if scenario else (),
        caller_lines=scenario.caller_lines if scenario else (),
        behaviour=behaviour,
        speech=voice_of(scenario),
        on_event=lambda event: write(event_line(event, mask)),
    ) as cloud:
        write(f"vapi listening on {cloud.base_url} (VAPI_BASE_URL={cloud.base_url} VAPI_API_KEY={api_key})")
        await trio.sleep_forever()


async def serve_engine(port: int, *, write: Print = say, mask: Mask = unmasked) -> None:
    """An engine on ``127.0.0.1:port``. Ends only by cancellation.

    :raises OSError: the port is taken.
    """
    async with open_engine(port=port, on_event=lambda event: write(event_line(event, mask))) as engine:
        write(f"engine listening on {engine.base_url} (ENGINE_URL={engine.base_url})")
        await trio.sleep_forever()


async def run_caller(
    url: str,
    scenario: Scenario,
    protocol: Protocol = "binary",
    runs_folder: Path | None = None,
    *,
    write: Print = say,
    mask: Mask = unmasked,
) -> CallerReport:
    """Call ``url`` once, play ``scenario``, and leave the artifacts in ``runs_folder`` (None: none).

    What the caller itself can see is checked: the ending, the channel's rules, the limits. The rest is *not checked*.

    :raises SpeechError: a line of the scenario has no recording.
    :raises OSError: the folder cannot be written.
    """
    write(f"calling {url.partition('?')[0]}")
    report = await Caller(
        url,
        scenario,
        protocol=protocol,
        speech=voice_of(scenario),
        on_event=lambda event: write(event_line(event, mask)),
    ).run()
    if runs_folder is not None:
        alone = dict.fromkeys(WITNESSES, "only the caller was there")
        checks = check_expectations(scenario, Evidence(report, absent=alone))
        # Blocks for about a second; the call is over and nothing else runs here.
        made = write_artifacts(runs_folder, scenario, report, None, checks, mask=mask)
        write(f"written to {made.folder}")
    write(report.outcome)
    return report
