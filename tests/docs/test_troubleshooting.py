"""docs/troubleshooting.md has every text that a user can meet, as the product words it, and no other.

A new error fails here until something in tests/docs produces it and the page explains it.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import pytest

from runtime import errors
from tests.docs.calls import close_frames, details
from tests.docs.commands import command_errors
from tests.docs.console import console_door, endings, of_a_call
from tests.docs.databases import own_server, unavailable
from tests.docs.doctor import doctor
from tests.docs.doors import before_the_upgrade, webhook_answers
from tests.docs.logs import log_events
from tests.docs.own_code import own_code
from tests.docs.programs import program_errors
from tests.docs.recorder import recordings
from tests.docs.scenarios import scenario_errors, speech_errors, store_errors
from tests.docs.starting import starting
from tests.docs.symptom import BLOCK, PAGE, Symptom, sections_of
from tests.docs.tools import tool_errors
from tests.docs.tunnels import tunnel
from tests.docs.vapi import vapi
from tests.docs.wordings import LogCall, Wording, log_calls, log_calls_in, wordings, wordings_in
from tests.house_rules import ROOT, Module

SECTIONS: Final[Mapping[str, Callable[[Path], Iterator[Symptom]]]] = {
    "It does not start": starting,
    "A tool or a table of your own": own_code,
    "The embedded server does not start": own_server,
    "The caller's close frame": close_frames,
    "Why a call ended": details,
    "Before the upgrade": before_the_upgrade,
    "The webhook door": webhook_answers,
    "What the model hears": tool_errors,
    "Vapi": vapi,
    "The tunnel": tunnel,
    "The database": unavailable,
    "The log": log_events,
    "Recordings of calls": recordings,
    "The console": console_door,
    "What the console says of a call": of_a_call,
    "What `voice doctor` finds": doctor,
    "The commands": command_errors,
    "Agents, callers and programs of a run": program_errors,
    "Scenarios": scenario_errors,
    "Recordings and the ear": speech_errors,
    "The engine's store": store_errors,
}
# Worded in the source, and met by nobody.
NOT_MET: Final[Mapping[str, str]] = {
    "actors/vapi_calls.py:_ordered: the call could not be created": "an order that is done has an outcome",
    "runtime/doctor/database.py:_embedded: DATABASE_URL is not set: a server of our own can start (…), data in ": (
        "all is well"
    ),
    "runtime/doctor/way_in.py:_version: a version it does not tell": "all is well",
    "runtime/recording_folder.py:open_spool:  is no name of a recording": "calls are named by this program",
    "runtime/tunnels/probe.py:probe:  leads to this process": "all is well",
    'runtime/webhook.py:webhook_app: {"status":"ok","nonce":"…"}': "all is well",
    "stress/cloud.py:_admit: there is no such call": "said to `voice serve`, by the simulated Vapi of `voice stress`",
}
# Log calls whose event is not written in them, and what it can be.
INDIRECT: Final[Mapping[str, tuple[str, ...]]] = {
    "runtime/house.py:end_call": ("call_over",),
    "runtime/tunnels/tunnel.py:_agents": ("tunnel_not_started", "tunnel_died"),
    "runtime/tunnels/tunnel.py:_changed": ("tunnel_state",),
}


@cache
def page() -> str:
    return PAGE.read_text(encoding="utf-8")


@cache
def produced(section: str) -> tuple[Symptom, ...]:
    with TemporaryDirectory() as folder:
        return tuple(SECTIONS[section](Path(folder)))


def all_lines() -> list[str]:
    return [symptom.raw for section in SECTIONS for symptom in produced(section)]


@pytest.mark.parametrize("section", SECTIONS)
def test_page_has_what_is_seen_and_nothing_else(section: str) -> None:
    written = sections_of(page()).get(section, [])
    seen = {symptom.shown for symptom in produced(section)}
    assert sorted(seen - set(written)) == [], "not on the page"
    assert sorted(set(written) - seen) == [], "on the page, and nothing words it so any more"
    assert len(written) == len(set(written)), "twice on the page"


def test_page_has_no_texts_where_nothing_produces_them() -> None:
    assert {title for title, lines in sections_of(page()).items() if lines} == set(SECTIONS)


def test_every_error_of_a_call_has_a_close_frame_on_the_page() -> None:
    def classes(kind: type[errors.CallError]) -> Iterator[type[errors.CallError]]:
        yield kind
        for one in kind.__subclasses__():
            if one.__module__ == errors.__name__:
                yield from classes(one)

    lines = sections_of(page())["The caller's close frame"]
    for kind in classes(errors.CallError):
        assert any(line.startswith(f"{kind.code} {kind.word}") for line in lines), kind
    causes = set(re.findall(r"(?:vapi|tunnel)_[a-z_]+", _causes()))
    frames = {line.removeprefix("1011 callee_no_answer: ") for line in lines if "callee_no_answer" in line}
    assert frames == causes


def _causes() -> str:
    """What runtime/errors.py says that a cause can be."""
    source = (ROOT / "runtime" / "errors.py").read_text()
    found: list[str] = re.findall(r'cause: str\n    """(.*?)"""', source, re.DOTALL)
    return found[0]


def test_every_line_that_is_worded_is_produced() -> None:
    lines = "\n".join(all_lines())
    unseen = {str(one) for one in wordings() if not re.search(one.pattern, lines)}
    assert sorted(unseen - set(NOT_MET)) == []
    assert sorted(set(NOT_MET) - unseen) == [], "these are met, or are gone"


def test_every_warning_of_the_log_is_on_the_page() -> None:
    written = {line.split()[0] for line in sections_of(page())["The log"]}
    calls = list(log_calls())
    indirect = {call.place for call in calls if not call.events}
    assert indirect == set(INDIRECT), "a log call whose event is not written in it"
    events = {event for call in calls for event in call.events or INDIRECT[call.place]}
    assert sorted(events - written) == []


def test_every_block_is_explained() -> None:
    for block in BLOCK.finditer(page()):
        behind = page()[block.end() :].lstrip("\n").partition("\n\n")[0]
        assert behind.count(".") >= 2, f"no why and what to do behind: {block.group()}"
        assert not behind.startswith(("#", "```")), block.group()


def test_every_link_leads_somewhere() -> None:
    anchors = {re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title in sections_of(page())}
    for link in re.findall(r"\]\(([^)]+)\)", page()):
        assert link.removeprefix("#") in anchors if link.startswith("#") else (PAGE.parent / link).exists(), link


def test_every_ending_that_the_console_words_is_one() -> None:
    frames = sections_of(page())["The caller's close frame"]
    reasons = {line.partition(" ")[2] for line in frames}
    assert set(endings("ENDINGS")) <= reasons
    assert {f"callee_no_answer: {cause}" for cause in endings("NO_ANSWER")} <= reasons


SOURCE: Final = """
class Tidy:
    def check(self, name):
        line = f"{name} is gone: start it"
        raise StartError(line)

    def problem(self):
        return "it is not ready"


def look(mark, name):
    line, advice = "nothing is there", "put it there"
    line = f"{name} is not free"
    if mark:
        return [Finding("ok", name, "it is well"), Finding("wrong", name, line, advice)]
    return "warning", "no such token", advice


def why_not(self, entry, draining):
    entry.trouble = "the disk is full"
    found = ["it drains"] if draining else []
    found.append(entry.why or "nobody told")
    return found


def reject(status):
    _log.warning("told_here", status=status)
    tell = _log.error if status else _log.info
    tell("told_there")
    if status:
        return 404, "there is nothing"
    raise Bad("is not a number" if status else "is no text")
"""


def test_wordings_and_log_calls_are_found_where_they_are() -> None:
    module = Module("runtime/x.py", SOURCE)
    assert list(wordings_in(module)) == [
        Wording("runtime/x.py:check", r"\ is\ gone:\ start\ it"),
        Wording("runtime/x.py:problem", r"it\ is\ not\ ready"),
        Wording("runtime/x.py:look", r"no\ such\ token"),
        Wording("runtime/x.py:look", r"nothing\ is\ there"),
        Wording("runtime/x.py:look", r"\ is\ not\ free"),
        Wording("runtime/x.py:why_not", r"the\ disk\ is\ full"),
        Wording("runtime/x.py:why_not", r"it\ drains"),
        Wording("runtime/x.py:why_not", r"nobody\ told"),
        Wording("runtime/x.py:reject", r"there\ is\ nothing"),
        Wording("runtime/x.py:reject", r"is\ not\ a\ number"),
        Wording("runtime/x.py:reject", r"is\ no\ text"),
    ]
    assert list(log_calls_in(module)) == [
        LogCall("runtime/x.py:reject", ("told_here",)),
        LogCall("runtime/x.py:reject", ()),
    ]
