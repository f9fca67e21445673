"""Defects to plant: each takes one promise away from the product. A torture run must find them all."""

from collections.abc import Callable
from typing import Any

import pytest
import trio

from actors import tail
from actors.engine_reporter import EngineReporter
from actors.vapi_calls import VapiCalls
from actors.vapi_socket_writer import VapiSocketWriter
from db.memory import MemoryDatabase
from runtime import limits
from runtime.channels import AudioReceiveChannel, AudioSendChannel
from runtime.leg import Passing

Plant = Callable[[pytest.MonkeyPatch], None]


def shield_without_deadline(patch: pytest.MonkeyPatch) -> None:
    """A close that waits for its peer for ever."""
    patch.setattr(limits, "CLOSE_SECONDS", 1e9)


def unbounded_queue(patch: pytest.MonkeyPatch) -> None:
    """An audio channel that takes whatever comes."""

    def always(self: AudioSendChannel, size_bytes: int) -> bool:
        return True

    patch.setattr(AudioSendChannel, "_fits", always)


def lost_tail(patch: pytest.MonkeyPatch) -> None:
    """No silence behind the agent's speech."""
    patch.setattr(tail, "TAIL_BYTES", 0)


def billed_call(patch: pytest.MonkeyPatch) -> None:
    """A call whose caller left during POST /call is never ended."""

    async def nothing(self: VapiCalls, created: Any, dial: bool) -> None:
        await trio.lowlevel.checkpoint()

    patch.setattr(VapiCalls, "_end_orphan", nothing)


def tool_run_twice(patch: pytest.MonkeyPatch) -> None:
    """A ledger that forgets at once."""
    honest = MemoryDatabase.run_once

    async def forgetful(self: MemoryDatabase, *arguments: Any) -> Any:
        self._ledger.clear()
        return await honest(self, *arguments)

    patch.setattr(MemoryDatabase, "run_once", forgetful)


def lost_frame(patch: pytest.MonkeyPatch) -> None:
    """Every hundredth frame of the caller is not sent, and counted as sent."""
    honest = VapiSocketWriter._pass_on

    def careless(self: VapiSocketWriter, audio: Passing) -> bool:
        if self.record.counts["uplink_frames"] % 100 != 99:
            return honest(self, audio)
        self._count(audio.size_bytes)
        return True

    patch.setattr(VapiSocketWriter, "_pass_on", careless)


def report_sent_twice(patch: pytest.MonkeyPatch) -> None:
    """The engine hears of each tool call a second time."""
    honest = EngineReporter._post

    async def chatty(self: EngineReporter, event: Any) -> None:
        await honest(self, event)
        await honest(self, event)

    patch.setattr(EngineReporter, "_post", chatty)


def uncounted_drop(patch: pytest.MonkeyPatch) -> None:
    """What is queued when a call ends is thrown away in silence."""
    honest = AudioReceiveChannel.close

    def silent(self: AudioReceiveChannel) -> int:
        honest(self)
        return 0

    patch.setattr(AudioReceiveChannel, "close", silent)


DEFECTS: tuple[Plant, ...] = (
    shield_without_deadline,
    unbounded_queue,
    lost_tail,
    billed_call,
    tool_run_twice,
    lost_frame,
    report_sent_twice,
    uncounted_drop,
)
