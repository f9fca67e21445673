"""Each simulated party on its own, for a terminal: what ``voice simulate vapi|caller|engine`` runs.

A server prints one line with its address when it is ready, then one line for each event; it runs until cancelled.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import trio

from simulation.artifacts import write_artifacts
from simulation.behaviour import Behaviour
from simulation.caller import Caller
from simulation.caller_line import Protocol
from simulation.caller_report import CallerReport
from simulation.checks import check_expectations
from simulation.engine import open_engine
from simulation.engine_entries import AudioTurn, body_of
from simulation.events import Event
from simulation.evidence import WITNESSES, Evidence
from simulation.network import Network, TrioSockets
from simulation.scenario import Scenario
from simulation.speech import Speech, Tones, Voice
from simulation.vapi_cloud import open_vapi_cloud
from simulation.webhook_client import Answer, ToolRequest, WebhookClient

Print = Callable[[str], None]
Mask = Callable[[Any], Any]
"""Takes the JSON of what is shown, and gives what anybody may read."""


def unmasked(content: Any) -> Any:
    return content


QUIET_DATA_CHARACTERS = 160
ENGINE_SECONDS = 10.0
"""For an engine to take the turns of a call."""


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
    """A Vapi cloud on ``127.0.0.1:port`` (0 picks one) whose assistant plays ``scenario``, and which has its faults,
    unless ``behaviour`` says otherwise. Ends only by cancellation.

    :raises OSError: the port is taken.
    """
    async with open_vapi_cloud(
        port=port,
        slots=slots,
        api_key=api_key,
        agent=scenario.agent if scenario else (),
        caller_lines=scenario.caller_lines if scenario else (),
        behaviour=behaviour or (Behaviour(**scenario.faults.vapi) if scenario else None),
        speech=voice_of(scenario),
        on_event=lambda event: write(event_line(event, mask)),
    ) as cloud:
        write(f"vapi listening on {cloud.base_url} (VAPI_BASE_URL={cloud.base_url} VAPI_API_KEY={api_key})")
        await trio.sleep_forever()


async def serve_engine(port: int, store: Path | None = None, *, write: Print = say, mask: Mask = unmasked) -> None:
    """An engine on ``127.0.0.1:port`` that keeps what it is told in ``store``. Ends only by cancellation.

    :raises OSError: the port is taken, or the store cannot be read or written.
    :raises StoreError: the store is another engine's, or a line of it is broken.
    """

    def show(event: Event) -> None:
        # A problem is told whole: the line of an event is cut, and a path is long.
        problem = event.data.get("problem")
        write(str(problem) if event.who == "engine" and problem else event_line(event, mask))

    async with open_engine(port=port, on_event=show, store=store) as engine:
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


async def post_turns(engine_url: str, simulation_id: str, report: CallerReport, network: Network | None = None) -> str:
    """Tell an engine who spoke when in a call that is over, on CLOCK_MONOTONIC; "" when it took that, else why not.

    The caller's turns come with their words; the agent's are stretches of speech, in words nobody here knows.
    """
    began = report.connected_mono
    turns = (
        *(AudioTurn("caller", began + t.started_at, began + t.last_speech_at, t.text) for t in report.turns),
        *(AudioTurn("agent", began + heard.onset_at, began + heard.end_at) for heard in report.agent_speech),
    )
    url = f"{engine_url.rstrip('/')}/simulations/{quote(simulation_id, safe='')}/turns"
    body = body_of(tuple(sorted(turns, key=lambda turn: turn.started)))
    answer = await WebhookClient(network or TrioSockets()).post(ToolRequest(url, {}, body, (), ENGINE_SECONDS))
    if answer.status == 200:
        return ""
    return f"the engine at {engine_url} did not take the turns: {answer.failure or _complaint_in(answer)}"


def _complaint_in(answer: Answer) -> str:
    said = " ".join(answer.body.decode("utf-8", "replace").split())
    return f"status {answer.status}: {said[:QUIET_DATA_CHARACTERS]}"
