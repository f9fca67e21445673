"""What watching costs, from its windows: each figure beside that of `ours` in the same repetition. Pure."""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from bench.spread import Spread
from bench.watching import Manner, WatchedWindow, Watching
from bench.windows import Window

FRAMES_PER_SECOND: Final = 50


def of_manner(windows: Sequence[WatchedWindow], manner: Manner) -> dict[int, list[WatchedWindow]]:
    """By number of calls, the fewest first."""
    groups: dict[int, list[WatchedWindow]] = {}
    for one in sorted(windows, key=lambda one: one.window.calls):
        if one.manner == manner:
            groups.setdefault(one.window.calls, []).append(one)
    return groups


def pairs(
    windows: Sequence[WatchedWindow], manner: Manner, calls: int
) -> Iterator[tuple[WatchedWindow, WatchedWindow]]:
    """(theirs, ours) of each repetition in which both were measured."""
    ours = {one.window.repetition: one for one in windows if one.manner == "ours" and one.window.calls == calls}
    for one in windows:
        if one.manner == manner and one.window.calls == calls and one.window.repetition in ours:
            yield one, ours[one.window.repetition]


def ratio(
    windows: Sequence[WatchedWindow], manner: Manner, calls: int, value: Callable[[Window], float]
) -> Spread | None:
    """Theirs / ours; None when no repetition has both."""
    found = [value(theirs.window) / value(ours.window) for theirs, ours in pairs(windows, manner, calls)]
    return Spread.of(found) if found else None


def more_ms_per_second(windows: Sequence[WatchedWindow], manner: Manner, calls: int) -> Spread | None:
    """CPU beyond ours, of the whole process, in ms of each second."""
    found = [
        (theirs.window.bridge_share - ours.window.bridge_share) * 1e3 for theirs, ours in pairs(windows, manner, calls)
    ]
    return Spread.of(found) if found else None


def slope_between(windows: Sequence[WatchedWindow]) -> tuple[int, int] | None:
    """The two largest numbers of calls: between them the memory of a call is told."""
    numbers = sorted({one.window.calls for one in windows})
    return (numbers[-2], numbers[-1]) if len(numbers) > 1 else None


def kib_per_call(windows: Sequence[WatchedWindow], manner: Manner) -> Spread | None:
    """RSS, between the two largest numbers of calls."""
    between = slope_between(windows)
    if between is None:
        return None
    rss = {
        (one.window.repetition, one.window.calls): one.window.memory.rss_mib * 1024
        for one in windows
        if one.manner == manner
    }
    low, high = between
    found = [
        (kib - rss[repetition, low]) / (high - low)
        for (repetition, calls), kib in rss.items()
        if calls == high and (repetition, low) in rss
    ]
    return Spread.of(found) if found else None


def harmed(watching: Watching, seconds: float) -> list[int]:
    """Per repetition, all its windows together; one that could not be measured lost all of its frames."""
    per_repetition: dict[int, int] = {}
    for one in watching.windows:
        number = one.window.repetition
        per_repetition[number] = per_repetition.get(number, 0) + one.window.harmed
    for failed in watching.failed:
        lost = int(failed.calls * 2 * FRAMES_PER_SECOND * seconds)
        per_repetition[failed.repetition] = per_repetition.get(failed.repetition, 0) + lost
    return list(per_repetition.values())
