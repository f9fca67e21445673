"""What may lack when a call is over: audio that was under way, and nothing that should have come or gone before."""

from typing import Any

import attrs
import pytest

from simulation.evidence import Evidence
from simulation.pcm import BYTES_PER_SECOND
from simulation.playout import Chunk
from simulation.vapi_call import SimulatedCall
from tests.simulation.made_evidence import REPORT, call_of, checks_of, evidence_of

HEARD = "the caller heard the agent bit for bit"
ENDED = "the Vapi call ended"
UNDERSTOOD = "Vapi understood every message and got audio in real time"
SPEECH = bytes(range(1, 241)) * (BYTES_PER_SECOND // 240)
HUNG_UP_AT = 10.0


def speaking_until(end: float, seconds: float = 2.0) -> SimulatedCall:
    """A call whose assistant spoke for so long, in messages of a tenth of a second, up to that time."""
    call = call_of()
    call.spoken.clear()
    count = round(seconds * 10)
    for number in range(count):
        call.spoken += SPEECH[: BYTES_PER_SECOND // 10]
        call.spoken_at.append((end - (count - number) * 0.1, len(call.spoken)))
    return call


def heard_without(call: SimulatedCall, lost_seconds: float, **report: Any) -> bool:
    """Whether the check passes when so much lacks at the end of what the caller, who left at HUNG_UP_AT, received."""
    received = bytes(call.spoken)[: len(call.spoken) - round(lost_seconds * BYTES_PER_SECOND)]
    told = attrs.evolve(REPORT, duration_seconds=HUNG_UP_AT, received=(Chunk(1.0, received),), **report)
    return checks_of(evidence_of(report=told, cloud_call=call))[HEARD].passed


@pytest.mark.parametrize(
    ("ended_before_seconds", "lost_seconds", "passed"),
    [(0.0, 0.4, True), (0.0, 0.7, False), (0.3, 0.1, True), (0.3, 0.4, False), (1.0, 0.1, False), (1.0, 0.0, True)],
)
def test_downlink_may_lack_only_what_was_said_lately_when_the_caller_hangs_up(
    ended_before_seconds: float, lost_seconds: float, passed: bool
) -> None:
    call = speaking_until(HUNG_UP_AT - ended_before_seconds)
    assert heard_without(call, lost_seconds) is passed


def test_downlink_may_lack_more_when_the_caller_is_late_itself() -> None:
    call = speaking_until(HUNG_UP_AT)
    assert heard_without(call, 0.7, lateness_ms=300.0)


def test_downlink_may_lack_nothing_when_the_assistant_has_ended_the_call() -> None:
    call = speaking_until(HUNG_UP_AT)
    call.ended_by = "assistant"
    assert not heard_without(call, 0.1, ending="agent_hung_up")
    assert heard_without(call, 0.0, ending="agent_hung_up")
    assert heard_without(call, 0.1)  # the caller was faster


def test_downlink_may_lack_the_end_when_it_was_cut_by_an_interruption() -> None:
    call = speaking_until(HUNG_UP_AT - 5.0)
    call.interruptions = 1
    assert heard_without(call, 1.5)


def test_check_of_the_end_fails_when_another_call_goes_on() -> None:
    other = call_of()
    evidence: Evidence = evidence_of(other_calls=(other,))
    assert checks_of(evidence)[ENDED].passed
    other.status = "queued"
    assert not checks_of(evidence)[ENDED].passed
    assert "1 more" in checks_of(evidence)[ENDED].detail


@pytest.mark.parametrize(
    ("asked", "passed"),
    [
        ({"format": "pcm_s16le", "container": "raw", "sampleRate": 24_000}, True),
        ({"format": "pcm_s16le", "container": "raw", "sampleRate": 8_000}, False),
        ({"format": "mulaw", "container": "raw", "sampleRate": 24_000}, False),
        ({}, True),
    ],
)
def test_vapi_was_misunderstood_when_it_was_asked_for_audio_it_does_not_have(
    asked: dict[str, Any], passed: bool
) -> None:
    call = attrs.evolve(call_of(), request={"transport": {"provider": "vapi.websocket", "audioFormat": asked}})
    call.heard += b"\0\0"
    call.over.set()
    assert checks_of(evidence_of(cloud_call=call))[UNDERSTOOD].passed is passed
