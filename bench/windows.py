"""What one measured window said. Built from the load's reply."""

from typing import Any

import attrs

from bench.bridges import Kind, Transport
from bench.spread import Latency
from bench.usage import Memory


@attrs.frozen
class Window:
    bridge: Kind
    transport: Transport
    calls: int
    repetition: int
    seconds: float
    cpu_seconds: float
    frames: int
    up: Latency
    down: Latency
    memory: Memory
    load_share: float
    """Of a core, what the load process used."""
    late_share: float
    """Of the frames, those the load sent more than 2 ms late."""
    lost: int
    reordered: int
    damaged: int

    @classmethod
    def of(cls, bridge: Kind, transport: Transport, repetition: int, reply: dict[str, Any]) -> "Window":
        latency = reply["latency"]
        return cls(
            bridge, transport, reply["calls"], repetition, reply["seconds"], reply["cpu_seconds"], reply["frames"],
            Latency(**latency["up"]), Latency(**latency["down"]), Memory(**reply["memory"]),
            reply["load_share"], reply["late_share"], reply["lost"], reply["reordered"], reply["damaged"],
        )  # fmt: skip

    @property
    def cpu_per_call(self) -> float:
        """CPU seconds per second of a call."""
        return self.cpu_seconds / self.seconds / self.calls

    @property
    def cpu_us_per_frame(self) -> float:
        return self.cpu_seconds * 1e6 / self.frames

    @property
    def bridge_share(self) -> float:
        """Of a core."""
        return self.cpu_seconds / self.seconds

    @property
    def p99_ms(self) -> float:
        """Of the worse direction."""
        return max(self.up.p99_ms, self.down.p99_ms)

    @property
    def harmed(self) -> int:
        """Frames that did not arrive whole and in order."""
        return self.lost + self.reordered + self.damaged

    def __str__(self) -> str:
        harm = f", {self.harmed} frames harmed" if self.harmed else ""
        return (
            f"{self.bridge_share:6.1%} of a core, {self.cpu_us_per_frame:5.1f} us/frame, p99 {self.p99_ms:.2f} ms, "
            f"{self.memory.rss_mib:.0f} MiB{harm} (load {self.load_share:.0%}, {self.late_share:.1%} late)"
        )


@attrs.frozen
class MemoryPoint:
    bridge: Kind
    transport: Transport
    calls: int
    repetition: int
    memory: Memory


@attrs.frozen
class FailedWindow:
    """The bridge lived, and did not carry its calls."""

    bridge: Kind
    transport: Transport
    calls: int
    repetition: int
    why: str
