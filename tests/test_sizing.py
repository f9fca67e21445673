"""docs/operations.md, "Sizing", and the memory that deploy/ plans: the arithmetic, from limits and measured figures."""

import re
from pathlib import Path

import pytest

from runtime import limits
from runtime.doctor.machine import files_finding

CALLS, A_POD = 10_000, 125
TOOL_SECONDS, CALL_SECONDS = 5, 180
BASE_MIB, A_CALL_KIB, RECORDED_KIB = 67, 149, 362  # README.md, bench/README.md
PODS = CALLS // A_POD
SPARE = PODS // 10
A_SECOND = limits.AUDIO_BYTES_PER_SECOND
ON_AVERAGE = 97  # calls for each pod, when chance spreads them
ROOT = Path(__file__).parent.parent
K8S = ROOT / "deploy/k8s"


def sizing() -> str:
    text = (ROOT / "docs/operations.md").read_text()
    return text.partition("\n## Sizing\n")[2].partition("\n## ")[0]


@pytest.fixture(scope="module")
def rows() -> dict[str, tuple[str, str]]:
    """By its first words, a row's figures: for one pod, for all calls."""
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in sizing().splitlines() if "|" in line]
    return {row[0]: (row[2], row[3]) for row in cells if len(row) == 4}


def mib(kib_a_call: int) -> tuple[str, str]:
    a_pod = BASE_MIB + A_POD * kib_a_call / 1024
    return f"{a_pod:.0f} MiB", f"{PODS * a_pod / 1024:.1f} GiB"


def test_pods_and_memory_are_as_said(rows: dict[str, tuple[str, str]]) -> None:
    assert rows["pods, cores"] == ("1", f"{PODS} + {SPARE}")
    assert rows["memory"] == mib(A_CALL_KIB)
    assert rows["the same with `RECORD_CALLS=on`"] == mib(RECORDED_KIB)


def test_bandwidth_is_as_said(rows: dict[str, tuple[str, str]]) -> None:
    a_pod, all_calls = (2 * calls * A_SECOND / 1e6 for calls in (A_POD, CALLS))
    assert rows["audio in, and as much out"] == (
        f"{a_pod:.0f} MB/s, {8 * a_pod:.0f} Mbit/s",
        f"{all_calls:.0f} MB/s, {8 * all_calls / 1e3:.1f} Gbit/s",
    )
    assert rows["disk for recordings"] == (f"{a_pod:.0f} MB/s", f"{all_calls:.0f} MB/s")
    an_hour = CALLS * A_SECOND * 3600 / 1e12
    assert rows["of this over the internet, to Vapi and back"][1] == f"{an_hour:.1f} TB an hour each way"


def test_requests_are_as_said(rows: dict[str, tuple[str, str]]) -> None:
    def transactions(calls: int) -> float:
        return calls / TOOL_SECONDS + 2 * calls / CALL_SECONDS

    assert rows["new calls"] == (f"{A_POD / CALL_SECONDS:.1f} a second", f"{CALLS / CALL_SECONDS:.0f} a second")
    assert rows["tools at the gateway"] == (
        f"{A_POD / TOOL_SECONDS:.0f} a second",
        f"{CALLS // TOOL_SECONDS:,} a second",
    )
    assert rows["PostgreSQL, transactions"] == tuple(f"{transactions(calls):,.0f} a second" for calls in (A_POD, CALLS))
    assert A_POD / TOOL_SECONDS * 2 == limits.GATEWAY_REQUESTS_PER_SECOND
    assert rows["Vapi, minutes"] == (f"{60 * A_POD:,} an hour", f"{60 * CALLS:,} an hour")


def test_what_each_process_may_open_is_as_said(rows: dict[str, tuple[str, str]]) -> None:
    pool = limits.DATABASE_POOL_CONNECTIONS
    assert rows["connections to PostgreSQL, at most"] == (f"{pool}", f"{pool * (PODS + SPARE)}")
    (most,) = re.findall(r"at most (\d+) are needed", files_finding(A_POD, False, (10_000, 10_000)).found)
    assert rows["open files"][0] == f"{int(most):,}"


def refused(calls_on_average: int) -> float:
    """Erlang's formula B: of the callers whom chance leads to a pod of A_POD calls, the part that finds it full."""
    part = 1.0
    for call in range(1, A_POD + 1):
        part = calls_on_average * part / (call + calls_on_average * part)
    return part


def test_margin_for_a_spread_by_chance_is_as_said() -> None:
    said = " ".join(sizing().partition("Nothing does.**")[2].split())
    assert f"one caller in {1 / refused(A_POD):.0f} is refused at {A_POD} on average" in said
    assert f"one in {round(1 / refused(100), -2):.0f} at 100" in said
    assert refused(ON_AVERAGE) < 0.001 < refused(ON_AVERAGE + 1)
    pods = -(-CALLS // ON_AVERAGE)
    assert (
        f"than one in 1,000 at {ON_AVERAGE}. For 10,000 calls these are {pods} pods and {pods // 10} to spare" in said
    )
    assert f"with {limits.DATABASE_POOL_CONNECTIONS * (pods + pods // 10):,} connections" in said


def test_default_of_postgresql_is_enough_for_as_many_pods_as_said() -> None:
    pods = (100 - 3) // limits.DATABASE_POOL_CONNECTIONS
    assert f"The 100 of its default are enough for {pods} pods" in sizing()
    assert f"`max_connections` of 100 that is {pods} pods" in (K8S / "README.md").read_text()


def test_manifest_plans_the_memory_that_was_measured() -> None:
    text = (K8S / "README.md").read_text()
    assert f"{BASE_MIB} MiB, and {A_CALL_KIB} KiB for each call ({RECORDED_KIB} KiB if recorded)" in text
    recorded = BASE_MIB + limits.MAX_CALLS * RECORDED_KIB / 1024
    assert f"{limits.MAX_CALLS} recorded calls have {recorded:.0f} MiB" in text
    manifest = " ".join((K8S / "voice.yaml").read_text().replace("#", " ").split())
    kept = f"{BASE_MIB} MiB and {A_CALL_KIB / 1024:.2f} MiB for each of {limits.MAX_CALLS} calls"
    assert f"{kept}, {RECORDED_KIB / 1024:.2f} MiB if recorded" in manifest
    unwritten = limits.RECORD_UNWRITTEN_BYTES >> 20
    assert f"{unwritten} MiB of unwritten recordings" in manifest
    (most,) = re.findall(
        r"limits: \{memory: (\d+)Mi\}", manifest.partition("unwritten recordings")[2].partition("---")[0]
    )
    assert int(most) > recorded + 2 * unwritten
