"""A memory channel whose bound is seconds of audio, not a number of items.

`trio.open_memory_channel` counts items, and an audio message may be 2 bytes or 64 KiB: a bound in items
bounds neither delay nor memory. This one counts bytes. Otherwise it behaves as Trio's: closing the send
end lets what is queued be received and then raises `trio.EndOfChannel`; closing the receive end makes
sends raise `trio.BrokenResourceError`; using an end after closing it raises `trio.ClosedResourceError`.

A message is accepted when it fits, or when the channel is empty: one message larger than the bound must
not wait for ever. One sender, one receiver.

What comes while the receiver waits, and nothing is queued, need not wake it: with `at_once` it says what it does with
audio on the spot, and `offer` has it do so.

Between the audio, in order, go the facts that belong to that place in it (`TurnEvent`): two channels
could not tell whether speech ended before or behind a chunk. A fact weighs as much as a 20 ms frame.
"""

from collections import deque
from collections.abc import Iterable

import attrs
import trio

from runtime import limits
from runtime.leg import AtOnce, Audio, Passing


@attrs.frozen
class AssistantStarted:
    """A stretch of the assistant's speech begins."""


@attrs.frozen
class AssistantStopped:
    """Vapi has said all of this stretch; a late chunk may still follow."""


@attrs.frozen
class CallerInterrupted:
    """The caller barged in; `dropped_seconds` of stale speech were thrown away."""

    dropped_seconds: float


TurnEvent = AssistantStarted | AssistantStopped | CallerInterrupted
Item = bytes | TurnEvent


def _weight(item: Item) -> int:
    return len(item) if isinstance(item, bytes) else limits.FRAME_BYTES


def _audio_bytes(items: Iterable[Item]) -> int:
    return sum(len(item) for item in items if isinstance(item, bytes))


@attrs.define
class _State:
    """Mutable, all of it: the queue and its weight in bytes, the peak, who has closed, what a receiver that waits does
    at once, and what it raised then."""

    bound_bytes: int
    items: deque[Item] = attrs.field(factory=deque)
    queued_bytes: int = 0
    peak_bytes: int = 0
    waits: int = 0
    send_closed: bool = False
    receive_closed: bool = False
    at_once: AtOnce | None = None
    failure: Exception | None = None
    changed: trio.Event = attrs.field(factory=trio.Event)
    ended: trio.Event = attrs.field(factory=trio.Event)

    def notify(self) -> None:
        self.changed.set()
        self.changed = trio.Event()

    def put(self, item: Item) -> None:
        self.items.append(item)
        self.queued_bytes += _weight(item)
        self.peak_bytes = max(self.peak_bytes, self.queued_bytes)
        self.notify()

    def pass_on(self, at_once: AtOnce) -> bool:
        """The audio before the next fact, as far as `at_once` takes it; whether nothing is queued then."""
        waited = bool(self.items)
        while self.items and isinstance(item := self.items[0], bytes) and at_once(Audio(item)):
            self.items.popleft()
            self.queued_bytes -= _weight(item)
        if waited:
            self.notify()
        return not self.items

    def keep(self, items: Iterable[Item]) -> int:
        """Throw away all but these; returns the bytes of audio thrown away."""
        before_bytes = _audio_bytes(self.items)
        self.items = deque(items)
        self.queued_bytes = sum(map(_weight, self.items))
        self.notify()
        return before_bytes - _audio_bytes(self.items)

    def take(self, most_bytes: int | None) -> Item:
        item = self.items.popleft()
        if most_bytes is not None and isinstance(item, bytes):
            while len(item) < most_bytes and self.items and isinstance(following := self.items[0], bytes):
                item += following
                self.items.popleft()
            if len(item) > most_bytes:
                self.items.appendleft(item[most_bytes:])
                item = item[:most_bytes]
        self.queued_bytes -= _weight(item)
        self.notify()
        return item


@attrs.frozen
class AudioStatistics:
    """A channel's fill against its bound, in seconds of audio, and how often a sender had to wait."""

    bound_seconds: float
    queued_seconds: float
    peak_seconds: float
    waits: int


@attrs.define
class AudioSendChannel:
    """The writing end. Cancelled while waiting: the message was not taken."""

    _state: _State

    async def send(self, item: Item) -> None:
        """Queue `item`, waiting while the channel is full."""
        await trio.lowlevel.checkpoint()
        if not self._fits(_weight(item)):
            self._state.waits += 1
            while not self._fits(_weight(item)):
                await self._state.changed.wait()
        self._state.put(item)

    def offer(self, audio: Passing) -> bool:
        """Hand it to a receiver that waits and can take it at once; False: it must be sent. What the receiver raises
        is raised there, not here."""
        state = self._state
        if state.at_once is None or state.send_closed or state.receive_closed:
            return False
        try:
            return (not state.items or state.pass_on(state.at_once)) and state.at_once(audio)
        except Exception as exc:  # noqa: BLE001  # not swallowed: raised in the task that receives, whose code it is
            state.failure = exc
            state.notify()
            return False

    def _fits(self, size_bytes: int) -> bool:
        state = self._state
        if state.send_closed:
            raise trio.ClosedResourceError("this audio channel's send end was closed")
        if state.receive_closed:
            raise trio.BrokenResourceError("the receiver of this audio channel is gone")
        return not state.items or state.queued_bytes + size_bytes <= state.bound_bytes

    def drop_audio(self) -> int:
        """Throw away the audio that waits to be received, not the facts; returns its bytes."""
        return self._state.keep(item for item in self._state.items if not isinstance(item, bytes))

    def close(self) -> None:
        self._state.send_closed = True
        self._state.ended.set()
        self._state.notify()

    def statistics(self) -> AudioStatistics:
        return _statistics(self._state)


@attrs.define
class AudioReceiveChannel:
    """The reading end. Cancelled while waiting: nothing was taken. Mutable: `_waiting`, of the last `receive_by`."""

    _state: _State
    _waiting: trio.CancelScope = attrs.field(factory=trio.CancelScope)

    async def receive(self, most_bytes: int | None = None) -> Item:
        """The next item; with `most_bytes`, up to that much of the audio before the next fact."""
        await trio.lowlevel.checkpoint()
        state = self._state
        while not state.items:
            if state.failure is not None:
                raise state.failure
            if state.receive_closed:
                raise trio.ClosedResourceError("this audio channel's receive end was closed")
            if state.send_closed:
                raise trio.EndOfChannel("no more audio")
            await state.changed.wait()
        return state.take(most_bytes)

    async def receive_by(
        self, deadline: float, most_bytes: int | None = None, at_once: AtOnce | None = None
    ) -> Item | None:
        """As `receive`, but None once `deadline` (Trio's clock) has passed, nothing is queued and nobody has closed.

        Audio that `at_once` takes is not returned, whether it is queued or comes while this waits.
        """
        if at_once is not None:
            self._state.pass_on(at_once)
        self._state.at_once = at_once
        try:
            with trio.move_on_at(deadline) as self._waiting:
                while not self.ready():
                    await self._state.changed.wait()
        finally:
            self._state.at_once = None
        return await self.receive(most_bytes) if self.ready() else None

    def postpone(self, deadline: float) -> None:
        """Of the `receive_by` that waits, if any. It costs less than to be woken too early."""
        self._waiting.deadline = deadline

    def ready(self) -> bool:
        """`receive` would not wait: something is queued, or somebody has closed."""
        state = self._state
        return bool(state.items) or state.send_closed or state.receive_closed or state.failure is not None

    async def wait_ended(self) -> None:
        """Until the sender has closed. What is queued then can still be received."""
        await self._state.ended.wait()

    def close(self) -> int:
        """Take no more; returns the bytes of audio that were queued, and are lost. Idempotent."""
        self._state.receive_closed = True
        return self._state.keep(())

    def statistics(self) -> AudioStatistics:
        return _statistics(self._state)


def _statistics(state: _State) -> AudioStatistics:
    rate = limits.AUDIO_BYTES_PER_SECOND
    return AudioStatistics(state.bound_bytes / rate, state.queued_bytes / rate, state.peak_bytes / rate, state.waits)


def open_audio_channel(bound_seconds: float) -> tuple[AudioSendChannel, AudioReceiveChannel]:
    """A channel that holds at most `bound_seconds` of PCM16 at 24 kHz, or one message if that is longer."""
    state = _State(round(bound_seconds * limits.AUDIO_BYTES_PER_SECOND))
    return AudioSendChannel(state), AudioReceiveChannel(state)
