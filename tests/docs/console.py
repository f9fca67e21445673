"""What the console door answers, why a process is not ready, and what the page itself says.

The page's texts are read from its sources, where they stand as constants: what a browser makes of them is seen in
tests/console.
"""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import pytest
import trio
from quart_trio.wrappers.response import TrioFileBody, TrioResponse

from console import app as console
from console.app import console_app
from console.guard import ConsoleGuard
from console.view import Process
from db.door import DatabaseUnavailable, PoolStatistics
from runtime import limits
from runtime.pulse import Pulse
from runtime.readiness import Readiness
from tests.docs.symptom import Symptom, in_virtual_time, seen
from tests.house_rules import ROOT
from tests.runtime.test_webhook_app import open_door

HERE: Final = ("127.0.0.1", 40_000)
WHY: Final = "it says why"
# What stands in the page's texts for what varies.
VARIES: Final[Mapping[str, str]] = {
    "clock(since)": "since", "page.chosen": "call", "problem.message": "status", 'why || "nobody told why"': "why",
    'many(billed, "call")': "calls", "at(mark.t)": "time", "at(tool.from)": "time", "tool.name": "tool",
    "shortly(tool.error, 300)": "error", "child.name": "actor", 'many(child.restarts, "time")': "times",
    'many(counts.tails_overdue, "tail")': "tails", "seconds.toFixed(1)": "seconds", "name": "channel",
    'many(channel.waits, "time")': "times", 'many(counts.tool_duplicates, "tool call")': "tool calls",
    'many(counts.vapi_unknown_messages, "message")': "messages", "data.why": "why", "reason": "reason",
    '[data.code, data.reason].filter(Boolean).join(" ")': "code and reason",
}  # fmt: skip


def console_door(_folder: Path) -> Iterator[Symptom]:
    yield from _guarded()
    yield from in_virtual_time(_answers)
    yield from in_virtual_time(_not_ready)
    yield from _the_page()


def _guarded() -> Iterator[Symptom]:
    guard = ConsoleGuard(None, ())  # type: ignore[arg-type]
    ours = (b"host", b"127.0.0.1:8010")
    for headers, client, varies in (
        ([(b"host", b"voice.example")], HERE, {"host": "'voice.example'"}),
        ([ours, (b"origin", b"https://page.example")], HERE, {}),
        ([ours], ("192.0.2.7", 40_000), {}),
    ):
        yield seen(f"403 {guard._refusal({'path': '/', 'headers': headers, 'client': client})}", **varies)


async def _answers(found: list[Symptom]) -> None:
    async def busy() -> bool:
        await trio.lowlevel.checkpoint()
        return False

    async with open_door() as door:
        tree: Any = SimpleNamespace(children=list)
        process = Process(door.house, tree, Pulse(lambda _: None), "ws://127.0.0.1:8008/voice")
        alone, held = console_app(process).test_client(), console_app(process, busy).test_client()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(console, "Pages", lambda: SimpleNamespace(full=True))
            full = console_app(process).test_client()
        for reply, varies in (
            (await full.get("/events"), {"most": limits.CONSOLE_STREAMS}),
            (await alone.get("/other.js"), {}),
            (await alone.get("/no/such/page"), {}),
            (await alone.get("/calls/none"), {"most": limits.HISTORY_CALLS}),
            (await alone.get("/calls/c-1/recording.wav"), {}),
            (await alone.put("/calls"), {}),
            (await alone.post("/demo"), {}),
            (await held.post("/demo"), {}),
        ):
            body = (await reply.get_data()).decode()
            found.append(Symptom(body, f"{reply.status_code} {seen(body, **varies).shown}"))
        too_far = console._in_part(TrioResponse(TrioFileBody(__file__)), "bytes=999999999-")
        body = (await too_far.get_data()).decode()
        found.append(Symptom(body, f"{too_far.status_code} {body}"))


async def _not_ready(found: list[Symptom]) -> None:
    """The reasons of /readyz, which the page shows as well."""

    async def refused() -> None:
        await trio.lowlevel.checkpoint()
        raise DatabaseUnavailable(WHY)

    for ping in (refused, trio.sleep_forever):
        idle = PoolStatistics(0, 1, 10)
        ready = Readiness(SimpleNamespace(ping=ping, statistics=lambda: idle), draining=True)  # type: ignore[arg-type] # noqa: B023
        await ready.look()
        drains, database = ready.why_not
        found.append(seen(database, **({"why": WHY} if WHY in database else {})))
    found.append(seen(drains))


def _the_page() -> Iterator[Symptom]:
    yield worded("health.js", "Not ready for calls")
    lost, why = text("page.js", "Not connected since"), text("page.js", " The console refuses this page")
    for refused in ("", why):
        yield shown_as(lost.replace("${why}", refused))
    kept = text("page.js", "This process keeps")
    for start in ("Nothing is known of call", "Nothing more is known"):
        yield shown_as(text("page.js", start).replace("${KEPT}", kept))
    for start in ("The console did not answer", "A demo call is running"):
        yield worded("page.js", start)
    for start in ("No call yet", "No call at the moment", "This page needs JavaScript"):
        yield worded("page.html", start)


def of_a_call(_folder: Path) -> Iterator[Symptom]:
    """What the page says went wrong in a call, and of its recording."""
    never = text("words.js", "The call was never answered").removesuffix("${known[0]}")
    for name, before in (("ENDINGS", ""), ("NO_ANSWER", never)):
        yield from (shown_as(f"{before}{sentence}") for sentence in endings(name).values())
    yield worded("words.js", "The call ended: ")
    yield worded("call.js", "The call is over; nobody told why")
    yield worded("calls.js", "Nobody told why it ended")
    at = re.findall(r"bad\(`(At [^`]*mark\.text[^`]*)`\)", source("model.js"))
    for mark in re.findall(r'kind: "failed", text: `([^`]*)`', source("model.js")):
        yield shown_as(at[0].replace("${mark.text}", mark))
    for said in re.findall(r'(?:bad|note)\((?:"([^"]*)"|`([^`]*)`)\)', source("model.js")):
        line = "".join(said)
        if "${mark.text}" not in line and "${where}" not in line:
            yield shown_as(line)
    lost = text("model.js", "${seconds.toFixed(1)} s")
    for where in re.findall(r'bytes_discarded", "([^"]*)"', source("model.js")):
        yield shown_as(lost.replace("${where}", where))
    yield worded("page.html", "Nothing was said yet")
    yield worded("transcript.js", "The beginning of this long call")
    yield worded("health.js", '${many(billed, "call")} that')
    for said in re.findall(r'#fail\((?:"([^"]*)"|`([^`]*)`)\)', source("player.js")):
        yield shown_as("".join(said))
    yield worded("player.js", "The recording could not be written")
    yield worded("player.js", "Not recorded.")


def endings(name: str) -> dict[str, str]:
    """Of a table in words.js: per reason, what the page says has happened."""
    table = source("words.js").partition(f"const {name} = {{\n")[2].partition("\n};")[0]
    return dict(re.findall(r'^  (\w+): \["([^"]*)"', table, re.MULTILINE))


@cache
def source(name: str) -> str:
    return (ROOT / "console" / name).read_text(encoding="utf-8")


def text(name: str, start: str) -> str:
    """The one constant, or text of the page, that begins so."""
    begins = re.escape(start)
    found = re.findall(rf'"({begins}[^"\n]*)"|`({begins}[^`]*)`|>({begins}[^<]*)<', source(name))
    assert len(found) == 1, f"{name} has {len(found)} texts that begin with {start!r}"
    return "".join(found[0])


def shown_as(template: str) -> Symptom:
    shown = re.sub(r"\$\{([^}]*)\}", lambda value: f"<{VARIES[value[1]]}>", template)
    return Symptom(template, shown.strip())


def worded(name: str, start: str) -> Symptom:
    return shown_as(text(name, start))
