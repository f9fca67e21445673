"""What a run of the bench measures, how often and for how long."""

from collections.abc import Sequence
from typing import Final, Literal, TypeVar, get_args

import attrs

from bench.bridges import TRANSPORTS, Transport

T = TypeVar("T")
Part = Literal["audio", "setup", "webhook", "growth", "watching", "pods"]
PARTS: Final[tuple[Part, ...]] = get_args(Part)
PAIRS: Final = 7
"""A ratio is decided from this many alternations on."""
MIN_SECONDS: Final = 2.0
"""Of a window whose numbers are kept: one that is shorter says little of a single call."""
MEMORY_FROM_CALLS: Final = 10
MEMORY_TO_CALLS: Final = 100


@attrs.frozen
class Plan:
    repetitions: int = PAIRS
    seconds: float = 3.5
    """Of each measured window."""
    warm_seconds: float = 1.0
    """From the moment all calls are up until a window begins."""
    calls: tuple[int, ...] = (1, 20, 100)
    grain_ns: int = 1_000_000
    """Frames are sent on multiples of this: their times are spread over the 20 ms, in steps so fine."""
    transports: tuple[Transport, ...] = TRANSPORTS
    parts: tuple[Part, ...] = PARTS
    rounds: int = 3
    """Alternations of set-up and webhook."""
    short_calls: int = 10
    """Per round and bridge, for set-up and teardown."""
    concurrent: tuple[int, ...] = (1, 50)
    posts: tuple[int, ...] = (150, 1_000)
    """To the webhook, per round and bridge, for each of `concurrent`."""
    growth_calls: tuple[int, ...] = (1, 10, 25, 50, 100, 150, 200, 250, 300, 400, 500, 650, 800, 1_000)
    growth_seconds: float = 2.0
    watching_repetitions: int = PAIRS
    watching_seconds: float = 2.0
    """Of a window in which somebody looks, or records: whole seconds, since they do so once or twice in each."""
    watching_warm_seconds: float = 0.5
    decoding_rounds: int = 3
    decoding_calls: int = 20
    decoding_seconds: float = 10.0
    """How long the calls last whose recordings are decoded: in shorter ones, a file of each would weigh too much."""

    pods_repetitions: int = PAIRS
    pods_calls: tuple[int, ...] = (20, 40)
    """For each pod; two pods have twice as many together, and one core. Each twice the one before: so one pod also
    has as many as two have together."""
    pods_tool_every_seconds: float = 5.0
    """Each call asks for a tool that often, through nginx where there is one."""

    @property
    def is_whole(self) -> bool:
        """Its results answer every question of the bench."""
        full = Plan()
        return (
            set(self.parts) == set(full.parts)
            and set(self.transports) == set(full.transports)
            and set(self.calls) >= set(full.calls)
            and self.repetitions >= PAIRS
            and self.seconds >= MIN_SECONDS
            and self.rounds >= full.rounds
            and self.watching_repetitions >= PAIRS
            and self.watching_seconds >= MIN_SECONDS
            and self.pods_repetitions >= PAIRS
            and self.grain_ns == full.grain_ns
        )


QUICK: Final = Plan(
    repetitions=2, seconds=1.0, warm_seconds=0.5, rounds=1, short_calls=3, concurrent=(1, 20), posts=(30, 200),
    growth_calls=(1, 10, 50, 100), growth_seconds=1.0,
    watching_repetitions=1, watching_seconds=0.5, watching_warm_seconds=0.2, decoding_rounds=1, decoding_seconds=1.0,
    pods_repetitions=1,
)  # fmt: skip


def rotated(items: Sequence[T], by: int) -> list[T]:
    """Each is first in its turn, so that none always runs on a cold or a warm machine."""
    by %= len(items)
    return [*items[by:], *items[:by]]
