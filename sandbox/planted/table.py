"""What came of the faults, as lines of text."""

from collections.abc import Iterator

from sandbox.planted.measure import WANTED_SHARE, Finding, Measured, Noticed

SHOWN_CHECKS = 3


def lines_of(measured: Measured) -> Iterator[str]:
    """The table, the kinds of check that nothing made fail, the false alarms, the verdict."""
    for finding in measured.findings:
        yield from _rows_of(finding)
    if measured.untouched:
        yield f"\nkinds of check that no fault made fail: {', '.join(measured.untouched)}"
    for noticed in measured.false_alarms:
        yield f"\nFALSE ALARM of the sound agent in {_conversation(noticed)}"
        yield from (f"  {check}: {detail}" for check, detail in noticed.failed.items())
    found = sum(finding.found for finding in measured.findings)
    yield (
        f"\n{found} of {len(measured.findings)} faults found ({measured.share:.1%}, wanted {WANTED_SHARE:.0%});"
        f" {len(measured.false_alarms)} false alarm(s) in {measured.sound} conversations with the sound agent"
    )


def _rows_of(finding: Finding) -> Iterator[str]:
    yield f"{'' if finding.found else 'NOT FOUND '}{finding.defect.name}: {finding.defect.wrong}"
    under = "".join(f", {name} {value}" for name, value in finding.defect.under)
    for scenario, checks in finding.by.items():
        more = f"; and {len(checks) - SHOWN_CHECKS} more" if len(checks) > SHOWN_CHECKS else ""
        yield f"    {scenario}{under}: {'; '.join(checks[:SHOWN_CHECKS]) or 'nothing noticed'}{more}"


def _conversation(noticed: Noticed) -> str:
    return noticed.piece.scenario + "".join(f", {name} {value}" for name, value in noticed.piece.under)
