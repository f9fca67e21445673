"""Faults of time: tails, late answers, interruptions that are not heeded, silences that nobody ends."""

from typing import Any

import trio

from actors import call, tail
from actors.control_message_watcher import ControlMessageWatcher
from actors.silence_padder import SilencePadder
from actors.tail import Tail, silence_behind
from runtime import limits
from runtime.channels import AudioSendChannel
from runtime.leg import Passing
from runtime.vapi_messages import SpeechUpdate, VapiMessage
from sandbox.planted.planting import Planting, defect, defects_in
from tools.execution import ToolRunner

LATE_SECONDS = 2.0
GATHERED_SECONDS = 0.6
STALL_SECONDS = 3.0
SPOKEN_BYTES = limits.AUDIO_BYTES_PER_SECOND // 2
SHORT_TAIL_BYTES = limits.AUDIO_BYTES_PER_SECOND
LONG_TAIL_BYTES = 10 * limits.AUDIO_BYTES_PER_SECOND


def _tools_answered(padder: Any) -> int:
    return int(padder.record.counts["tool_results"] + padder.record.counts["tool_errors"])


def _before_speaking(plant: Planting, wait: Any) -> None:
    """``wait(padder, pcm)`` is awaited before each chunk goes to the caller."""
    honest = SilencePadder._speak

    async def speak(self: Any, pcm: bytes) -> None:
        await wait(self, pcm)
        await honest(self, pcm)

    plant.replace(SilencePadder, "_pass_on", lambda _self, _audio: False)
    plant.replace(SilencePadder, "_speak", speak)


def _held_back(plant: Planting, seconds: float) -> None:
    """Each stretch of speech is gathered for so long before the first of it is sent."""

    async def gather(padder: Any, pcm: bytes) -> None:
        if any(pcm) and not padder.tail.owed:
            await trio.sleep(seconds)

    _before_speaking(plant, gather)


@defect("freeze-card", "replace-card")
def tail_missing(plant: Planting) -> None:
    """No silence is sent behind the agent's speech."""
    plant.replace(tail, "TAIL_BYTES", 0)


@defect("freeze-card", "replace-card")
def tail_too_short(plant: Planting) -> None:
    """The silence behind the agent's speech is one second, and callers wait for one and a half."""
    plant.replace(tail, "TAIL_BYTES", SHORT_TAIL_BYTES)


@defect("nobody-tells-of-speech")
def tail_waits_for_stopped(plant: Planting) -> None:
    """The tail is paid when Vapi says that the assistant has stopped, and never without that."""
    plant.replace(limits, "TAIL_OVERDUE_SECONDS", 1e9)


@defect("stopped-comes-early")
def tail_at_stopped(plant: Planting) -> None:
    """The tail is paid as soon as Vapi says that the assistant has stopped, before its last audio is there."""
    honest = Tail.due_at
    plant.replace(Tail, "due_at", lambda self: 0.0 if self.owed and self._stopped else honest(self))


@defect("stopped-comes-late", "backchannel")
def tail_in_every_gap(plant: Planting) -> None:
    """The tail is paid whenever no audio of the agent is at hand, in the middle of its words too."""
    honest = Tail.due_at
    plant.replace(Tail, "due_at", lambda self: 0.0 if self.owed else honest(self))


@defect("silence-is-streamed")
def silence_beside_silence(plant: Planting) -> None:
    """While the assistant is quiet, silence of our own is sent beside the silence that Vapi streams."""
    honest = SilencePadder._speak

    async def twice(self: Any, pcm: bytes) -> None:
        await honest(self, pcm)
        if silence_behind(pcm) is None:
            await honest(self, bytes(len(pcm)))

    plant.replace(SilencePadder, "_pass_on", lambda _self, _audio: False)
    plant.replace(SilencePadder, "_speak", twice)


@defect("freeze-card", "mortgage", tail_mode="paced")
def tail_never_cut(plant: Planting) -> None:
    """The tail is ten seconds, sent in real time, and speech that comes meanwhile waits behind it."""
    plant.replace(tail, "TAIL_BYTES", LONG_TAIL_BYTES)

    async def pay(self: Any) -> None:
        while self.tail.owed:
            piece = self.tail.next_piece(limits.FRAME_BYTES)
            await self._send(piece)
            self.tail.on_paid(piece)

    plant.replace(SilencePadder, "_pay", pay)


@defect("freeze-card", "mortgage")
def answer_late(plant: Planting) -> None:
    """Each answer is held back for two seconds."""
    _held_back(plant, LATE_SECONDS)


@defect("leaves-after-the-greeting", "freeze-card")
def greeting_late(plant: Planting) -> None:
    """Three seconds pass before Vapi is asked for a call."""
    honest = call._open_vapi

    async def slow(*arguments: Any) -> Any:
        await trio.sleep(STALL_SECONDS)
        return await honest(*arguments)

    plant.replace(call, "_open_vapi", slow)


@defect("freeze-card")
def audio_stalls(plant: Planting) -> None:
    """In the middle of a sentence the agent's audio stands still for three seconds."""

    async def stall(padder: Any, pcm: bytes) -> None:
        counts = padder.record.counts
        if counts["stalled"] == 0 and counts["downlink_bytes"] > SPOKEN_BYTES and padder.tail.owed and any(pcm):
            counts["stalled"] = 1
            await trio.sleep(STALL_SECONDS)

    _before_speaking(plant, stall)


@defect("freeze-card")
def tool_slow(plant: Planting) -> None:
    """Every tool takes a second: three of them and the caller asks whether anybody is there."""
    honest = ToolRunner.answer

    async def slow(self: Any, *arguments: Any) -> Any:
        await trio.sleep(1.0)
        return await honest(self, *arguments)

    plant.replace(ToolRunner, "answer", slow)


@defect("freeze-card", "replace-card")
def silent_after_a_tool(plant: Planting) -> None:
    """Once a tool has answered, nothing the agent says reaches the caller."""

    async def wait_for_ever(padder: Any, _pcm: bytes) -> None:
        if _tools_answered(padder):
            await trio.sleep_forever()

    _before_speaking(plant, wait_for_ever)


@defect("barge-in-and-correction")
def speech_gathered(plant: Planting) -> None:
    """0.6 s of the agent's speech are gathered before they are sent on, and then they cannot be taken back."""
    _held_back(plant, GATHERED_SECONDS)


@defect("barge-in-and-correction", tail_mode="paced")
def interrupted_speech_played_on(plant: Planting) -> None:
    """0.6 s of the agent's speech are gathered, and what is queued when the caller interrupts is played to its end."""
    _held_back(plant, GATHERED_SECONDS)
    plant.replace(AudioSendChannel, "drop_audio", lambda _self: 0)


def _muted_while(plant: Planting, muting: Any) -> None:
    """``muting(message)`` says of each message of Vapi whether the agent is muted from then on; None: as before."""
    muted = [False]
    honest = ControlMessageWatcher._on_message
    carried = ControlMessageWatcher._on_audio

    async def on_message(self: Any, message: VapiMessage) -> None:
        now_muted = muting(message)
        muted[0] = muted[0] if now_muted is None else now_muted
        await honest(self, message)

    async def on_audio(self: Any, pcm: bytes) -> None:
        if not muted[0]:
            await carried(self, pcm)

    def pass_on(_self: Any, _audio: Passing) -> bool:
        return False

    plant.replace(ControlMessageWatcher, "_on_message", on_message)
    plant.replace(ControlMessageWatcher, "_on_audio", on_audio)
    plant.replace(ControlMessageWatcher, "_pass_on", pass_on)


@defect("backchannel")
def backchannel_stops_the_agent(plant: Planting) -> None:
    """Whatever the caller utters counts as an interruption: the rest of what the agent says is not played."""

    def muting(message: VapiMessage) -> bool | None:
        if not isinstance(message, SpeechUpdate) or message.status != "started":
            return None
        return message.role == "user"

    _muted_while(plant, muting)


@defect("one-moment-please")
def filler_ends_the_turn(plant: Planting) -> None:
    """When the assistant has stopped, what it says next is not played until the caller has spoken."""

    def muting(message: VapiMessage) -> bool | None:
        if not isinstance(message, SpeechUpdate):
            return None
        return False if message.role == "user" else True if message.status == "stopped" else None

    _muted_while(plant, muting)


DEFECTS = defects_in(globals())
