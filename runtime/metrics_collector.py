"""What Prometheus is shown of a house, read at the moment it asks.

All counts of calls are read in one step: while a call ends, they are either still its own or already in the totals, so
that no counter falls. The families are asked for one by one, and calls go on in between.
"""

import platform
from collections import Counter
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Final

import attrs
from prometheus_client.metrics_core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from runtime import metrics_counted as counted
from runtime.channels import AudioStatistics
from runtime.house import House
from runtime.tunnels.tunnel import Tunnel

CHANNELS: Final = ("caller_audio", "agent_audio")
PHASES: Final = {"setting_up": "setting_up", "live": "live", "over": "ending"}
TUNNEL_STATES: Final = ("fixed", "idle", "queued", "pausing", "starting", "url", "ready", "degraded", "dead")


def gauge(name: str, help_line: str, values: float | Mapping[str, float], label: str = "") -> GaugeMetricFamily:
    """One value, or one for each value of `label`."""
    unit = "seconds" if name.endswith("_seconds") else ""
    family = GaugeMetricFamily(name, help_line, labels=[label] if label else [], unit=unit)
    for value, number in values.items() if isinstance(values, Mapping) else [("", values)]:
        family.add_metric([value] if label else [], number)
    return family


def tunnel_state(way_in: object) -> str:
    """One of TUNNEL_STATES; `fixed` where somebody else sees to the address."""
    if not isinstance(way_in, Tunnel):
        return "fixed"
    if "ahead in the queue" in way_in.state:
        return "queued"
    return "pausing" if way_in.state.startswith("next start") else way_in.state


@attrs.frozen(eq=False)
class HouseCollector(Collector):
    """Registered once, when the doors are open: `house.metrics.include(HouseCollector(house))`."""

    house: House

    def collect(self) -> Iterator[Metric]:
        house, now = self.house, self._channels()
        yield InfoMetricFamily(
            "voice_build", "This process.",
            {"version": _version(), "python": platform.python_version(), "pod": house.settings.pod_id},
        )  # fmt: skip
        yield from self._counters()
        yield from self._calls(now)
        yield from self._vapi_and_engine()
        yield from self._database()
        yield gauge(
            "voice_tunnel_state", "1 for the state that the tunnel is in.",
            {state: float(state == tunnel_state(house.way_in)) for state in TUNNEL_STATES}, "state",
        )  # fmt: skip

    def _counters(self) -> Iterator[Metric]:
        house = self.house
        of_doors = Counter(house.counts)
        of_doors["calls_refused_full"] = of_doors["calls_refused"] - of_doors["calls_refused_by_rate"]
        tables = (
            (counted.OF_CALLS, self._of_calls()),
            (counted.OF_DOORS, of_doors),
            (counted.OF_TUNNEL, house.way_in.counts if isinstance(house.way_in, Tunnel) else {}),
            (counted.OF_REPORTER, house.reporter.counts),
            (counted.OF_VAPI_CALLS, house.vapi_calls.counts),
            (counted.OF_REGISTER, house.register.counts),
            (counted.OF_GATEWAY, house.gateway.counts if house.gateway else {}),
            (counted.OF_RECORDER, house.recorder.counts if house.recorder else {}),
        )
        for families, counts in tables:
            for family in families:
                yield family.family(counts)

    def _of_calls(self) -> Counter[str]:
        """The counts of all calls there ever were."""
        counts = Counter(self.house.metrics.totals)
        for record in self.house.history.live.values():
            counts.update(record.counts)
            for name, read in record.channels.items():
                counts[f"{name}_waits"] += read().waits
        counts["tool_conflicts"] += self.house.counts["tool_conflicts"]
        return counts

    def _channels(self) -> dict[str, list[AudioStatistics]]:
        live = self.house.history.live.values()
        return {name: [record.channels[name]() for record in live if name in record.channels] for name in CHANNELS}

    def _calls(self, channels: Mapping[str, list[AudioStatistics]]) -> Iterator[Metric]:
        house = self.house
        phases = Counter(PHASES[record.phase] for record in house.history.live.values())
        yield gauge("voice_calls", "Calls now, by phase.", {phase: phases[phase] for phase in PHASES.values()}, "phase")
        yield gauge("voice_calls_most", "MAX_CALLS: more are refused.", house.settings.max_calls)
        yield gauge(
            "voice_channel_fill_seconds", "Audio that waits in the fullest channel of all calls, by channel.",
            {name: max((one.queued_seconds for one in of_all), default=0.0) for name, of_all in channels.items()},
            "channel",
        )  # fmt: skip

    def _vapi_and_engine(self) -> Iterator[Metric]:
        slots, reporter = self.house.vapi_calls.slots, self.house.reporter
        yield gauge("voice_vapi_slots_used", "Slots of the Vapi account that calls of this process hold.", slots.used)
        yield gauge("voice_vapi_slots_most", "Slots that this process may use.", slots.usable)
        yield gauge("voice_vapi_slots_waiting", "Calls that wait for a slot.", slots.waiting)
        yield gauge("voice_engine_reports_queued", "Reports that wait for the engine.", reporter.queued)
        yield gauge("voice_engine_reports_queued_most", "The most that ever waited.", reporter.peak_queued)

    def _database(self) -> Iterator[Metric]:
        pool = self.house.database.statistics()
        yield gauge(
            "voice_database_connections", "Connections to the database.", {"used": pool.used, "idle": pool.idle},
            "state",
        )  # fmt: skip
        yield gauge("voice_database_connections_most", "The most connections that there may be.", pool.most)
        if pool.last_query_worked is not None:
            yield gauge("voice_database_up", "1 when the last query was answered.", float(pool.last_query_worked))


def _version() -> str:
    try:
        return version("mini-bcs-voice-vapi")
    except PackageNotFoundError:
        return "not installed"
