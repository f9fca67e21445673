"""What must hold after every run, whatever happened in it. Each rule reads the ended world and names its breaches."""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final

from runtime import limits
from torture.audio_invariants import all_audio_is_accounted_for, downlink_is_whole, tails_are_paid, uplink_is_whole
from torture.tool_invariants import tools_run_once
from torture.witness import Witness, witnesses
from torture.world import World

Rule = Callable[[World], Iterator[str]]
VANISHED_SECONDS: Final = 10.0
PROMPT_SECONDS: Final = 0.1
UNSEEN_AT_VAPI: Final = ("vapi vanishes", "vapi reads nothing", "vapi resets")
EXCUSED: Final = {"possibly_billed": ("rest", "sockets")}
"""What may be logged as an error, and which parts of the world must have failed for it."""


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
    """The audio channels' peaks are recorded, and within their bounds; no socket held more than its buffer."""
    bounds = {
        "caller_audio_seconds": limits.CALLER_AUDIO_SECONDS,
        "agent_audio_seconds": limits.AGENT_AUDIO_SECONDS,
    }
    for call in witnesses(world):
        longest = call.held.plan.frame_ms / 1000 if call.held else limits.CALLER_MESSAGE_BYTES / 48_000
        for name, bound in bounds.items():
            if name not in call.peaks:
                yield f"{call.id}: no peak of {name} was recorded"
            elif call.peaks[name] > max(bound, longest) + 0.001:  # peaks are rounded to milliseconds
                yield f"{call.id}: {name} reached {call.peaks[name]:.3f} s, its bound is {bound:g} s"
    for link in world.network.links:
        for pipe in (link.half("client").outbound, link.half("server").outbound):
            if pipe.peak_bytes > pipe.weather.buffer_bytes:
                yield f"a pipe to port {link.port} held {pipe.peak_bytes} bytes"


def calls_end_in_time(world: World) -> Iterator[str]:
    """A side that has gone, in whatever way, ends the call: at once where that can be seen, else within 10 s."""
    for call in witnesses(world):
        gone_at, prompt = _caller_gone(world, call)
        if gone_at is not None:
            bound = _prompt_bound(world) if prompt else VANISHED_SECONDS + 1.0
            if call.over > max(gone_at, call.began) + bound:
                yield f"{call.id}: the caller was gone at {gone_at:.2f} s, the call at {call.over:.2f} s"
        for struck in world.struck:
            # What Vapi has said is still played out; it runs ahead of real time by very little.
            its_own = struck.call == call.number and struck.kind in UNSEEN_AT_VAPI
            if its_own and call.over > max(struck.at, call.began) + VANISHED_SECONDS + 3.0:
                yield f"{call.id}: {struck.kind} at {struck.at:.2f} s, the call was gone at {call.over:.2f} s"


def _caller_gone(world: World, call: Witness) -> tuple[float | None, bool]:
    """When the caller went, and whether the product could see it at once."""
    if call.report is None:
        return None, False
    struck = [struck for struck in world.struck if struck.call == call.number]
    unseen = [one.at for one in struck if one.kind in ("caller vanishes", "caller reads nothing")]
    seen = [one.at for one in struck if one.kind in ("caller resets", "caller leaves without a word")]
    left_at = call.report.connected_mono + call.report.duration_seconds
    if unseen:
        return min(unseen), False
    if any(one.kind in ("caller stalls", "caller half-closes", "caller's bytes are corrupted") for one in struck):
        return None, False
    return min([left_at, *seen]), world.plan.caller_weather.bytes_per_second > 1e9


def _prompt_bound(world: World) -> float:
    """100 ms at the table's 10 ms latency: a round trip to each side, and the peer's part in each close."""
    plan = world.plan
    trips = sum(
        6 * (weather.latency_seconds + weather.jitter_seconds) for weather in (plan.caller_weather, plan.vapi_weather)
    )
    # A Vapi that does not answer the close is waited for, in bounded time; so is a caller.
    return PROMPT_SECONDS + trips + (0.0 if plan.calm else 4 * limits.CLOSE_SECONDS) + 1.0


def no_call_is_left_billed(world: World) -> Iterator[str]:
    """Every call at Vapi was ended, in time; or counted as possibly billed where that could not be known."""
    possibly = world.house.vapi_calls.counts["possibly_billed"] if world.house else 0
    may_be_lost = world.plan.behaviour.lose_reply or world.plan.has(
        "rest refuses",
        "rest is silent",
        "rest resets",
        "sockets refuse",
        "sockets are silent",
        "vapi restarts",
        "sigterm",
    )
    if possibly and not may_be_lost:
        yield f"{possibly} call(s) counted as possibly billed although Vapi could be reached all the time"
    over = {call.at_vapi.id: call.over for call in witnesses(world) if call.at_vapi}
    late = 0
    for at_vapi in world.cloud.calls:
        ended = next(
            (entry.at for entry in world.chronicle.of("call-ended", "~vapi") if at_vapi.id.startswith(entry.call)), None
        )
        patience = limits.ORPHAN_SECONDS + (limits.LOST_REPLY_SECONDS if may_be_lost else 1.0)
        last_seen = over.get(at_vapi.id, world.doors_closed_at)
        never_dialled = at_vapi.ended_reason == "call.in-progress.error-vapifault-transport-never-connected"
        if ended is None or ended > last_seen + patience or (never_dialled and at_vapi.ended_by == "vapi"):
            late += 1
            if late > possibly:
                yield f"{at_vapi.id} ran on: ended {ended} by {at_vapi.ended_by}, its caller left at {last_seen:.2f}"


def nothing_is_logged_as_an_error(world: World) -> Iterator[str]:
    """But for what a lost reply forces; and in a calm run without odd guests not even a warning."""
    for entry in world.chronicle.errors():
        excused = EXCUSED.get(entry.what)
        lost = world.plan.behaviour.lose_reply or any(f.kind.startswith(excused or ()) for f in world.plan.faults)
        broken = entry.what == "tool_failed" and world.plan.has("database breaks")
        if not (broken or (excused and (lost or world.plan.has("vapi restarts", "sigterm")))):
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
        if call.held and call.reason != "call_ended":
            yield f"{call.id} ended with {call.reason}"
        if call.at_vapi and call.at_vapi.violations:
            yield f"{call.id}: Vapi did not understand {call.at_vapi.violations}"


RULES: Final[tuple[Rule, ...]] = (
    all_is_gone,
    every_channel_kept_its_bound,
    calls_end_in_time,
    all_audio_is_accounted_for,
    uplink_is_whole,
    downlink_is_whole,
    tails_are_paid,
    tools_run_once,
    no_call_is_left_billed,
    nothing_is_logged_as_an_error,
    calm_runs_go_right,
)
