"""What the process counts anyway, and under which names Prometheus is shown it. Pure data.

A count that has not occurred yet is shown as 0, so that `rate()` sees its first step.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import attrs
from prometheus_client.metrics_core import CounterMetricFamily

from runtime.summary import DROPS


@attrs.frozen
class Counted:
    """One family of counters. `keys`: per values of its labels, the name in our own counts."""

    name: str
    help_line: str
    keys: Mapping[tuple[str, ...], str]
    labels: tuple[str, ...] = ()

    def family(self, counts: Mapping[str, float]) -> CounterMetricFamily:
        unit = "bytes" if self.name.endswith("_bytes_total") else ""
        family = CounterMetricFamily(self.name, self.help_line, labels=self.labels, unit=unit)
        for values, key in self.keys.items():
            family.add_metric(values, counts.get(key, 0))
        return family


def one(name: str, help_line: str, key: str) -> Counted:
    return Counted(name, help_line, {(): key})


def by(label: str, name: str, help_line: str, keys: Mapping[str, str]) -> Counted:
    return Counted(name, help_line, {(value,): key for value, key in keys.items()}, (label,))


_LEGS: Final = {
    ("caller", "in"): "caller",
    ("vapi", "out"): "uplink",
    ("vapi", "in"): "agent",
    ("caller", "out"): "downlink",
}

# Counted by the calls (runtime/record.py): of those that are over and those that run.
OF_CALLS: Final[Sequence[Counted]] = (
    Counted(
        "voice_audio_frames_total", "Audio messages received from and sent to each leg; none that we inserted.",
        {leg: f"{name}_frames" for leg, name in _LEGS.items()}, ("leg", "direction"),
    ),
    Counted(
        "voice_audio_bytes_total", "Audio (PCM16, 24 kHz) received from and sent to each leg; none that we inserted.",
        {leg: f"{name}_bytes" for leg, name in _LEGS.items()}, ("leg", "direction"),
    ),
    by("cause", "voice_audio_dropped_bytes_total", "Audio that was received and not passed on.",
       {cause: key for key, cause in DROPS.items()}),
    one("voice_audio_realigned_frames_total", "Audio messages of Vapi that ended within a sample.",
        "agent_frames_realigned"),
    one("voice_uplink_silence_frames_total", "Frames of 20 ms sent to Vapi while the caller's line was silent.",
        "uplink_silent_frames"),
    one("voice_tail_bytes_total", "Silence sent to callers behind the assistant's speech.", "tail_bytes"),
    by("outcome", "voice_tails_total", "Tails of silence: paid whole, or cut by speech or the end of the call.",
       {"paid": "tails", "cut": "tails_cut"}),
    one("voice_tails_held_total", "Tails that waited for what came of a tool call.", "tails_held"),
    one("voice_tails_held_in_vain_total", "Held tails behind which nothing was said.", "tails_held_in_vain"),
    one("voice_tails_overdue_total", "Tails that were paid without Vapi having said that the speech was over.",
        "tails_overdue"),
    one("voice_interruptions_total", "Times that a caller broke into the assistant's speech.", "interruptions"),
    one("voice_playouts_cut_total", "Calls whose last words were not written out in time.", "playouts_cut"),
    by("channel", "voice_channel_waits_total", "Times that a sender had to wait because the channel was full.",
       {"caller_audio": "caller_audio_waits", "agent_audio": "agent_audio_waits"}),
    one("voice_tool_conflicts_total", "Tool call ids that came again with other arguments.", "tool_conflicts"),
    one("voice_vapi_unknown_messages_total", "Messages of a kind that is not known, on Vapi's socket.",
        "vapi_unknown_messages"),
)  # fmt: skip

# Counted by the doors (House.counts).
OF_DOORS: Final[Sequence[Counted]] = (
    by("why", "voice_calls_refused_total", "Callers that were turned away before they had a call.",
       {"full": "calls_refused_full", "rate": "calls_refused_by_rate", "bad_request": "callers_refused_400",
        "no_token": "callers_refused_401", "origin": "callers_refused_403", "path": "callers_refused_404"}),
    by("admission", "voice_webhook_requests_total", "Requests at the webhook door, by whether they may ask.",
       {"authorized": "webhook_posts", "unauthorized": "webhook_unauthorized", "cross_site": "webhook_cross_site"}),
    by("fault", "voice_webhook_faults_total", "Authorized POSTs that could not be used.",
       {"malformed": "webhook_malformed", "wrong_call": "webhook_wrong_call"}),
    one("voice_tools_for_other_pods_total", "Tool calls that were run here for calls of other pods.",
        "tools_for_other_pods"),
)  # fmt: skip

OF_TUNNEL: Final[Sequence[Counted]] = (
    one("voice_tunnel_starts_total", "Starts of the tunnel's agent program.", "starts"),
    one("voice_tunnel_deaths_total", "Agents that had been ready and ended.", "deaths"),
    one("voice_tunnel_restarts_total", "Of these, the ones that calls were using: they are started again.", "restarts"),
    by("cause", "voice_tunnel_ends_total", "Ends of agents, ready or not, by cause.",
       {cause: cause for cause in ("busy", "auth", "quota", "timeout", "lost")}),
    one("voice_tunnel_degradations_total", "Times that a ready agent lost its connection and made another.",
        "degraded"),
    one("voice_tunnel_queue_places_total", "Places taken in this machine's queue for a shared account.", "queued"),
    by("led", "voice_tunnel_probe_failures_total", "Probes of the public address that did not lead back here.",
       {"elsewhere": "probe_elsewhere", "nowhere": "probe_failures"}),
)  # fmt: skip

OF_REPORTER: Final[Sequence[Counted]] = (
    one("voice_engine_reports_sent_total", "Tool calls that the engine was told of.", "reported"),
    by("cause", "voice_engine_reports_dropped_total", "Tool calls that the engine was not told of, as far as is known.",
       {cause: f"dropped_{cause}" for cause in ("queue_full", "refused", "unconfirmed", "not_flushed", "cancelled")}),
)  # fmt: skip

OF_VAPI_CALLS: Final[Sequence[Counted]] = (
    one("voice_vapi_slot_retries_total", "Times that Vapi itself had no slot although VAPI_SLOTS had one.",
        "vapi_slot_retries"),
    one("voice_vapi_possibly_billed_calls_total", "Calls at Vapi that may go on, because they could not be ended.",
        "possibly_billed"),
    one("voice_vapi_orphans_ended_total", "Calls at Vapi that nobody was on, and that were ended.", "orphans_ended"),
)  # fmt: skip

OF_REGISTER: Final[Sequence[Counted]] = (
    one("voice_register_retries_total", "Times that news of a call waited because the database was away.",
        "register_retries"),
    one("voice_register_dropped_total", "News of calls that the database was never told.", "register_dropped"),
)  # fmt: skip

OF_GATEWAY: Final[Sequence[Counted]] = (
    by("outcome", "voice_gateway_commands_total", "Commands to HAProxy about calls.",
       {"registered": "registered", "removed": "removed", "refused": "refused", "lost": "commands_lost"}),
    by("cause", "voice_gateway_calls_dropped_total", "Calls that HAProxy was not told of.",
       {"bad_id": "refused_ids", "too_many": "too_many_calls", "forgotten": "forgotten"}),
)  # fmt: skip

OF_RECORDER: Final[Sequence[Counted]] = (
    by("event", "voice_recordings_total", "Recordings of calls, by what has become of them.",
       {"begun": "recordings", "ready": "recordings_ready", "failed": "recordings_failed",
        "left_behind": "recordings_left_behind", "removed": "recordings_removed"}),
)  # fmt: skip
