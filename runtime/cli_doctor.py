"""`voice settings` and `voice doctor`: what this process would be told, and what would keep its calls from working."""

import difflib
import json
import sys
from typing import Annotated, Any

import trio
import typer
from rich.console import Console

from runtime.logs import configure_logging
from runtime.setting_rows import SettingRow, print_rows, row_as_json, setting_rows
from runtime.settings import SHORT_FORMS, read_environment

WRONG_USE = 2
STOPPED = 130

AsJson = Annotated[bool, typer.Option("--json", help="For programs.")]


def settings(
    names: Annotated[list[str] | None, typer.Argument(help="Only settings with one of these words in it.")] = None,
    as_json: AsJson = False,
) -> None:
    """List every setting: its value, where that came from, its default, and what it means."""
    rows = _chosen(setting_rows(read_environment()), names or [])
    if as_json:
        _print_json([row_as_json(row) for row in rows])
    else:
        print_rows(rows, Console())
    if wrong := [row for row in rows if row.wrong]:
        for row in wrong:
            sys.stderr.write(f"voice: {row.wrong}\n")
        raise typer.Exit(WRONG_USE)


def _chosen(rows: list[SettingRow], names: list[str]) -> list[SettingRow]:
    """Those whose variable, or its short form, has one of the names in it, in whatever case."""
    known = {row.variable: f"{row.variable} {SHORT_FORMS.get(row.variable, '')}" for row in rows}
    words = [name.upper() for name in names]
    for word in words:
        if not any(word in held for held in known.values()):
            near = difflib.get_close_matches(word, known, n=1)
            _stop(f"no setting has {word!r} in its name{f': is it {near[0]}?' if near else ''}", WRONG_USE)
    return [row for row in rows if not words or any(word in known[row.variable] for word in words)]


def doctor(as_json: AsJson = False) -> None:
    """Look at all that calls need, here and outside, and say what to do where it is not well. No call is made.

    Exit codes: 0 all well, 2 something is wrong here, 3 only something outside does not answer.
    """
    from runtime.doctor.checks import CHECKS
    from runtime.doctor.examination import examine
    from runtime.doctor.finding import exit_code
    from runtime.doctor.report import finding_as_json, print_findings

    reading = read_environment()
    configure_logging("debug" if reading.settings.log_level == "debug" else "critical")
    findings: Any = None
    try:
        findings = trio.run(examine, reading, CHECKS)
    except* KeyboardInterrupt:
        pass
    if findings is None:
        _stop("stopped", STOPPED)
    if as_json:
        _print_json([finding_as_json(finding) for finding in findings])
    else:
        print_findings(findings, Console())
    raise typer.Exit(exit_code(findings))


def _print_json(rows: list[Any]) -> None:
    sys.stdout.write(json.dumps(rows, indent=2, ensure_ascii=False) + "\n")


def _stop(line: str, code: int) -> None:
    sys.stderr.write(f"voice: {line}\n")
    raise typer.Exit(code)
