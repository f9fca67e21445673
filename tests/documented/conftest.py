"""How the documents are shared out among workers, and what was done for each of them, in its order."""

import os
from collections.abc import Iterator

import pytest
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]
from xdist.scheduler.protocol import Scheduling  # type: ignore[import-untyped]

from tests.documented.machine import Machine, NoMachine, open_machine


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    try:
        with open_machine() as opened:
            yield opened
    except NoMachine as none:
        if os.environ.get("CI") == "true":
            pytest.fail(str(none))
        pytest.skip(str(none))


class ByDocument(LoadScopeScheduling):  # type: ignore[misc]
    """The guide is one way, from its top to its end, for one worker; the README's blocks stand for themselves."""

    def _split_scope(self, nodeid: str) -> str:
        return "guide" if "guide" in nodeid or "your-agent" in nodeid else nodeid


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> Scheduling:
    return ByDocument(config, log)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [report for some in terminalreporter.stats.values() for report in some]
    told = [entry for report in reports for entry in getattr(report, "user_properties", ())]
    lines = dict.fromkeys(value for name, value in told if name == "documented")
    if lines:
        terminalreporter.section("commands, by line of their document")
    for line in sorted(lines, key=place):
        terminalreporter.write_line(line)


def place(line: str) -> tuple[str, int]:
    document, _, rest = line.partition(":")
    return document, int(rest.split()[0])
