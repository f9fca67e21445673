"""Faults of a call's two ends at Vapi and at the caller: begun twice, never ended, ended too early, ended wrongly."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio

from actors import control_message_watcher, vapi_calls
from actors.actor_socket_reader import ActorSocketReader
from actors.silence_padder import SilencePadder
from actors.vapi_calls import VapiCalls
from actors.vapi_socket_writer import VapiSocketWriter
from runtime import errors, limits, voice_door
from runtime.record import Ending
from runtime.vapi_messages import SpeechUpdate, StatusUpdate, VapiMessage
from sandbox.planted.planting import Planting, defect, defects_in

LEFT_OPEN_SECONDS = 60.0
DIES_AFTER_SECONDS = 5.0


def _call_then(plant: Planting, change: Any) -> None:
    """``change(ending)`` is awaited when a call is over, before its caller is told, and gives the ending he is told."""

    async def run_call(*arguments: Any) -> Ending:
        ending: Ending = await change(await honest(*arguments))
        return ending

    honest = plant.replace(voice_door, "run_call", run_call)


@defect("leaves-after-the-greeting", "freeze-card")
def vapi_call_left_running(plant: Planting) -> None:
    """The caller is gone, and the call at Vapi goes on, and is billed."""
    dialled: list[Any] = []

    @asynccontextmanager
    async def dial(*arguments: Any) -> AsyncIterator[Any]:
        opening = honest(*arguments)
        dialled.append(opening)  # kept, or the garbage collector would close it
        yield await opening.__aenter__()

    async def say_nothing(*_: Any) -> bool:
        await trio.lowlevel.checkpoint()
        return True

    honest = plant.replace(vapi_calls, "dial_vapi", dial)
    plant.replace(vapi_calls, "_say_goodbye", say_nothing)


@defect("leaves-in-mid-sentence", "freeze-card")
def hang_up_not_noticed(plant: Planting) -> None:
    """The caller hangs up, and the agent speaks to nobody for another minute."""
    honest = ActorSocketReader.run

    async def run(self: Any, child: Any) -> Ending:
        ending = await honest(self, child)
        await trio.sleep(LEFT_OPEN_SECONDS)
        return ending

    async def stay(_self: Any, child: Any) -> None:
        child.started()
        await trio.sleep_forever()

    plant.replace(ActorSocketReader, "run", run)
    plant.replace(VapiSocketWriter, "run", stay)


@defect("freeze-card", "leaves-after-the-greeting")
def two_calls_made(plant: Planting) -> None:
    """For one caller two calls are made at Vapi, and nobody ends the first."""
    honest = VapiCalls._created

    async def twice(self: Any, *arguments: Any) -> Any:
        await honest(self, *arguments)
        return await honest(self, *arguments)

    plant.replace(VapiCalls, "_created", twice)


@defect("freeze-card", "mortgage")
def unknown_text_to_vapi(plant: Planting) -> None:
    """Vapi is sent a text message that it does not know."""
    honest = VapiSocketWriter.run

    async def run(self: Any, child: Any) -> None:
        await self.leg.send_text('{"type":"start","encoding":"pcm_s16le"}')
        await honest(self, child)

    plant.replace(VapiSocketWriter, "run", run)


@defect("freeze-card", "mortgage")
def ended_after_the_first_turn(plant: Planting) -> None:
    """The end of the assistant's first words is taken for the end of the call."""

    def parse(text: str) -> VapiMessage:
        message: VapiMessage = honest(text)
        over = isinstance(message, SpeechUpdate) and (message.role, message.status) == ("assistant", "stopped")
        return StatusUpdate("ended", "assistant-stopped") if over else message

    honest = plant.replace(control_message_watcher, "parse_vapi_message", parse)


@defect("freeze-card", "mortgage")
def connection_broken_off(plant: Planting) -> None:
    """The agent's side of the caller's line dies after five seconds."""

    async def run_call(*arguments: Any) -> Ending:
        with trio.move_on_after(DIES_AFTER_SECONDS):
            ending: Ending = await honest(*arguments)
            return ending
        return Ending("runtime", "internal_error", 1011)

    honest = plant.replace(voice_door, "run_call", run_call)


@defect("agent-hangs-up", "closed-before-ended", "vapi-drops-the-call")
def line_left_open(plant: Planting) -> None:
    """Vapi has ended the call, and the caller's line stays open, without a sound."""

    async def linger(ending: Ending) -> Ending:
        if ending.by == "vapi":
            await trio.sleep(LEFT_OPEN_SECONDS)
        return ending

    _call_then(plant, linger)


@defect("agent-hangs-up", "closed-before-ended")
def last_words_lost(plant: Planting) -> None:
    """Half a second is gathered before it is sent on, and the call's end throws away what is gathered."""
    gathered: list[bytes] = []
    honest = SilencePadder._speak

    async def speak(self: Any, pcm: bytes) -> None:
        gathered.append(pcm)
        if sum(map(len, gathered)) >= limits.AUDIO_BYTES_PER_SECOND // 2:
            for piece in gathered:
                await honest(self, piece)
            gathered.clear()

    plant.replace(SilencePadder, "_pass_on", lambda _self, _audio: False)
    plant.replace(SilencePadder, "_speak", speak)


@defect("vapi-refuses-the-call", "vapi-is-down")
def refusal_as_an_orderly_end(plant: Planting) -> None:
    """A caller whose call could not be made is told that the call is over, and not that nobody answered."""
    plant.replace(errors.NoAnswer, "code", 1000)


@defect("vapi-refuses-the-call", "vapi-is-down")
def refusal_under_another_name(plant: Planting) -> None:
    """A caller whose call could not be made is told of an internal error."""
    plant.replace(errors.NoAnswer, "word", "internal_error")


@defect("vapi-refuses-the-call", "vapi-is-down")
def refused_caller_left_waiting(plant: Planting) -> None:
    """A caller whose call could not be made hears silence, and is told nothing."""

    async def linger(ending: Ending) -> Ending:
        if ending.reason.startswith("callee_no_answer"):
            await trio.sleep(LEFT_OPEN_SECONDS)
        return ending

    _call_then(plant, linger)


DEFECTS = defects_in(globals())
