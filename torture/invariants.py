"""What must hold after every run, whatever happened in it. Each rule reads the ended world and names its breaches."""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final

from runtime import limits
from simulation.vapi_call import SimulatedCall
from simulation.vapi_cloud import NEVER_CONNECTED
from torture.audio_invariants import all_audio_is_accounted_for, downlink_is_whole, tails_are_paid, uplink_is_whole
from torture.tool_invariants import tools_run_once
from torture.witness import Witness, witnesses
from torture.world import World

Rule = Callable[[World], Iterator[str]]
VANISHED_SECONDS: Final = 10.0
PROMPT_SECONDS: Final = 0.1
UNSEEN: Final = ("caller vanishes", "caller reads nothing", "vapi vanishes", "vapi reads nothing")
SIGNALS: Final = ("sigterm", "second sigterm")
FAST: Final = 1e9
ENDS_OF_WORK: Final = ("call-over", "orphan_ended", "possibly_billed", "has left", "report_dropped")
CODES: Final = {
    "call_ended": 1000,
    "shutting_down": 1001,
    "callee_no_answer": 1011,
    "vapi_lost": 1011,
    "internal_error": 1011,
    "caller_stalled": 1011,
    "half_a_sample": 1007,
    "malformed_message": 1007,
    "text_in_binary_mode": 1003,
    "binary_in_json_mode": 1003,
    "frame_too_long": 1009,
}


def breaches(world: World) -> Iterator[str]:
    for rule in RULES:
        for breach in rule(world):
            yield f"{rule.__name__.replace('_', ' ')}: {breach}"


def all_is_gone(world: World) -> Iterator[str]:
    """No task, no socket, no registered call."""
    if not world.finished:
        yield "the run did not end"
    for name, count in world.tasks_left.items():
        yield f"{count} task(s) left: {name}"
    for link in world.legs_left:
        yield f"a leg was left open: {link.client} {link.server}"
    for socket in world.sockets_left:
        yield f"left open: {socket}"
    over = Counter(entry.call for entry in world.chronicle.of("call-over", "runtime"))
    for entry in world.chronicle.of("connected", "caller"):
        if over[entry.call] != 1:
            yield f"{entry.call} was told over {over[entry.call]} times"
    if (
        world.closing_since is not None
        and world.doors_closed_at - world.closing_since > limits.REPORT_FLUSH_SECONDS + 1
    ):
        yield f"the doors took {world.doors_closed_at - world.closing_since:.1f} s to close with nothing to do"


def every_channel_kept_its_bound(world: World) -> Iterator[str]:
    """The channels' peaks are recorded, and within their bounds."""
    bounds = {
        "caller_audio_seconds": limits.CALLER_AUDIO_SECONDS,
        "agent_audio_seconds": limits.AGENT_AUDIO_SECONDS,
    }
    for call in witnesses(world):
        longest = call.held.plan.frame_ms / 1000 if call.held else limits.CALLER_MESSAGE_BYTES / 48_000
        if call.peaks.get("tool_posts_items", 0) > limits.TOOL_QUEUE_ITEMS:
            yield f"{call.id}: {call.peaks['tool_posts_items']} POSTs were queued"
        for name, bound in bounds.items():
            if name not in call.peaks:
                yield f"{call.id}: no peak of {name} was recorded"
            elif call.peaks[name] > max(bound, longest) + 0.001:  # peaks are rounded to milliseconds
                yield f"{call.id}: {name} reached {call.peaks[name]:.3f} s, its bound is {bound:g} s"
    if world.house is not None and world.house.reporter.peak_queued > limits.REPORTS_ITEMS:
        yield f"{world.house.reporter.peak_queued} reports were queued"


def calls_end_in_time(world: World) -> Iterator[str]:
    """A side that has gone, in whatever way, ends the call: at once where that can be seen, else within 10 s."""
    for call in witnesses(world):
        for why, at, bound in _ends(world, call):
            if call.over > max(at, call.began) + bound:
                yield f"{call.id}: {why} at {at:.2f} s, the call was over at {call.over:.2f} s, allowed {bound:.2f} s"


def _ends(world: World, call: Witness) -> Iterator[tuple[str, float, float]]:
    """What ended the call: why, when, and within how long it must be over."""
    prompt, queued = _prompt_bound(world), call.peaks.get("agent_audio_seconds", 0.0)
    struck = [struck for struck in world.struck if struck.call == call.number]
    held_up = [one for one in struck if "stall" in one.kind or one.kind in UNSEEN]
    if call.report is not None:
        left_at = call.report.connected_mono + call.report.duration_seconds
        # A line that stands still brings the news late; so does a slow one, to Vapi too: they lie behind audio then.
        calm_line = not held_up and _fast(world)
        yield "the caller had gone", left_at, prompt if calm_line else VANISHED_SECONDS + 1.0 + _stalls(world)
    for one in struck:
        if one.kind in UNSEEN:
            # What Vapi has said is still played out; it runs ahead of real time by very little.
            yield one.kind, one.at, VANISHED_SECONDS + 1.0 + (3.0 if one.kind.startswith("vapi") else 0.0)
        elif one.kind in ("caller resets", "caller leaves without a word") and not held_up:
            yield one.kind, one.at, prompt
    if call.at_vapi is not None and call.at_vapi.ended_by in ("vapi", "assistant"):
        # A guest who breaks the protocol while we close cannot be understood any more, and is waited for.
        slow = held_up or not _fast(world) or call.held is None
        played_out = limits.PLAYOUT_SECONDS + limits.LAST_WORDS_SECONDS if slow else queued
        ended_at = _ended_at(world, call.at_vapi)
        if ended_at is not None and not any("vapi" in one.kind for one in held_up):
            yield "Vapi had ended the call", ended_at, played_out + prompt
    hindered = 0.0 if all(fault.kind in SIGNALS for fault in world.plan.faults) else limits.CALLS_END_SECONDS
    for signalled, bound in zip(world.signalled_at, (limits.DRAIN_SECONDS, 0.0), strict=False):
        yield "SIGTERM", signalled, bound + hindered + prompt


def _stalls(world: World) -> float:
    return sum(fault.seconds for fault in world.plan.faults if "stall" in fault.kind)


def _fast(world: World) -> bool:
    return min(world.plan.caller_weather.bytes_per_second, world.plan.vapi_weather.bytes_per_second) > FAST


def _ended_at(world: World, at_vapi: SimulatedCall) -> float | None:
    ended = (entry.at for entry in world.chronicle.of("call-ended", "~vapi") if at_vapi.id.startswith(entry.call))
    return next(ended, None)


def _prompt_bound(world: World) -> float:
    """100 ms at the table's 10 ms latency: a round trip to each side, and the peer's part in each close."""
    plan = world.plan
    both = (plan.caller_weather, plan.vapi_weather)
    trips = sum(6 * (weather.latency_seconds + weather.jitter_seconds) for weather in both)
    # A side that does not answer a close is waited for, in bounded time.
    return PROMPT_SECONDS + trips + (0.0 if plan.calm else 4 * limits.CLOSE_SECONDS)


def nothing_lingers(world: World) -> Iterator[str]:
    """Once the last thing has happened, the tasks are gone; and the doors close within what their signal allows."""
    times = [entry.at for entry in world.chronicle.entries if entry.what in ENDS_OF_WORK]
    last = max([world.held_at, *times])
    if world.settled_at is not None and world.settled_at > last + _prompt_bound(world) + 1.0:
        yield f"all was over at {last:.2f} s, and tasks were left until {world.settled_at:.2f} s"
    shut = limits.ORPHAN_SECONDS + limits.LOST_REPLY_SECONDS + limits.REPORT_FLUSH_SECONDS + limits.CALLS_END_SECONDS
    for signalled, seconds in zip(world.signalled_at, (limits.DRAIN_SECONDS, 0.0), strict=False):
        if world.doors_closed_at > signalled + seconds + shut:
            yield f"SIGTERM at {signalled:.2f} s, the doors were closed at {world.doors_closed_at:.2f} s"


def callers_are_told_the_truth(world: World) -> Iterator[str]:
    """A caller who was told anything was told what the record says, with its code."""
    for call in witnesses(world):
        told = call.report and call.report.close_reason
        if told and call.report is not None and call.report.close_code != 1006:
            expected = CODES.get(call.reason.partition(":")[0])
            if told != call.reason or call.report.close_code != expected:
                yield f"{call.id}: told {call.report.close_code} {told}, recorded {call.reason}"


def no_call_is_left_billed(world: World) -> Iterator[str]:
    """Every call at Vapi was ended, in time; or counted as possibly billed where that could not be known."""
    counted = {entry.data["vapi_call"] for entry in world.chronicle.of("possibly_billed", "log")}
    if counted and not _may_be_lost(world):
        yield f"{counted} counted as possibly billed although Vapi could be reached all the time"
    over = {call.at_vapi.id: call.over for call in witnesses(world) if call.at_vapi}
    for at_vapi in world.cloud.calls:
        if counted & {at_vapi.id, at_vapi.request.get("name")}:
            continue
        ended = _ended_at(world, at_vapi)
        patience = limits.ORPHAN_SECONDS + (limits.LOST_REPLY_SECONDS if _may_be_lost(world) else 1.0)
        last_seen = over.get(at_vapi.id, world.doors_closed_at)
        never_dialled = at_vapi.ended_reason == NEVER_CONNECTED and at_vapi.ended_by == "vapi"
        if ended is None or ended > last_seen + patience or never_dialled:
            yield f"{at_vapi.id} ran on: ended {ended} by {at_vapi.ended_by}, its caller left at {last_seen:.2f}"


def _may_be_lost(world: World) -> bool:
    """A reply of Vapi's may not have come, or Vapi could not be reached."""
    lost = ("rest refuses", "rest is silent", "rest resets", "sockets refuse", "sockets are silent", "vapi restarts")
    return world.plan.behaviour.lose_reply or any(fault.kind in lost for fault in world.plan.faults)


def nothing_is_logged_as_an_error(world: World) -> Iterator[str]:
    """But for what a lost reply forces; and in a calm run without odd guests not even a warning."""
    for entry in world.chronicle.errors():
        lost = entry.what == "possibly_billed" and _may_be_lost(world)
        broken = entry.what in ("tool_failed", "register_failed") and world.plan.has("database breaks")
        if not (lost or broken):
            yield f"{entry.who}: {entry.what} {entry.data}"
    if world.plan.calm and not world.plan.guests:
        for entry in world.chronicle.entries:
            if entry.data.get("level") == "warning":
                yield f"a warning in a calm run: {entry.what} {entry.data}"


def calm_runs_go_right(world: World) -> Iterator[str]:
    """With nothing going wrong, every call goes as its script says."""
    if not world.plan.calm:
        return
    if len(world.calls) != len(world.plan.calls):
        yield "not every caller has dialled"
    for held in world.calls:
        if held.report is None or held.report.ending != "caller_hung_up" or held.report.violations:
            yield f"a caller saw {held.report and (held.report.outcome, held.report.violations)}"
    for call in witnesses(world):
        if world.house is not None and world.house.vapi_calls.counts and not _guests_called(world):
            yield f"Vapi's calls were ended in roundabout ways: {dict(world.house.vapi_calls.counts)}"
        if call.held and call.reason != "call_ended":
            yield f"{call.id} ended with {call.reason}"
        if call.at_vapi and call.at_vapi.violations:
            yield f"{call.id}: Vapi did not understand {call.at_vapi.violations}"


def _guests_called(world: World) -> bool:
    """Somebody else's call was begun, and perhaps left in its set-up."""
    return any(call.held is None for call in witnesses(world))


RULES: Final[tuple[Rule, ...]] = (
    all_is_gone,
    every_channel_kept_its_bound,
    calls_end_in_time,
    nothing_lingers,
    callers_are_told_the_truth,
    all_audio_is_accounted_for,
    uplink_is_whole,
    downlink_is_whole,
    tails_are_paid,
    tools_run_once,
    no_call_is_left_billed,
    nothing_is_logged_as_an_error,
    calm_runs_go_right,
)
