"""What ends a call: the caller's close frame, and the `detail` of the summary line."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import trio

from actors.actor_socket_reader import ActorSocketReader
from actors.call import _ending
from actors.control_message_watcher import ControlMessageWatcher
from actors.silence_padder import SilencePadder
from actors.vapi_socket_writer import VapiSocketWriter
from runtime import limits, voice_door
from runtime.channels import open_audio_channel
from runtime.errors import CallerError, CallError, NoAnswer, ToolWebhookLost
from runtime.leg import Audio, Closed, Text
from runtime.record import Ending
from runtime.supervisor import Exit, StartFailed, open_supervisor
from runtime.voice_ws import BinaryFraming, JsonFraming
from runtime.ws_leg import _REFUSED
from tests.docs.symptom import Symptom, in_virtual_time, said_later, seen
from tests.docs.tunnels import tunnel
from tests.docs.vapi import vapi
from tests.fakes import FakeLeg, captured_log, new_record, speech

IGNORED: Final[Any] = trio.TASK_STATUS_IGNORED
Violation = Callable[[], object]
VIOLATIONS: Final[tuple[Violation, ...]] = (
    partial(BinaryFraming().decode, Text("hello")),
    partial(BinaryFraming().decode, Audio(bytes(961))),
    partial(BinaryFraming().decode, Audio(bytes(limits.CALLER_MESSAGE_BYTES + 2))),
    partial(JsonFraming().decode, Audio(bytes(960))),
    partial(JsonFraming().decode, Text("hello")),
)


def close_frames(folder: Path) -> Iterator[Symptom]:
    """Code and reason, as the caller's close frame has them."""
    endings = [voice_door.TOO_MANY_CALLS, voice_door.INTERNAL_ERROR, voice_door.SHUTTING_DOWN]
    endings += [Ending.of(error, "caller") for error in _violations()]
    in_world = in_virtual_time(partial(_in_a_call, endings))
    yield from (seen(f"{ending.code} {ending.reason}") for ending in endings)
    yield from in_world
    yield from (seen(f"{code} {reason}") for code, reason in _REFUSED.items())
    # Every cause that the tunnel's and Vapi's own troubles name.
    for symptom in (*vapi(folder), *tunnel(folder)):
        if symptom.cause:
            error = NoAnswer(symptom.cause, symptom.raw)
            yield seen(f"{error.code} {error.close_reason}")


def details(_folder: Path) -> Iterator[Symptom]:
    """What the summary line says beside the reason."""
    sizes = {"HalfASample": 961, "FrameTooLong": limits.CALLER_MESSAGE_BYTES + 2}
    for error in _violations():
        size = sizes.get(type(error).__name__)
        yield seen(str(error), **({} if size is None else {"bytes": size}))
    yield from in_virtual_time(_details)


def _violations() -> Iterator[CallError]:
    for violation in VIOLATIONS:
        try:
            violation()
        except CallerError as error:
            yield error


async def _in_a_call(endings: list[Ending], _found: list[Symptom]) -> None:
    """The ends that an actor tells, by what it returns or raises."""
    for legs_end in (Closed(1000), Closed(1006)):
        endings += [await _caller_leaves(legs_end), await _vapi_leaves(legs_end)]
    endings.append(_ending([Exit("SilencePadder", error=await _caller_stalls())], None))
    endings.append(_ending([Exit("WebhookWatcher", error=ToolWebhookLost("it says why"))], None))


async def _details(found: list[Symptom]) -> None:
    found.append(seen((await _caller_leaves(Closed(1000))).detail))
    found.append(seen((await _caller_leaves(Closed(1006))).detail, code=1006))
    found.append(seen((await _vapi_leaves(Closed(1000))).detail, code=1000))
    broken = await _vapi_leaves(Closed(1006, "no pong within 5 s"))
    found.append(seen(broken.detail, code=1006, why="no pong within 5 s"))
    found.append(seen(str(await _caller_stalls())))
    found.append(seen(await _vapi_stalls()))
    found.append(seen(_ending([Exit("SilencePadder", error=ValueError("x"))], None).detail, actor="SilencePadder"))
    found.append(seen(_ending([], None).detail))
    found.append(seen(await _never_ready(), actor="SilencePadder"))


async def _caller_leaves(how: Closed) -> Ending:
    leg, (sender, _receiver) = FakeLeg(), open_audio_channel(1)
    leg.arrives(how)
    return await ActorSocketReader(leg, sender, new_record()).run(IGNORED)


async def _vapi_leaves(how: Closed) -> Ending:
    leg, (sender, _receiver) = FakeLeg(), open_audio_channel(1)
    leg.arrives(how)
    ending = await ControlMessageWatcher(leg, sender, new_record()).run(IGNORED)
    assert ending is not None
    return ending


async def _caller_stalls() -> Exception:
    leg, (sender, receiver) = FakeLeg(stalled=True, stall_seconds=limits.DOWNLINK_STALL_SECONDS), open_audio_channel(1)
    await sender.send(speech(0.02))
    padder: Any = SilencePadder(receiver, leg, new_record(), "burst")
    try:
        await padder.run(IGNORED)
    except CallerError as error:
        return error
    raise AssertionError("the padder did not mind")


async def _vapi_stalls() -> str:
    leg, (sender, receiver) = FakeLeg(stalled=True), open_audio_channel(1)
    await sender.send(speech(0.02))
    writer: Any = VapiSocketWriter(receiver, leg, new_record())
    return await said_later(CallError, lambda: writer.run(IGNORED))


async def _never_ready() -> str:
    class Sleeps:
        async def run(self, _task_status: Any) -> None:
            await trio.sleep_forever()

    log, _ = captured_log()
    async with open_supervisor("call", log) as call:
        return await said_later(StartFailed, lambda: call.start("SilencePadder", Sleeps))
    raise AssertionError("the supervisor ended")
