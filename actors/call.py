"""One call. Read this first: it is the diagram.

    caller ─▶ ActorSocketReader ──caller_audio──▶ VapiSocketWriter ─▶ Vapi
    caller ◀─ SilencePadder ◀────agent_audio──── ControlMessageWatcher ◀─ Vapi
    webhook ──tool_posts──▶ ToolDispatcher ─▶ tools ─▶ PostgreSQL

The caller is listened to from the first moment, so that a hang-up cancels the set-up too. The call ends
when the reader ends (the caller is gone) or the padder ends (Vapi is done, and all it said is written; what is
not written PLAYOUT_SECONDS later is dropped).
"""

from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager, suppress

import structlog
import trio

from actors.actor_socket_reader import ActorSocketReader
from actors.control_message_watcher import ControlMessageWatcher
from actors.silence_padder import SilencePadder
from actors.tool_dispatcher import ToolDispatcher
from actors.vapi_socket_writer import VapiSocketWriter
from actors.webhook_watcher import WebhookWatcher
from runtime import limits
from runtime.channels import AudioReceiveChannel, open_audio_channel
from runtime.errors import CallerError, CallError, NoAnswer, VendorError
from runtime.house import House
from runtime.leg import Leg
from runtime.record import CallRecord, Ending
from runtime.supervisor import Exit, Restart, StartFailed, open_supervisor
from runtime.tool_posts import PendingPost
from runtime.tunnels.way_in import FixedAddress


async def run_call(caller: Leg, record: CallRecord, house: House, nursery: trio.Nursery) -> Ending:
    """Bridge `caller` to a new call at Vapi until either side is done. Closes Vapi's leg, not the caller's.

    Never raises but for cancellation; cancelled, the call is taken down in order all the same.
    `nursery` must outlive the call: the legs' readers live there.
    """
    log: structlog.typing.FilteringBoundLogger = structlog.get_logger()
    to_vapi, caller_audio = open_audio_channel(limits.CALLER_AUDIO_SECONDS)
    to_caller, agent_audio = open_audio_channel(limits.AGENT_AUDIO_SECONDS)
    record.tool_posts, tool_posts = trio.open_memory_channel[PendingPost](limits.TOOL_QUEUE_ITEMS)
    record.channels = {"caller_audio": to_vapi.statistics, "agent_audio": to_caller.statistics}
    exits: Sequence[Exit] = ()
    failure: CallError | None = None
    try:
        with house.calls.registered(record), house.way_in.use():
            async with AsyncExitStack() as vapi_side, open_supervisor(f"call {record.id}", log) as call:
                exits, record.supervisor = call.exits, call
                await call.start(
                    "ActorSocketReader", lambda: ActorSocketReader(caller, to_vapi, record), significant=True
                )
                await call.start(
                    "ToolDispatcher",
                    lambda: ToolDispatcher(
                        tool_posts.clone(), house.database, house.registry, house.reporter, record, log
                    ),
                    restart=Restart(),
                    stop_seconds=limits.TOOL_STOP_SECONDS,
                )
                with _discarding(caller_audio, record, nursery):
                    base_url = await house.way_in.base_url()
                    vapi = await _open_vapi(record, house, base_url, nursery, vapi_side)
                record.phase, record.live_at = "live", trio.current_time()
                if not isinstance(house.way_in, FixedAddress):  # nothing can be lost there
                    await call.start("WebhookWatcher", lambda: WebhookWatcher(house.way_in, base_url, record))
                await call.start(
                    "SilencePadder",
                    lambda: SilencePadder(agent_audio, caller, record, house.settings.tail_mode),
                    significant=True,
                )
                await call.start("VapiSocketWriter", lambda: VapiSocketWriter(caller_audio, vapi, record))
                await call.start("ControlMessageWatcher", lambda: ControlMessageWatcher(vapi, to_caller, record))
                await agent_audio.wait_ended()
                await trio.sleep(limits.PLAYOUT_SECONDS)  # as a rule cancelled by the padder's end: all is written
                record.counts["playouts_cut"] += 1
    except CallError as exc:
        failure = exc
    except StartFailed as exc:
        log.error("call_not_started", error=str(exc))
    finally:
        record.phase = "over"
        house.call_over(record)
        _refuse_tools(record.tool_posts, tool_posts)
        # Closed by the writer and the padder, if they ever began.
        record.counts["uplink_bytes_discarded"] += caller_audio.close()
        record.counts["downlink_bytes_discarded"] += agent_audio.close()
        record.peaks["caller_audio_seconds"] = to_vapi.statistics().peak_seconds
        record.peaks["agent_audio_seconds"] = to_caller.statistics().peak_seconds
    return _ending(exits, failure)


async def _open_vapi(
    record: CallRecord, house: House, base_url: str, nursery: trio.Nursery, vapi_side: AsyncExitStack
) -> Leg:
    """Wait for a free slot at Vapi, create the call and dial its socket; `vapi_side` ends both. Raises NoAnswer."""
    most_seconds = 2 * limits.VAPI_SLOT_SECONDS + limits.SETUP_SECONDS  # our queue, then Vapi's own
    try:
        with trio.fail_after(most_seconds):
            opening = house.vapi_calls.call(record, house.call_request(record, base_url), nursery)
            return await vapi_side.enter_async_context(opening)
    except trio.TooSlowError:
        waited = f"Vapi was not ready within {most_seconds:g} s (a free slot, its answer to POST /call, its WebSocket)"
        line = f"{waited}: look at VAPI_SLOTS, at this machine's network and at Vapi's status page"
        raise NoAnswer("vapi_down", line) from None


@contextmanager
def _discarding(caller_audio: AudioReceiveChannel, record: CallRecord, nursery: trio.Nursery) -> Iterator[None]:
    """Throw away, and count, what the caller says before Vapi listens: sent later, it would come faster
    than real time, and that breaks Vapi's end-of-turn detection."""
    listening = trio.CancelScope()

    async def discard() -> None:
        with listening, suppress(trio.EndOfChannel):
            while True:
                pcm = await caller_audio.receive()
                record.counts["setup_bytes_discarded"] += len(pcm) if isinstance(pcm, bytes) else 0

    nursery.start_soon(discard)
    try:
        yield
    finally:
        listening.cancel()


def _refuse_tools(
    sender: "trio.MemorySendChannel[PendingPost]", receiver: "trio.MemoryReceiveChannel[PendingPost]"
) -> None:
    sender.close()
    while True:
        try:
            receiver.receive_nowait().fail("call is over")
        except (trio.WouldBlock, trio.EndOfChannel):
            break
    receiver.close()


def _ending(exits: Sequence[Exit], failure: CallError | None) -> Ending:
    """The first fact that explains the end: a child's result or error, else what the set-up raised."""
    for exit_ in exits:
        if isinstance(exit_.result, Ending):
            return exit_.result
        if isinstance(exit_.error, CallError):
            failure = exit_.error
            break
        if exit_.error is not None:
            return Ending("runtime", "internal_error", 1011, f"{exit_.name} failed")
    if isinstance(failure, CallerError):
        return Ending.of(failure, "caller")
    if isinstance(failure, VendorError):
        return Ending.of(failure, "vapi")
    return Ending("runtime", "internal_error", 1011, str(failure or "no actor told why the call ended"))
