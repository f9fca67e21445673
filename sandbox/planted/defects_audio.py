"""Faults of the audio itself, up and down: what is lost, doubled, moved, changed, or comes too fast."""

import base64
from array import array
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from typing import Any

from actors import call
from actors.control_message_watcher import ControlMessageWatcher
from actors.silence_padder import SilencePadder
from actors.vapi_socket_writer import VapiSocketWriter
from runtime import house, limits
from runtime.voice_ws import BinaryFraming, JsonFraming
from sandbox.planted.planting import Planting, defect, defects_in

Alter = Callable[[bytes], Iterable[bytes]]
GATE_PEAK = 328
LOST_BYTES = limits.AUDIO_BYTES_PER_SECOND


def _never_at_once(_self: Any, _audio: Any) -> bool:
    """So that all audio goes the waiting way, on which it is changed."""
    return False


def _up(plant: Planting, alter: Alter) -> None:
    """``alter`` makes the messages to Vapi of each frame of the caller."""
    honest = VapiSocketWriter._forward

    async def altered(self: Any, pcm: bytes) -> None:
        for piece in alter(pcm):
            await honest(self, piece)

    plant.replace(VapiSocketWriter, "_pass_on", _never_at_once)
    plant.replace(VapiSocketWriter, "_forward", altered)


def _down(plant: Planting, alter: Alter) -> None:
    """``alter`` makes the messages to the caller of each chunk of the assistant."""
    honest = SilencePadder._speak

    async def altered(self: Any, pcm: bytes) -> None:
        for piece in alter(pcm):
            await honest(self, piece)

    plant.replace(SilencePadder, "_pass_on", _never_at_once)
    plant.replace(SilencePadder, "_speak", altered)


def _every(nth: int, change: Alter) -> Alter:
    """``change`` every ``nth`` piece that is not silent; the others pass."""
    seen = 0

    def alter(pcm: bytes) -> Iterable[bytes]:
        nonlocal seen
        seen += any(pcm)
        return change(pcm) if any(pcm) and seen % nth == 0 else (pcm,)

    return alter


def _swapping() -> Alter:
    """Two pieces change places, once in a while."""
    kept: list[bytes] = []
    seen = 0

    def alter(pcm: bytes) -> Iterable[bytes]:
        nonlocal seen
        seen += 1
        if kept:
            return pcm, kept.pop()
        if any(pcm) and seen % 9 == 0:
            kept.append(pcm)
            return ()
        return (pcm,)

    return alter


def _byteswapped(pcm: bytes) -> Iterable[bytes]:
    samples = array("h", pcm)
    samples.byteswap()
    return (samples.tobytes(),)


def _quieter(pcm: bytes) -> Iterable[bytes]:
    return (array("h", [sample * 9 // 10 for sample in array("h", pcm)]).tobytes(),)


@defect("freeze-card", "mortgage")
def uplink_frame_lost(plant: Planting) -> None:
    """One frame of the caller's speech in fifty is lost."""
    _up(plant, _every(50, lambda _pcm: ()))


@defect("freeze-card", "mortgage")
def uplink_frame_sent_twice(plant: Planting) -> None:
    """One frame of the caller's speech in fifty is sent twice."""
    _up(plant, _every(50, lambda pcm: (pcm, pcm)))


@defect("freeze-card", "mortgage")
def uplink_frames_swapped(plant: Planting) -> None:
    """Two of the caller's frames change places once in a while."""
    _up(plant, _swapping())


@defect("freeze-card", "mortgage")
def uplink_bytes_swapped(plant: Planting) -> None:
    """The caller's samples are sent with the high byte first."""
    _up(plant, _byteswapped)


@defect("freeze-card", "mortgage")
def uplink_quieter(plant: Planting) -> None:
    """A gain control turns the caller down by a tenth."""
    _up(plant, _quieter)


@defect("freeze-card", "mortgage")
def uplink_all_sent_twice(plant: Planting) -> None:
    """Two writers carry the caller's audio: Vapi gets all of it twice."""
    _up(plant, lambda pcm: (pcm, pcm))


@defect("freeze-card", "mortgage")
def uplink_in_bursts(plant: Planting) -> None:
    """The caller's audio is gathered, and half a second of it sent on at once."""
    gathered: list[bytes] = []

    def alter(pcm: bytes) -> Iterable[bytes]:
        gathered.append(pcm)
        if len(gathered) < 25:
            return ()
        pieces = tuple(gathered)
        gathered.clear()
        return pieces

    _up(plant, alter)


@defect("slow-to-answer")
def setup_audio_sent_later(plant: Planting) -> None:
    """What the caller sends before Vapi listens is kept, and sent on all at once."""

    @contextmanager
    def keeping(*_: Any) -> Any:
        yield

    plant.replace(call, "_discarding", keeping)


@defect("freeze-card", "caller-thinks-long")
def caller_silence_left_out(plant: Planting) -> None:
    """The caller's silence is not sent on: Vapi's end of turn never comes."""
    _up(plant, lambda pcm: (pcm,) if any(pcm) else ())

    async def nothing(_self: Any) -> None: ...

    plant.replace(VapiSocketWriter, "_fill_in", nothing)


@defect("freeze-card", "noisy-line")
def soft_sounds_gated(plant: Planting) -> None:
    """A noise gate sets to zero what is softer than -40 dB in the caller's words."""
    _up(plant, lambda pcm: (array("h", [s if abs(s) >= GATE_PEAK else 0 for s in array("h", pcm)]).tobytes(),))


@defect("barge-in-and-correction")
def caller_muted_while_the_agent_speaks(plant: Planting) -> None:
    """Against echoes, the caller is muted until the agent has fallen silent: nobody can interrupt it."""
    speaking = [False]
    honest = SilencePadder._on_sent

    def noting(self: Any, pcm: bytes, silent_bytes: int | None) -> None:
        honest(self, pcm, silent_bytes)
        speaking[0] = self.tail.owed

    plant.replace(SilencePadder, "_on_sent", noting)
    _up(plant, lambda pcm: (bytes(len(pcm)) if speaking[0] else pcm,))
    paid = SilencePadder._pay

    async def audible_again(self: Any) -> None:
        await paid(self)
        speaking[0] = self.tail.owed

    plant.replace(SilencePadder, "_pay", audible_again)


@defect("caller-speaks-first")
def first_second_of_the_caller_lost(plant: Planting) -> None:
    """Vapi hears nothing of the first second that it listens."""
    heard = [0]

    def alter(pcm: bytes) -> Iterable[bytes]:
        heard[0] += len(pcm)
        return (pcm,) if heard[0] > LOST_BYTES else ()

    _up(plant, alter)


@defect("freeze-card", "mortgage")
def downlink_chunk_lost(plant: Planting) -> None:
    """One chunk of the agent's speech in thirty is lost."""
    _down(plant, _every(30, lambda _pcm: ()))


@defect("freeze-card", "mortgage")
def downlink_chunk_doubled(plant: Planting) -> None:
    """One chunk of the agent's speech in thirty is sent twice."""
    _down(plant, _every(30, lambda pcm: (pcm, pcm)))


@defect("freeze-card", "mortgage")
def downlink_chunks_swapped(plant: Planting) -> None:
    """Two chunks of the agent's speech change places once in a while."""
    _down(plant, _swapping())


@defect("freeze-card", "mortgage")
def downlink_bytes_swapped(plant: Planting) -> None:
    """The agent's samples are sent with the high byte first."""
    _down(plant, _byteswapped)


@defect("freeze-card", "mortgage")
def downlink_quieter(plant: Planting) -> None:
    """The agent is turned down by a tenth."""
    _down(plant, _quieter)


@defect("freeze-card", "mortgage")
def odd_chunks_passed_on(plant: Planting) -> None:
    """A chunk with half a sample at its end is passed on as it came."""
    plant.replace(ControlMessageWatcher, "_aligned", lambda _self, pcm: (pcm, b""))


@defect("freeze-card", "mortgage")
def half_samples_thrown_away(plant: Planting) -> None:
    """Half a sample at the end of a chunk is thrown away: what follows is noise."""
    plant.replace(ControlMessageWatcher, "_aligned", lambda _self, pcm: (pcm[: len(pcm) // 2 * 2], b""))


@defect("freeze-card", "mortgage")
def text_frames_in_binary_mode(plant: Planting) -> None:
    """The caller asked for bare audio and gets it as JSON."""
    framing = JsonFraming()
    plant.replace(BinaryFraming, "encode", lambda _self, pcm: framing.encode(pcm))


@defect("freeze-card", "mortgage", protocol="json")
def binary_frames_in_json_mode(plant: Planting) -> None:
    """The caller asked for JSON and gets bare audio."""
    plant.replace(JsonFraming, "encode", lambda _self, pcm: pcm)


@defect("freeze-card", "mortgage", protocol="json")
def json_in_another_alphabet(plant: Planting) -> None:
    """The audio in JSON is base64 for URLs, with - and _ in it."""
    plant.replace(
        JsonFraming,
        "encode",
        lambda _self, pcm: '{"type":"audio","audio":"' + base64.urlsafe_b64encode(pcm).decode() + '"}',
    )


@defect("freeze-card", "mortgage")
def asks_for_telephone_audio(plant: Planting) -> None:
    """Vapi is asked for audio at 8 kHz, and the caller is given it as if it were 24 kHz."""

    def eight_khz(*arguments: Any) -> Any:
        request: dict[str, Any] = honest(*arguments)
        request["transport"]["audioFormat"]["sampleRate"] = 8_000
        return request

    honest = plant.replace(house, "call_request", eight_khz)


DEFECTS = defects_in(globals())
