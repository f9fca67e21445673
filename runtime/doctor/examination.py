"""Runs the checks, all at once and each within a time of its own: what one of them meets never hides another's row."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

import attrs
import structlog
import trio

from runtime.doctor.finding import Finding
from runtime.settings import Reading, setting_fields

CHECK_SECONDS: Final = 20.0  # the slowest is a database that does not answer, or a program that has to be stopped
SECRET_CHARACTERS: Final = 4  # a shorter one is no secret, and would be found in every other word

Look = Callable[[Reading], Awaitable[Sequence[Finding]]]

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger(actor="Doctor")


@attrs.frozen
class Check:
    """`needs`: the variables without whose right values there is nothing to look at."""

    name: str
    look: Look
    needs: tuple[str, ...] = ()


def in_thread(look: Callable[[Reading], Sequence[Finding]]) -> Look:
    """For a look at files: a disk that hangs must hold up nobody else. The thread is left behind then."""

    async def threaded(reading: Reading) -> Sequence[Finding]:
        return await trio.to_thread.run_sync(look, reading, abandon_on_cancel=True)

    return threaded


async def examine(reading: Reading, checks: Sequence[Check], seconds: float = CHECK_SECONDS) -> list[Finding]:
    """The findings in the order of the checks; `seconds` for each. No secret of the settings is in them."""
    found: list[Sequence[Finding]] = [()] * len(checks)

    async def run(index: int, check: Check) -> None:
        found[index] = await _guarded(reading, check, seconds)

    async with trio.open_nursery() as nursery:
        for index, check in enumerate(checks):
            nursery.start_soon(run, index, check)
    secrets = _secrets(reading)
    return [_without(secrets, finding) for findings in found for finding in findings]


async def _guarded(reading: Reading, check: Check, seconds: float) -> Sequence[Finding]:
    """The check's barrier."""
    if missing := [variable for variable in check.needs if variable in reading.wrong]:
        return [Finding("skipped", check.name, f"not looked at: {' and '.join(missing)} must be right first")]
    with trio.move_on_after(seconds):
        try:
            return await check.look(reading)
        except Exception as exc:  # noqa: BLE001  # a barrier: its own row, and the others'
            _log.debug("check_failed", check=check.name, exc_info=True)
            line = f"this check itself failed: {type(exc).__name__}"
            return [Finding("wrong", check.name, line, "report it, with what LOG_LEVEL=debug prints")]
    return [Finding("unreachable", check.name, f"not found out within {seconds:g} s", "try again on a quieter machine")]


def _secrets(reading: Reading) -> list[str]:
    """Longest first, so that none is left in part."""
    found: set[str] = set()
    for field in setting_fields():
        value = getattr(reading.settings, field.name)
        if field.metadata["secret"] and value:
            found.add(value)
    if reading.settings.database_url:
        found |= _passwords(reading.settings.database_url)
    return sorted((secret for secret in found if len(secret) >= SECRET_CHARACTERS), key=len, reverse=True)


def _passwords(url: str) -> set[str]:
    try:
        parts = urlsplit(url)
        written = {parts.password or "", *parse_qs(parts.query).get("password", [])}
    except ValueError:
        return set()
    return written | {unquote(password) for password in written}


def _without(secrets: Sequence[str], finding: Finding) -> Finding:
    found, advice = finding.found, finding.advice
    for secret in secrets:
        found, advice = found.replace(secret, "********"), advice.replace(secret, "********")
    return attrs.evolve(finding, found=found, advice=advice)
