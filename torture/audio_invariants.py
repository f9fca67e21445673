"""What was heard is what was said, in order; what was lost was counted; and a tail whenever one was owed."""

from collections.abc import Iterator
from math import inf

import numpy as np

from runtime import limits
from simulation.alignment import heard_is_what_was_said, received_is_what_was_spoken
from simulation.caller_report import CallerReport
from simulation.pcm import BYTES_PER_SAMPLE, FRAME_BYTES, FRAME_SECONDS, seconds_of
from torture.witness import Witness, witnesses
from torture.world import World

TAIL_DUE_SECONDS = limits.TAIL_OVERDUE_SECONDS + 1.0
LOUD = b"\xff\x7f"


def all_audio_is_accounted_for(world: World) -> Iterator[str]:
    """The equations of `CallRecord`: what came in went out, or was counted as discarded."""
    for call in witnesses(world):
        up = sum(map(call.count, ("setup_bytes_discarded", "uplink_bytes", "uplink_bytes_discarded")))
        if call.count("caller_bytes") != up:
            yield f"{call.id}: {call.count('caller_bytes')} bytes came from the caller, {up} are accounted for"
        down = sum(map(call.count, ("downlink_bytes", "interrupted_bytes", "downlink_bytes_discarded")))
        if call.count("agent_bytes") != down:
            yield f"{call.id}: {call.count('agent_bytes')} bytes came from Vapi, {down} are accounted for"


def uplink_is_whole(world: World) -> Iterator[str]:
    """Vapi heard the caller from the first frame behind those discarded in the set-up, whole and in order."""
    if world.plan.has("caller's bytes are corrupted", "vapi's bytes are corrupted"):
        return  # a turned bit in a sample cannot be seen by anybody
    for call in witnesses(world):
        if call.report is None or call.at_vapi is None or not call.at_vapi.heard:
            continue
        skipped = call.count("setup_bytes_discarded") // FRAME_BYTES
        found = heard_is_what_was_said(call.report.sent, bytes(call.at_vapi.heard), offset_frames=skipped)
        if not found.same:
            yield f"{call.id}: {found.problem}"
        if (
            len(call.at_vapi.heard)
            > call.count("uplink_bytes") + (call.count("uplink_silent_frames") + 1) * FRAME_BYTES
        ):
            yield f"{call.id}: Vapi heard {len(call.at_vapi.heard)} bytes, more than were counted as sent"
        if call.at_vapi.bytes_too_fast and world.plan.calm and world.plan.caller_weather.jitter_seconds == 0:
            yield f"{call.id}: Vapi heard audio {seconds_of(call.at_vapi.bytes_too_fast):.2f} s faster than real time"


def downlink_is_whole(world: World) -> Iterator[str]:
    """The caller received what Vapi spoke, whole and in order, but for what an interruption dropped, and for tails."""
    if world.plan.has("caller's bytes are corrupted", "vapi's bytes are corrupted"):
        return
    for call in witnesses(world):
        report, at_vapi = call.report, call.at_vapi
        if report is None or at_vapi is None:
            continue
        found = received_is_what_was_spoken(bytes(at_vapi.spoken), report.received_pcm, resumptions=at_vapi.cut_until)
        if not found.same:
            yield f"{call.id}: {found.problem}"
        if call.count("interrupted_bytes") and not call.count("interruptions"):
            yield f"{call.id}: audio was dropped without an interruption"
        dropped = call.count("interrupted_bytes") + call.count("downlink_bytes_discarded")
        # Silence that Vapi streams cannot be told from a tail. At each end of a gap a sample may be split.
        split = 2 * BYTES_PER_SAMPLE * at_vapi.interruptions
        if not world.plan.behaviour.streams_silence and found.dropped_bytes > dropped + split:
            yield f"{call.id}: an interruption dropped {found.dropped_bytes} bytes, {dropped} were counted"
        hung_up = [fault.kind for fault in world.plan.faults] == ["vapi hangs up"] and report.ending == "agent_hung_up"
        whole = call.count("downlink_bytes") + call.count("tail_bytes")
        if hung_up and not call.count("playouts_cut") and len(report.received_pcm) < whole:
            yield f"{call.id}: {whole - len(report.received_pcm)} bytes did not reach a caller who was there"
        if len(report.received_pcm) > call.count("downlink_bytes") + call.count("tail_bytes") + _in_hand(call):
            yield f"{call.id}: the caller received more than was counted as sent"


def _in_hand(call: Witness) -> int:
    """A message cut in the middle of its send counts as discarded, and may have arrived all the same."""
    return call.count("downlink_bytes_discarded") + FRAME_BYTES


def tails_are_paid(world: World) -> Iterator[str]:
    """Where speech was followed by nothing audible for long enough, it was followed by a tail; and by one at most."""
    plan = world.plan
    held_up = any("stall" in fault.kind or fault.kind.startswith("caller ") for fault in plan.faults)
    corrupted = plan.has("caller's bytes are corrupted", "vapi's bytes are corrupted")
    slow = min(plan.caller_weather.bytes_per_second, plan.vapi_weather.bytes_per_second) < 1e9
    for call in witnesses(world):
        if call.report is None or call.at_vapi is None:
            continue
        if not (held_up or corrupted or slow):
            pauses = _tool_pauses(call, world)
            yield from (f"{call.id}: {line}" for line in _unpaid(call.report, pauses, plan.tail_mode == "paced"))
        stretches = sum(entry.what == "speech-started" for entry in world.chronicle.entries if _is_of(call, entry.call))
        paid = call.count("tails") + call.count("tails_cut")
        # A chunk that was under way when its speech was interrupted comes behind the `stopped`, and may have its own.
        stretches += call.count("interruptions")
        if plan.calm and plan.behaviour.late_stopped_ms >= 0 and paid > stretches:
            yield f"{call.id}: {paid} tails behind {stretches} stretches of speech: one lies within its speech"
        if plan.calm and "speech-update" not in plan.behaviour.silent_texts and call.count("tails_overdue"):
            yield f"{call.id}: {call.count('tails_overdue')} tails were overdue, although Vapi said `stopped`"


def _is_of(call: Witness, name: str) -> bool:
    return call.at_vapi is not None and call.at_vapi.id.startswith(name) and name != ""


def _tool_pauses(call: Witness, world: World) -> list[tuple[float, float]]:
    """In order, when a tail may be held for a tool call: begin and end, in seconds since the caller connected."""
    ended = [(entry.at - entry.data["seconds"], entry.at) for entry in call.events if entry.what == "tool-answer"]
    asked = [(entry.at, entry.at) for entry in world.chronicle.of("posted") if _is_of(call, entry.call)]
    held_seconds = limits.TAIL_AFTER_TOOL_SECONDS
    return sorted((began - call.began, end - call.began + held_seconds) for began, end in [*ended, *asked])


def _unpaid(report: CallerReport, pauses: list[tuple[float, float]], paced: bool) -> Iterator[str]:
    """Every place where nothing audible came for so long that the tail must have come instead."""
    ended_at, silent_bytes = inf, 0
    wanted_seconds = TAIL_DUE_SECONDS + (limits.TAIL_SECONDS if paced else 0.0)
    for at, pcm in [*((chunk.at, chunk.pcm) for chunk in report.received), (report.duration_seconds, LOUD)]:
        behind = _silence_behind(pcm)
        if behind is None:
            silent_bytes += len(pcm)
            continue
        due_from = ended_at
        for begins, ends in pauses:
            due_from = max(due_from, ends) if begins <= due_from + wanted_seconds else due_from
        if at - due_from > wanted_seconds and seconds_of(silent_bytes) < limits.TAIL_SECONDS - FRAME_SECONDS:
            yield f"{seconds_of(silent_bytes):.2f} s of silence behind speech that ended at {ended_at:.2f} s"
        ended_at, silent_bytes = at + seconds_of(len(pcm)), behind


def _silence_behind(pcm: bytes) -> int | None:
    """Bytes behind the last audible sample; None when none is audible."""
    samples = np.frombuffer(pcm[: len(pcm) - len(pcm) % BYTES_PER_SAMPLE], dtype="<i2").astype(np.int32)
    audible = np.flatnonzero(np.abs(samples) >= limits.AUDIBLE_PEAK)
    return int(len(samples) - 1 - audible[-1]) * BYTES_PER_SAMPLE if len(audible) else None
