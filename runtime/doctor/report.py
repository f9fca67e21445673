"""The findings on a screen, or as JSON."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

import attrs
from rich.console import Console
from rich.table import Table
from rich.text import Text

from runtime.doctor.finding import Finding, Mark

STYLES: Final[Mapping[Mark, str]] = {
    "ok": "green",
    "warning": "yellow",
    "wrong": "bold red",
    "unreachable": "bold magenta",
    "skipped": "dim",
}


def finding_as_json(finding: Finding) -> dict[str, str]:
    return attrs.asdict(finding)


def print_findings(findings: Sequence[Finding], console: Console) -> None:
    """One row each; what to do stands below what was found."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold", ratio=1)
    for finding in findings:
        told = Text(finding.found)
        if finding.advice:
            told.append(f"\n-> {finding.advice}", "bold" if finding.mark in ("wrong", "unreachable") else "")
        table.add_row(Text(finding.mark, STYLES[finding.mark]), Text(finding.name), told)
    console.print(table)
    console.print(Text(summary(findings)))


def summary(findings: Sequence[Finding]) -> str:
    marks = Counter(finding.mark for finding in findings)
    told = [f"{marks[mark]} {mark}" for mark in ("wrong", "unreachable", "warning", "skipped") if marks[mark]]
    return f"{len(findings)} checks: {', '.join(told) or 'all is well'}"
