"""A verdict as one HTML file that can be mailed: no script, nothing from outside, pictures and sound within it.

Failed conversations come first and stand open. Everything that was said, answered or read is escaped, and the page
forbids scripts and outside resources besides.
"""

import base64
import io
import json
import wave
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import attrs
import soundfile
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from sandbox.json_report import plain, result_of
from sandbox.verdict import Conversation, Line, Verdict
from sandbox.wording import (
    FIGURES,
    MEASURES,
    closing_line,
    lateness_warning,
    measured,
    milliseconds,
    most_runs,
    reason_of,
    rows_of,
    title_of,
    unchecked_of,
    why_unchecked,
)
from simulation.check import Check

MEDIA_BYTES: Final = 13_000_000
"""Of pictures and sound in one page, which leaves room for the words in a mail of 15 MB."""
AUDIO_BITS_PER_SECOND: Final = 48_000
AUDIO_LEVEL: Final = 0.75
"""What libsndfile calls 48 kbit/s when it writes MP3 at 24 kHz."""
PICTURE_COLOURS: Final = 64
"""A drawing has no more that matter; the file is a third of what it was."""
TEXT_BYTES: Final = 4 / 3
"""Of a page, for each byte that is put into it as base64."""
_UNREADABLE: Final = (
    OSError, EOFError, ValueError, SyntaxError, RuntimeError, wave.Error, Image.DecompressionBombError,
)  # fmt: skip
"""What Pillow, wave and libsndfile raise between them of a file that is not what its name says."""
OMITTED: Final = "is left out to keep this page small enough to mail; it lies in"


@attrs.frozen
class Medium:
    """A picture or a recording: its ``uri``, or why there is none. A picture's size is in pixels."""

    uri: str = ""
    missing: str = ""
    width: int = 0
    height: int = 0


@attrs.frozen
class Entry:
    """A conversation as the page shows it. ``number`` is its place in the page, from 1."""

    number: int
    title: str
    one: Conversation
    reason: str
    checks: Sequence[Check]
    picture: Medium
    recording: Medium


def write_html(path: Path, verdict: Verdict) -> None:
    """Replaces the file. Raises OSError.

    Takes about half a second for each conversation of 20 s, most of it to compress what was said.
    """
    path.write_bytes(html_page(verdict).encode("utf-8", "replace"))


def html_page(verdict: Verdict, media_bytes: int = MEDIA_BYTES) -> str:
    """The file's content. Reads the artifacts; one that is missing or damaged is named in the page instead."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_visible,
    )
    environment.filters |= {"ms": milliseconds, "state": result_of, "why": why_unchecked, "answer": _readable}
    environment.filters |= {"value": _value, "where": _where, "measures": measured}
    entries = _entries(verdict, media_bytes)
    rows = sorted(rows_of(verdict), key=lambda row: row.passed)
    return environment.get_template("report.html.j2").render(
        verdict=verdict,
        closing=closing_line(verdict),
        headline=_headline(verdict),
        most=most_runs(verdict),
        rows=[(row, _target(row.tally.scenario, entries)) for row in rows],
        warning=lateness_warning(verdict),
        figures=FIGURES,
        meanings=[measure for measure in MEASURES if measure.meaning],
        unchecked=unchecked_of(verdict),
        entries=entries,
    )


def _headline(verdict: Verdict) -> str:
    held, passed = len(verdict.conversations), sum(one.passed for one in verdict.conversations)
    if not held:
        return "No conversation was held"
    if passed == held:
        return "The conversation passed" if held == 1 else f"All {held} conversations passed"
    return f"{held - passed} of {held} conversations failed"


def _target(scenario: str, entries: Iterable[Entry]) -> int:
    """Of a scenario's conversations, the first in the page: a failed one if there is one."""
    return next(entry.number for entry in entries if entry.one.scenario == scenario)


def _entries(verdict: Verdict, media_bytes: int) -> list[Entry]:
    """In the order of the page. When the room for media is used up, the rest does without."""
    entries: list[Entry] = []
    left = media_bytes
    for one in sorted(verdict.conversations, key=lambda one: one.passed):
        picture = _medium(one, "timeline.png", _picture, left)
        left -= len(picture.uri)
        recording = _medium(one, "call.wav", _recording, left)
        left -= len(recording.uri)
        checks = sorted(one.checks, key=lambda check: (not check.failed, check.checked))
        entries.append(Entry(len(entries) + 1, title_of(one), one, reason_of(one), checks, picture, recording))
    return entries


class _TooLarge(Exception):
    """There is no room left for it."""


def _medium(one: Conversation, name: str, read: Callable[[Path, int], Medium], left: int) -> Medium:
    if one.folder is None:
        return Medium(missing=f"There is no {name}: nothing was recorded.")
    path = one.folder / name
    try:
        return read(path, left)
    except _TooLarge:
        return Medium(missing=f"{name} {OMITTED} {one.folder}.")
    except FileNotFoundError:
        return Medium(missing=f"{name} is missing from {one.folder}.")
    except _UNREADABLE as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else "it is damaged"
        return Medium(missing=f"{name} in {one.folder} cannot be read: {why}.")


def _picture(path: Path, left: int) -> Medium:
    with Image.open(path, formats=["PNG"]) as image:
        small = image.convert("RGB").quantize(PICTURE_COLOURS, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    file = io.BytesIO()
    small.save(file, "PNG", optimize=True)
    return _embedded("image/png", file.getvalue(), left, small.size)


def _recording(path: Path, left: int) -> Medium:
    """As MP3, which every browser plays. Raises before the work of compressing it when there is no room."""
    with wave.open(str(path)) as file:
        seconds = file.getnframes() / file.getframerate()
    if seconds * AUDIO_BITS_PER_SECOND / 8 * TEXT_BYTES > left:
        raise _TooLarge
    samples, rate_hz = soundfile.read(path, dtype="float32")
    sound = io.BytesIO()
    soundfile.write(sound, samples, rate_hz, format="MP3", compression_level=AUDIO_LEVEL, bitrate_mode="CONSTANT")
    return _embedded("audio/mpeg", sound.getvalue(), left)


def _embedded(kind: str, content: bytes, left: int, size: tuple[int, int] = (0, 0)) -> Medium:
    uri = f"data:{kind};base64,{base64.b64encode(content).decode()}"
    if len(uri) > left:
        raise _TooLarge
    return Medium(uri, width=size[0], height=size[1])


def _visible(value: Any) -> Any:
    """Whatever the template shows, without characters that are not to be seen or that turn the text around."""
    if not isinstance(value, str) or hasattr(value, "__html__") or value.isprintable():
        return value  # what a macro has made is markup, and went through here piece by piece
    return "".join(letter if letter.isprintable() or letter in "\n\t" else "\ufffd" for letter in value)


def _value(value: Any) -> str:
    """An argument of a tool."""
    return json.dumps(plain(value), ensure_ascii=False)


def _readable(line: Line) -> str:
    """What a tool answered; JSON with room between its parts, so that it can be read and folded."""
    try:
        return json.dumps(json.loads(line.answer), ensure_ascii=False)
    except (ValueError, RecursionError):
        return line.answer


def _where(seconds: float) -> str:
    """A moment of the call as its player shows it."""
    return f"{int(seconds // 60)}:{seconds % 60:04.1f}"
