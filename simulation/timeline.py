"""A call as a picture: both voices over time, silence that was received, turns, and tool calls with their length."""

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import numpy as np
import numpy.typing as npt

from simulation.caller_report import CallerReport
from simulation.measures import measure
from simulation.pcm import FULL_SCALE, SAMPLE_RATE_HZ

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#1f2933"
FAINT = "#8a94a0"
GRID = "#e4e8ec"
CALLER = "#1f77b4"
AGENT = "#2a9d6f"
TAIL = "#d9a404"
TAIL_INK = "#8a6a00"
TOOL_OK = "#6d4aa8"
TOOL_BAD = "#c0392b"
ROOM_SECONDS = 2.2
"""Space behind the end, for what is written there."""
COLUMNS = 2_400
"""Points across the picture; each shows the highest and lowest sample of its span."""
LABEL_CHARACTERS = 34
LABEL_LINES = 2
BACKCHANNEL_HEIGHT = 0.80
"""Beneath the labels of the turns, which stand at the top; in shares of the panel."""
MIN_TAIL_MS = 200.0


@attrs.frozen
class ToolMark:
    """One tool call: seconds since the caller connected, and how long the webhook took."""

    name: str
    start: float
    seconds: float
    accepted: bool


@attrs.frozen
class Picture:
    """What is to be drawn; ``caller`` and ``agent`` are samples on one time line, ``verdict`` stands in the title."""

    scenario: str
    report: CallerReport
    caller: npt.NDArray[np.int16]
    agent: npt.NDArray[np.int16]
    tools: tuple[ToolMark, ...]
    verdict: str
    agent_lines: tuple[tuple[float, str], ...] = ()
    """What the agent said, at seconds since the caller connected, where the cloud is ours and knows."""


def draw(path: Path, picture: Picture) -> None:
    """Write the picture as PNG. Needs no display; leaves matplotlib's global state alone."""
    import matplotlib  # takes half a second
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    seconds = max(1.0, len(picture.caller) / SAMPLE_RATE_HZ)
    with matplotlib.rc_context({"font.family": "DejaVu Sans", "font.size": 9, "text.color": INK}):
        figure = Figure(figsize=(min(24.0, max(11.0, seconds * 0.55)), 5.4), dpi=110, layout="constrained")
        FigureCanvasAgg(figure)
        caller, tools, agent = figure.subplots(3, 1, sharex=True, height_ratios=[1.0, 0.34, 1.0])
        _wave(caller, picture.caller, CALLER, "caller")
        _wave(agent, picture.agent, AGENT, "agent")
        _tools(tools, picture.tools)
        _turns(caller, picture.report)
        _agent_turns(agent, picture.report)
        for at, text in picture.agent_lines:
            _label(agent, at, text, AGENT)
        for axes in (caller, tools, agent):
            axes.axvline(picture.report.duration_seconds, color=FAINT, linewidth=1.0, linestyle=(0, (3, 3)), zorder=2)
        _label_below(tools, picture.report.duration_seconds, picture.report.ending.replace("_", " "))
        caller.set_xlim(0.0, seconds + ROOM_SECONDS)
        agent.set_xlabel("seconds since the caller connected", color=FAINT)
        _title(figure, picture)
        figure.savefig(path)


def _title(figure: "Figure", picture: Picture) -> None:
    report = picture.report
    outcome = report.outcome.replace("_", " ")
    parts = (picture.scenario, outcome, f"{report.duration_seconds:.1f} s", picture.verdict)
    colour = INK if picture.verdict.endswith("passed") else TOOL_BAD
    figure.suptitle("   ·   ".join(parts), fontsize=12, fontweight="bold", color=colour, x=0.01, ha="left")


def _wave(axes: "Axes", samples: npt.NDArray[np.int16], colour: str, name: str) -> None:
    """The envelope of ``samples``: what a picture can show of a million of them."""
    span = max(1, -(-len(samples) // COLUMNS))
    filled = np.pad(samples, (0, -len(samples) % span)).reshape(-1, span).astype(np.float64) / FULL_SCALE
    at = np.arange(len(filled)) * span / SAMPLE_RATE_HZ
    axes.fill_between(at, filled.min(axis=1), filled.max(axis=1), color=colour, linewidth=0.4, zorder=3)
    top = max(0.1, float(np.abs(filled).max(initial=0.0)))
    axes.set_ylim(-top * 1.5, top * 2.0)
    axes.set_ylabel(name, color=colour, fontsize=11, fontweight="bold")
    _bare(axes)


def _bare(axes: "Axes") -> None:
    axes.set_yticks([])
    axes.grid(axis="x", color=GRID, zorder=0)
    axes.tick_params(axis="x", colors=FAINT, length=0)
    for side in axes.spines.values():
        side.set_visible(False)


def _label(axes: "Axes", at: float, text: str, colour: str, *, height: float = 0.985) -> None:
    axes.annotate(
        "\n".join(textwrap.wrap(text, LABEL_CHARACTERS, max_lines=LABEL_LINES, placeholder=" …")),
        (at, height),
        xycoords=("data", "axes fraction"),
        xytext=(4, 0),
        textcoords="offset points",
        va="top",
        color=colour,
        fontsize=8.5,
        zorder=5,
    )


def _turns(axes: "Axes", report: CallerReport) -> None:
    for number, turn in enumerate(report.turns, start=1):
        axes.axvline(turn.started_at, color=CALLER, linewidth=0.9, alpha=0.6, zorder=2)
        mark = " (barge-in)" if turn.barge_in else ""
        _label(axes, turn.started_at, f"{number}{mark}  {turn.text}", CALLER)
        below = [] if turn.response_ms is None else [f"answered after {turn.response_ms:.0f} ms"]
        if turn.stop_ms is not None:
            below.insert(0, f"agent stopped after {turn.stop_ms:.0f} ms")
        _label_below(axes, turn.last_speech_at, "\n".join(below))
    for said in report.backchannels:
        axes.axvline(said.started_at, color=CALLER, linewidth=0.9, alpha=0.6, linestyle=(0, (2, 3)), zorder=2)
        _label(axes, said.started_at, f"({said.text})", CALLER, height=BACKCHANNEL_HEIGHT)


def _label_below(axes: "Axes", at: float, text: str, colour: str = FAINT) -> None:
    axes.annotate(
        text,
        (at, 0.02),
        xycoords=("data", "axes fraction"),
        xytext=(4, 0),
        textcoords="offset points",
        va="bottom",
        color=colour,
        fontsize=8,
        zorder=5,
    )


def _agent_turns(axes: "Axes", report: CallerReport) -> None:
    """Onsets, and the silence received behind each stretch of speech: shaded as long as it is, wherever it came."""
    greeting_ms = measure(report).greeting_ms
    if greeting_ms is not None:
        _label_below(axes, 0.0, f"greeting after {greeting_ms:.0f} ms")
    for speech in report.agent_speech:
        axes.axvline(speech.onset_at, color=AGENT, linewidth=0.9, alpha=0.6, zorder=2)
        if speech.tail_ms >= MIN_TAIL_MS:
            end = speech.end_at + speech.tail_ms / 1000
            axes.axvspan(speech.end_at, end, color=TAIL, alpha=0.16, linewidth=0, zorder=1)
            _label_below(axes, speech.end_at, f"{speech.tail_ms:.0f} ms of silence", TAIL_INK)


def _tools(axes: "Axes", tools: tuple[ToolMark, ...]) -> None:
    axes.set_ylim(0.0, 1.0)
    axes.set_ylabel("tools", color=TOOL_OK, fontsize=11, fontweight="bold")
    _bare(axes)
    for mark in tools:
        colour = TOOL_OK if mark.accepted else TOOL_BAD
        axes.barh(0.5, max(mark.seconds, 0.02), left=mark.start, height=0.42, color=colour, zorder=3)
        refused = "" if mark.accepted else "  not accepted"
        axes.annotate(
            f"{mark.name}  {mark.seconds * 1000:.0f} ms{refused}",
            (mark.start + mark.seconds, 0.5),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            color=colour,
            fontsize=9,
            zorder=5,
        )
