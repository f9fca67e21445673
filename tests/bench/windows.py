"""Windows as if they had been measured."""

from typing import Any

from bench.bridges import KINDS
from bench.outcome import Outcome
from bench.plan import Plan
from bench.spread import Latency
from bench.usage import Memory
from bench.windows import MemoryPoint, Window

CPU = {"ours": 1.0, "reference": 2.0, "relay": 0.8}
BASE_MIB = {"ours": 40.0, "reference": 60.0, "relay": 30.0}


def window(kind: Any, transport: Any, calls: int, repetition: int, **changes: Any) -> Window:
    values: dict[str, Any] = {
        "bridge": kind, "transport": transport, "calls": calls, "repetition": repetition,
        "seconds": 2.0, "cpu_seconds": CPU[kind] * calls / 100, "frames": 200 * calls,
        "up": Latency(0.1, CPU[kind], 3.0), "down": Latency(0.1, CPU[kind] / 2, 3.0),
        "memory": Memory(BASE_MIB[kind] + CPU[kind] * calls / 10, None, None),
        "load_share": 0.2, "late_share": 0.0, "lost": 0, "reordered": 0, "damaged": 0,
    }  # fmt: skip
    return Window(**(values | changes))


def measured(repetitions: int = 7) -> Outcome:
    """A whole audio part in which ours costs half of the reference and 1.25 times the relay."""
    outcome = Outcome(Plan(repetitions=repetitions))
    for repetition in range(repetitions):
        for transport in ("tls", "plain"):
            for kind in KINDS:
                of_one = [window(kind, transport, calls, repetition) for calls in (1, 10, 20, 100)]
                outcome.audio.windows += [one for one in of_one if one.calls != 10]
                outcome.audio.memory += [
                    MemoryPoint(kind, one.transport, one.calls, repetition, one.memory) for one in of_one
                ]
    return outcome
