"""One seed, from its number to its verdict."""

import gc
import ssl
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
import trio
import trustme

from db.seed import read_bank_files
from simulation.speech import Tones
from torture.chronicle import Chronicle, Entry
from torture.determinism import TraceHash, run_decided
from torture.faults import misfortunes
from torture.invariants import breaches
from torture.plan import Plan, plan_for
from torture.world import Rig, World, run_plan

MS_PER_WORD = 40
NOTEWORTHY = ("interruptions", "interrupted_bytes", "tool_results", "tool_errors", "tool_duplicates", "playouts_cut")


@attrs.frozen
class Outcome:
    """What is told of a run. `trace`, where it was traced: a number that two runs share only if they were the same."""

    seed: int
    plan: str
    breaches: tuple[str, ...]
    trace: str
    virtual_seconds: float
    wall_seconds: float
    calls: int
    peaks: dict[str, float]
    happened: Counter[str]
    """How often each thing came about that a run can miss: faults that strike nothing prove nothing."""


def run_seed(seed: int, rig: Rig, show: Callable[[Entry], None] | None = None) -> Outcome:
    """Run `seed` and judge it. With `show`, every step is traced, and every entry of the chronicle shown in the end."""
    plan, chronicle = plan_for(seed), Chronicle()
    began = time.perf_counter()
    gc.disable()  # a run makes some ten megabytes; collecting them bit by bit takes a fifth of the time
    try:
        world, trace, seconds = run_decided(
            seed, lambda trace: _held(plan, rig, chronicle, trace), traced=show is not None
        )
    finally:
        gc.enable()
        gc.collect()
        if show is not None:
            for entry in chronicle.entries:
                show(entry)
    if show is not None:
        for entry in chronicle.entries:
            trace.add(str(entry))
    return Outcome(
        seed=seed,
        plan=str(plan),
        breaches=tuple(breaches(world)),
        trace=trace.hexdigest() if show is not None else "",
        virtual_seconds=seconds,
        wall_seconds=time.perf_counter() - began,
        calls=len(world.cloud.calls),
        peaks=_peaks(chronicle),
        happened=_happened(world),
    )


async def _held(plan: Plan, rig: Rig, chronicle: Chronicle, trace: TraceHash) -> tuple[World, TraceHash, float]:
    world = await run_plan(plan, rig, chronicle, misfortunes)
    return world, trace, trio.current_time()


def _happened(world: World) -> Counter[str]:
    found = Counter[str]()
    for entry in world.chronicle.of("call-over"):
        found["ended: " + entry.data["reason"].partition(":")[0]] += 1
        counts: dict[str, int] = entry.data["counts"]
        found.update({name: counts[name] for name in NOTEWORTHY if counts.get(name)})
    if world.house is not None:
        found.update(world.house.vapi_calls.counts)
        found["reports dropped"] += world.house.reporter.counts["dropped"]
    return +found


def _peaks(chronicle: Chronicle) -> dict[str, float]:
    """The fullest that each channel of any call was, in seconds of audio."""
    found: dict[str, float] = {}
    for entry in chronicle.of("call-over"):
        for name, peak in entry.data["peaks"].items():
            found[name] = max(peak, found.get(name, 0.0))
    return found


@contextmanager
def open_rig() -> Iterator[Rig]:
    """What all runs of this process share, for the body."""
    # RSA, because its signatures all have one length: the same run must take the same bytes.
    authority = trustme.CA(key_type=trustme.KeyType.RSA)
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1", key_type=trustme.KeyType.RSA).configure_cert(server)
    with authority.cert_pem.tempfile() as ca_file:
        yield Rig(server, Path(ca_file), trio.run(read_bank_files), Tones(ms_per_word=MS_PER_WORD))
