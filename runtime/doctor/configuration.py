"""Of what this process was told: the settings, names that look misspelt, the assistant's instructions, the fleet."""

import difflib
import os
import stat
from collections.abc import Iterator, Set
from typing import Final

from db.table import own_tables
from runtime.doctor.finding import Finding, one_line
from runtime.errors import SettingsError
from runtime.settings import SHORT_FORMS, Reading, Settings, setting_fields
from tools.policy import tools_under

# How alike two names are (difflib's ratio) that are taken for one misspelt. TEST_DATABASE_URL and DATABASE_URL: 0.83.
ALIKE: Final = 0.87
# Of names that begin like ours and like nobody else's; NGROK_ and TUNNEL_ are also the agents' own.
ALIKE_OF_OURS: Final = 0.75
OURS: Final = ("VAPI_", "VOICE_", "WEBHOOK_", "CONSOLE_")


def look_at_settings(reading: Reading) -> list[Finding]:
    names = {field.metadata["env"] for field in setting_fields()}
    findings = []
    for variable, error in reading.wrong.items():
        advice = f"correct it, or unset it; `voice settings {variable}` shows its default"
        findings.append(Finding("wrong", "settings", one_line(error), advice))
    if not findings:
        given = sum(origin in ("environment", *SHORT_FORMS.values()) for origin in reading.settings.origins.values())
        findings.append(Finding("ok", "settings", f"{len(names)} settings, {given} of them given"))
    known = names | set(SHORT_FORMS.values())
    for written, meant in misspelt(reading.variables, known):
        line = f"{written} is set, which nobody reads"
        findings.append(Finding("warning", "settings", line, f"if it is meant for {meant}, rename it"))
    return findings


def misspelt(variables: Set[str], known: Set[str]) -> Iterator[tuple[str, str]]:
    """(as written, what was probably meant) of the variables that are not `known`. What is set as well is left out."""
    for written in sorted(variables - known):
        alike = ALIKE_OF_OURS if written.upper().startswith(OURS) else ALIKE
        for meant in difflib.get_close_matches(written.upper(), sorted(known), n=1, cutoff=alike):
            if meant not in variables:
                yield written, meant


def look_at_instructions(reading: Reading) -> list[Finding]:
    path, name = reading.settings.agent_desc, "instructions"
    try:
        text = path.read_text(encoding="utf-8").strip()
    except OSError as exc:
        advice = "write the assistant's instructions there, or set AGENT_DESC"
        return [Finding("wrong", name, f"AGENT_DESC: {path} cannot be read: {exc.strerror}", advice)]
    except UnicodeDecodeError as exc:
        return [Finding("wrong", name, f"AGENT_DESC: {path} is not UTF-8 at byte {exc.start}", "save it as UTF-8")]
    if not text:
        return [Finding("wrong", name, f"AGENT_DESC: {path} is empty", "write the assistant's instructions there")]
    return [Finding("ok", name, f"{len(text):,} characters in {path}")]


def look_at_tools(reading: Reading) -> list[Finding]:
    """What the agent can do, and the tables beside the bank's."""
    settings = reading.settings
    try:
        names = [tool.name for tool in tools_under(settings.tool_policy, settings.tools)]
        tables = [table.name for table in own_tables()]
    except SettingsError as exc:
        return [
            Finding("wrong", "tools", one_line(exc), "correct it there; docs/your-agent.md shows one that is right")
        ]
    beside = f"; tables beside the bank's: {', '.join(tables)}" if tables else ""
    return [Finding("ok", "tools", f"{', '.join(names)}{beside}")]


def look_at_fleet(reading: Reading) -> list[Finding]:
    """Nothing, for a process that is alone."""
    settings = reading.settings
    if not (settings.haproxy_socket or settings.webhook_bind.unix_path):
        return []
    findings = list(_fleet(settings))
    pod = f"pod {settings.pod_id!r} behind a gateway"
    return findings or [Finding("ok", "fleet", f"{pod}, with the database and the key of the fleet")]


def _fleet(settings: Settings) -> Iterator[Finding]:
    if settings.origins.get("POD_ID") != "environment":
        line = f"POD_ID is not given; this pod calls itself {settings.pod_id!r}"
        yield Finding("warning", "fleet", line, "set POD_ID to the name that the gateway has for this pod")
    if settings.database_url is None:
        line = "this pod has a database of its own: a tool call that the gateway gives another pod is refused there"
        yield Finding("warning", "fleet", line, "set the fleet's DATABASE_URL, unless the gateway routes by POD_ID")
    if settings.haproxy_socket and not _is_socket(settings.haproxy_socket):
        line = f"HAPROXY_SOCKET: there is no socket at {settings.haproxy_socket}"
        advice = "start HAProxy, or correct the path; until then calls are not registered there"
        yield Finding("warning", "fleet", line, advice)


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError:
        return False
