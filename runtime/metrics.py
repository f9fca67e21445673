"""The figures of this process for Prometheus: what is observed as it happens, and the page that is asked for.

Nothing here is called per frame. What can be read when somebody asks is read then (runtime/metrics_collector.py). Names
and units follow the conventions of Prometheus; docs/operations.md explains every one.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Any, Final, get_args

import attrs
import prometheus_client
import trio
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from runtime.record import CallRecord, Ending
from runtime.story import ToolRun
from tools.policy import ToolPolicy, tools_under

OTHER: Final = "other"
"""In place of a word that is not known: a label has a fixed set of values."""
UNKNOWN_TOOL: Final = "unknown"
OUTCOMES: Final = ("result", "error", "duplicate")

# Who ended a call, and the word for why (runtime/errors.py); shown as 0 before the first.
ENDINGS: Final = (
    ("caller", "call_ended"), ("caller", "text_in_binary_mode"), ("caller", "binary_in_json_mode"),
    ("caller", "half_a_sample"), ("caller", "frame_too_long"), ("caller", "malformed_message"),
    ("caller", "caller_stalled"), ("vapi", "call_ended"), ("vapi", "callee_no_answer"), ("vapi", "tool_webhook_lost"),
    ("vapi", "vapi_lost"), ("runtime", "shutting_down"), ("runtime", "internal_error"),
)  # fmt: skip
NO_ANSWER_CAUSES: Final = (
    "vapi_rejected", "vapi_down", "vapi_no_slot", "tunnel_busy", "tunnel_auth", "tunnel_quota", "tunnel_timeout",
    "tunnel_lost",
)  # fmt: skip

# Upper ends of the histograms' buckets, in seconds. Each has an end where docs/operations.md draws a line.
SETUP_SECONDS: Final = (0.1, 0.25, 0.5, 1, 1.5, 2, 3, 5, 10, 15, 20, 35, 60, 120)
TEARDOWN_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 3, 5, 10, 21)
DURATION_SECONDS: Final = (1, 5, 10, 30, 60, 120, 300, 600, 1_200, 1_800)
TURN_SECONDS: Final = (0.25, 0.5, 0.75, 1, 1.25, 1.5, 2, 3, 5, 10, 20)
TOOL_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15)
LOOP_SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1)
FILL_SECONDS: Final = (0.02, 0.04, 0.1, 0.2, 0.3, 0.4, 0.5, 1, 2.5, 5, 10)
QUEUE_POSTS: Final = (1, 2, 4, 8, 16)
_END: Final = b"# EOF\n"


def _histogram(name: str, help_line: str, buckets: Iterable[float], *labels: str) -> Any:
    unit = "seconds" if name.endswith("_seconds") else ""

    def made(metrics: "Metrics") -> Histogram:
        return Histogram(name, help_line, labels, unit=unit, registry=metrics.registry, buckets=tuple(buckets))

    return attrs.field(init=False, repr=False, default=attrs.Factory(made, takes_self=True))


def _counter(name: str, help_line: str, *labels: str) -> Any:
    def made(metrics: "Metrics") -> prometheus_client.Counter:
        return prometheus_client.Counter(name, help_line, labels, registry=metrics.registry)

    return attrs.field(init=False, repr=False, default=attrs.Factory(made, takes_self=True))


def all_tools() -> frozenset[str]:
    """The names of the tools that a model may call, under any policy."""
    return frozenset(tool.name for policy in get_args(ToolPolicy) for tool in tools_under(policy))


@attrs.frozen(eq=False)
class Metrics:
    """One per process. Mutable: `totals`, the counts of all calls that are over; and what prometheus-client keeps."""

    tools: frozenset[str] = attrs.field(factory=all_tools)
    registry: CollectorRegistry = attrs.field(factory=CollectorRegistry, repr=False)
    totals: Counter[str] = attrs.field(factory=Counter, init=False, repr=False)

    _ended: prometheus_client.Counter = _counter(
        "voice_calls_ended_total", "Calls that are over, by who ended them and why.", "ended_by", "reason"
    )
    _not_answered: prometheus_client.Counter = _counter(
        "voice_calls_not_answered_total", "Calls that could not be set up (callee_no_answer), by cause.", "cause"
    )
    _setup: Histogram = _histogram(
        "voice_call_setup_seconds", "From a caller's connection to Vapi's open socket.", SETUP_SECONDS
    )
    _teardown: Histogram = _histogram(
        "voice_call_teardown_seconds", "From what ended a call until nothing of it was left.", TEARDOWN_SECONDS
    )
    _duration: Histogram = _histogram(
        "voice_call_duration_seconds", "From a caller's connection until nothing of the call was left.",
        DURATION_SECONDS,
    )  # fmt: skip
    _turn: Histogram = _histogram(
        "voice_turn_latency_seconds",
        "From the end of the caller's speech, as Vapi heard it, to the assistant's next speech.", TURN_SECONDS,
    )  # fmt: skip
    _peak: Histogram = _histogram(
        "voice_channel_peak_seconds", "The most audio that waited in a channel, one value for each call.",
        FILL_SECONDS, "channel",
    )  # fmt: skip
    _tool_peak: Histogram = _histogram(
        "voice_tool_queue_peak_posts", "The most POSTs that waited for a call's dispatcher, for each call with tools.",
        QUEUE_POSTS,
    )  # fmt: skip
    _tools: prometheus_client.Counter = _counter(
        "voice_tool_calls_total", "Tool calls that were answered, by tool and outcome.", "tool", "outcome"
    )
    _tool_seconds: Histogram = _histogram(
        "voice_tool_duration_seconds", "From when a call's dispatcher took a tool call to its answer.", TOOL_SECONDS,
        "tool",
    )  # fmt: skip
    _lag: Histogram = _histogram(
        "voice_loop_lag_seconds", "How late the event loop woke a task that had asked for a time.", LOOP_SECONDS
    )
    _switchboard: Histogram = _histogram(
        "voice_switchboard_turn_seconds",
        "From a wake of the switchboard until all frames that were ready had been passed on, sampled.", LOOP_SECONDS,
    )  # fmt: skip

    def __attrs_post_init__(self) -> None:
        prometheus_client.ProcessCollector(registry=self.registry)
        prometheus_client.GCCollector(registry=self.registry)
        for by, reason in ENDINGS:
            self._ended.labels(by, reason)
        for cause in NO_ANSWER_CAUSES:
            self._not_answered.labels(cause)
        for channel in ("caller_audio", "agent_audio"):
            self._peak.labels(channel)
        for tool in (*sorted(self.tools), UNKNOWN_TOOL):
            self._tool_seconds.labels(tool)
            for outcome in OUTCOMES:
                self._tools.labels(tool, outcome)

    def include(self, collector: Collector) -> None:
        """Show on the page what `collector` reads when it is asked for."""
        self.registry.register(collector)

    def call_over(self, record: CallRecord, ending: Ending) -> None:
        """Everything of the call is done. In the same step as the record leaves those that run: no count may be
        missed, or told twice, by who asks in between."""
        self.totals.update(record.counts)
        word, _, cause = ending.reason.partition(": ")
        self._ended.labels(ending.by, word if (ending.by, word) in ENDINGS else OTHER).inc()
        if word == "callee_no_answer":
            self._not_answered.labels(cause if cause in NO_ANSWER_CAUSES else OTHER).inc()
        self._duration.observe(record.age_seconds)
        if record.setup_seconds is not None:
            self._setup.observe(record.setup_seconds)
        if record.teardown_seconds is not None:
            self._teardown.observe(record.teardown_seconds)
        for seconds in record.story.turn_latencies:
            self._turn.observe(seconds)
        for channel in ("caller_audio", "agent_audio"):
            if (peak := record.peaks.get(f"{channel}_seconds")) is not None:
                self._peak.labels(channel).observe(peak)
        if (posts := record.peaks.get("tool_posts_items")) is not None:
            self._tool_peak.observe(posts)

    def tool_answered(self, run: ToolRun) -> None:
        tool = run.name if run.name in self.tools else UNKNOWN_TOOL
        self._tools.labels(tool, run.outcome).inc()
        self._tool_seconds.labels(tool).observe(run.seconds)

    def loop_lag(self, seconds: float) -> None:
        self._lag.observe(seconds)

    def switchboard_turn(self, seconds: float) -> None:
        """The added latency: from the wake to when all frames of that turn were passed on, of one wake in
        SWITCHBOARD_TIMED_WAKES. With the loop's lag it is what a frame waits in this process."""
        self._switchboard.observe(seconds)

    async def page(self, accept: str) -> tuple[bytes, str]:
        """The page and its content type: OpenMetrics where `Accept` names it, else the text format.

        The calls have their turn behind each family: all of it at once would hold them up for milliseconds.
        """
        in_openmetrics = "application/openmetrics-text" in accept
        pieces = []
        for family in self.registry.collect():
            pieces.append(_rendered(family, in_openmetrics))
            await trio.lowlevel.checkpoint()
        if in_openmetrics:
            return b"".join([*pieces, _END]), openmetrics.CONTENT_TYPE_LATEST
        return b"".join(pieces), CONTENT_TYPE_PLAIN_0_0_4


@attrs.frozen
class _Alone(Collector):
    """One family, without the time at which each figure was first seen: it would double the page, and
    process_start_time_seconds says when they all began."""

    family: Metric

    def collect(self) -> Iterable[Metric]:
        self.family.samples = [one for one in self.family.samples if not one.name.endswith("_created")]
        return (self.family,)


def _rendered(family: Metric, in_openmetrics: bool) -> bytes:
    if in_openmetrics:
        text: bytes = openmetrics.generate_latest(_Alone(family))  # type: ignore[no-untyped-call]
        return text.removesuffix(_END)
    return generate_latest(_Alone(family))
