"""The table of docs/operations.md, "Sizing": its arithmetic, from the limits and the figures that it names."""

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


@pytest.fixture(scope="module")
def rows() -> dict[str, tuple[str, str]]:
    """By its first words, a row's figures: for one pod, for all calls."""
    text = (Path(__file__).parent.parent / "docs/operations.md").read_text()
    section = text.partition("\n## Sizing\n")[2].partition("\n## ")[0]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if "|" in line]
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
