"""A verdict as JUnit XML: one suite, one test case for each conversation.

The order of elements, and one failure for a case, are what every reader of such files accepts.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from junitparser import Error, Failure, JUnitXml, Skipped, TestCase, TestSuite

from sandbox.json_report import plain
from sandbox.verdict import Conversation, Line, Verdict
from sandbox.wording import closing_line, measured, reason_of, told, why_unchecked

SUITE: Final = "voice run"
_NOT_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write_junit(path: Path, verdict: Verdict) -> None:
    """Replaces the file. Raises OSError."""
    suite = TestSuite(SUITE)
    suite.add_property("how", _xml(verdict.how))
    suite.add_property("verdict", _xml(closing_line(verdict)))
    suite.add_testcases([_case(one) for one in verdict.conversations])
    document = JUnitXml(SUITE)
    document.add_testsuite(suite)
    document.write(str(path), pretty=True)


def _case(one: Conversation) -> TestCase:
    # The number stands there even when there is one run: a test that changes its name has lost its history.
    case = TestCase(_xml(f"{one.scenario} [{one.attempt}]"), _xml(one.file), round(one.seconds, 3))
    outcome = _outcome(one)
    if outcome is not None:
        case.result = [outcome]
    case.system_out = _xml("\n".join(_told(one)))
    return case


def _outcome(one: Conversation) -> Error | Failure | Skipped | None:
    if one.passed:
        return None
    if one.problem:
        error = Error(_xml(reason_of(one)), "problem")
        error.text = _xml(one.problem)
        return error
    if one.failures:
        failure = Failure(_xml(reason_of(one)), "check")
        failure.text = _xml("\n".join(told(check) for check in one.failures))
        return failure
    skipped = Skipped()
    skipped.text = "nothing could be checked"
    return skipped


def _told(one: Conversation) -> Iterator[str]:
    """What a reader wants beside the failure: the conversation, the measures, what was not checked, and where it is."""
    yield from ([one.about, ""] if one.about else [])
    yield from (_line(line) for line in one.transcript)
    yield ""
    yield from (f"{measure.label}: {figures} {measure.unit}".rstrip() for measure, figures in measured(one))
    yield from (f"not checked: {check.name}: {why_unchecked(check)}" for check in one.unchecked)
    yield f"seed: {one.seed}"
    if one.folder is not None:
        yield f"artifacts: {one.folder}"


def _line(line: Line) -> str:
    if line.who != "tool":
        return f"{line.at:7.2f} s  {line.who:<6}  {line.text}"
    answered = "answered" if line.ok else "ERROR"
    arguments = json.dumps(plain(line.arguments), ensure_ascii=False)
    return f"{line.at:7.2f} s  tool    {line.text} {arguments} {answered}: {line.answer}"


def _xml(text: str) -> str:
    """Without the characters that XML cannot hold."""
    return _NOT_XML.sub("\ufffd", text)
