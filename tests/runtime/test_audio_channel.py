"""runtime/channels.py: a channel bounded in seconds of audio, with facts between."""

import hypothesis
import pytest
import trio
import trio.testing
from hypothesis import strategies as st

from runtime import limits
from runtime.channels import (
    AssistantStarted,
    AssistantStopped,
    AudioReceiveChannel,
    AudioSendChannel,
    CallerInterrupted,
    Item,
    open_audio_channel,
)
from tests.fakes import silence, speech
from tests.virtual_time import run_in_virtual_time

FRAME = speech(0.02)


async def send_all(send: AudioSendChannel, *items: Item) -> None:
    for item in items:
        await send.send(item)


async def receive_all(receive: AudioReceiveChannel, most_bytes: int | None = None) -> list[Item]:
    items = []
    with pytest.raises(trio.EndOfChannel):
        while True:
            items.append(await receive.receive(most_bytes))
    return items


async def test_channel_holds_its_bound_in_seconds_when_nobody_receives() -> None:
    send, receive = open_audio_channel(0.5)
    accepted = 0
    with trio.move_on_after(1):
        while True:
            await send.send(FRAME)
            accepted += 1
    assert accepted == 25
    assert receive.statistics().queued_seconds == pytest.approx(0.5)
    assert send.statistics().bound_seconds == pytest.approx(0.5)


async def test_sender_waits_when_full_and_goes_on_when_one_frame_is_taken(nursery: trio.Nursery) -> None:
    send, receive = open_audio_channel(0.04)
    await send_all(send, FRAME, FRAME)
    nursery.start_soon(send.send, FRAME)
    await trio.testing.wait_all_tasks_blocked()
    assert receive.statistics().queued_seconds == pytest.approx(0.04)
    await receive.receive()
    await trio.testing.wait_all_tasks_blocked()
    assert receive.statistics().queued_seconds == pytest.approx(0.04)
    assert send.statistics().waits == 1


async def test_channel_takes_one_oversized_message_when_it_is_empty_only() -> None:
    send, receive = open_audio_channel(0.1)
    await send.send(speech(3))
    with trio.move_on_after(1) as scope:
        await send.send(FRAME)
    assert scope.cancelled_caught
    assert await receive.receive() == speech(3)
    await send.send(FRAME)
    with trio.move_on_after(1) as scope:
        await send.send(speech(3))
    assert scope.cancelled_caught
    assert await receive.receive() == FRAME


async def test_send_takes_nothing_when_cancelled_while_full() -> None:
    send, receive = open_audio_channel(0.02)
    await send.send(FRAME)
    with trio.move_on_after(1):
        await send.send(silence(0.02))
    send.close()
    assert await receive_all(receive) == [FRAME]


async def test_send_takes_nothing_when_cancelled_before_it_began() -> None:
    send, receive = open_audio_channel(1)
    with trio.CancelScope() as scope:
        scope.cancel()
        await send.send(FRAME)
    assert receive.statistics().queued_seconds == 0


async def test_receive_takes_nothing_when_cancelled() -> None:
    send, receive = open_audio_channel(1)
    await send.send(FRAME)
    with trio.CancelScope() as scope:
        scope.cancel()
        await receive.receive()
    with trio.move_on_after(0):
        await receive.receive_by(trio.current_time() + 1)
    assert await receive.receive() == FRAME


async def test_channel_keeps_facts_in_their_place_when_audio_is_dropped() -> None:
    send, receive = open_audio_channel(10)
    await send_all(send, AssistantStarted(), speech(1), AssistantStopped(), speech(0.5), CallerInterrupted(0.0))
    assert send.drop_audio() == len(speech(1.5))
    assert receive.statistics().queued_seconds == pytest.approx(3 * limits.FRAME_SECONDS)
    send.close()
    assert await receive_all(receive) == [AssistantStarted(), AssistantStopped(), CallerInterrupted(0.0)]
    assert receive.statistics().queued_seconds == 0


async def test_waiting_sender_goes_on_when_audio_is_dropped(nursery: trio.Nursery) -> None:
    send, receive = open_audio_channel(0.02)
    await send.send(FRAME)
    nursery.start_soon(send.send, silence(0.02))
    await trio.testing.wait_all_tasks_blocked()
    send.drop_audio()
    await trio.testing.wait_all_tasks_blocked()
    assert await receive.receive() == silence(0.02)


async def test_receive_joins_and_splits_and_stops_at_facts_when_given_a_size() -> None:
    send, receive = open_audio_channel(10)
    await send_all(send, b"ab", b"cdefgh", AssistantStopped(), b"ij")
    send.close()
    assert await receive_all(receive, 6) == [b"abcdef", b"gh", AssistantStopped(), b"ij"]


async def test_receive_gives_messages_as_sent_when_given_no_size() -> None:
    send, receive = open_audio_channel(10)
    await send_all(send, b"ab", b"cd")
    assert [await receive.receive(), await receive.receive()] == [b"ab", b"cd"]


async def test_fill_falls_by_what_was_taken_when_messages_are_joined_and_split() -> None:
    send, receive = open_audio_channel(10)
    await send_all(send, *[silence(0.01)] * 10)
    await receive.receive(len(silence(0.035)))
    assert receive.statistics().queued_seconds == pytest.approx(0.065)
    assert receive.statistics().peak_seconds == pytest.approx(0.1)


async def test_receive_by_gives_what_waits_when_the_deadline_has_passed() -> None:
    send, receive = open_audio_channel(1)
    await send.send(FRAME)
    await trio.sleep(5)
    assert await receive.receive_by(trio.current_time() - 3) == FRAME
    assert await receive.receive_by(trio.current_time() - 3) is None


async def test_receive_by_waits_until_its_deadline_when_nothing_comes(nursery: trio.Nursery) -> None:
    _send, receive = open_audio_channel(1)
    began = trio.current_time()
    assert await receive.receive_by(began + 0.3) is None
    assert trio.current_time() - began == pytest.approx(0.3)


async def test_receive_by_gives_audio_when_it_comes_before_the_deadline(nursery: trio.Nursery) -> None:
    send, receive = open_audio_channel(1)

    async def later() -> None:
        await trio.sleep(0.1)
        await send.send(FRAME)

    nursery.start_soon(later)
    assert await receive.receive_by(trio.current_time() + 0.3) == FRAME
    assert trio.current_time() == pytest.approx(0.1, abs=1e-6)


async def test_receive_by_never_says_none_when_an_item_waits(nursery: trio.Nursery) -> None:
    send, receive = open_audio_channel(1)
    for _ in range(30):  # the order of two tasks that wake together is drawn by chance
        nursery.start_soon(send.send, FRAME)
        if await receive.receive_by(trio.current_time()) is None:
            assert receive.statistics().queued_seconds == 0
            await receive.receive()


async def test_receiver_gets_what_is_queued_and_then_the_end_when_the_sender_closes() -> None:
    send, receive = open_audio_channel(1)
    await send.send(FRAME)
    send.close()
    assert await receive_all(receive) == [FRAME]
    with pytest.raises(trio.ClosedResourceError):
        await send.send(FRAME)


async def test_waiting_receiver_is_told_the_end_when_the_sender_closes(nursery: trio.Nursery) -> None:
    send, receive = open_audio_channel(1)
    nursery.start_soon(receive_all, receive)
    await trio.testing.wait_all_tasks_blocked()
    send.close()


async def test_sender_is_told_when_the_receiver_has_closed(nursery: trio.Nursery) -> None:
    send, receive = open_audio_channel(0.02)
    await send.send(FRAME)
    told = trio.Event()

    async def blocked() -> None:
        with pytest.raises(trio.BrokenResourceError):
            await send.send(FRAME)
        told.set()

    nursery.start_soon(blocked)
    await trio.testing.wait_all_tasks_blocked()
    receive.close()
    await told.wait()
    with pytest.raises(trio.ClosedResourceError):
        await receive.receive()


async def test_closing_receiver_is_told_what_was_lost_and_only_once() -> None:
    send, receive = open_audio_channel(1)
    await send_all(send, FRAME, AssistantStopped(), b"ab")
    assert await receive.receive(100) == FRAME[:100]
    assert (receive.close(), receive.close()) == (len(FRAME) - 100 + 2, 0)
    assert send.statistics().queued_seconds == 0


async def test_receiver_learns_that_the_sender_has_closed_when_something_is_queued(nursery: trio.Nursery) -> None:
    send, receive = open_audio_channel(1)
    await send.send(FRAME)
    ended: list[float] = []

    async def wait() -> None:
        await receive.wait_ended()
        ended.append(trio.current_time())

    nursery.start_soon(wait)
    await trio.sleep(1)
    await send.send(FRAME)
    await trio.sleep(1)
    send.close()
    await trio.testing.wait_all_tasks_blocked()
    assert ended == pytest.approx([2])
    assert await receive_all(receive) == [FRAME, FRAME]


@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(
    chunks=st.lists(st.one_of(st.binary(min_size=1, max_size=3000), st.just(AssistantStopped())), max_size=30),
    most_bytes=st.one_of(st.none(), st.integers(1, 2000)),
    bound_seconds=st.floats(0.01, 0.5),
)
def test_bytes_and_facts_come_out_as_they_went_in_when_chunked_at_random(
    chunks: list[Item], most_bytes: int | None, bound_seconds: float
) -> None:
    async def main() -> None:
        send, receive = open_audio_channel(bound_seconds)
        async with trio.open_nursery() as nursery:

            async def feed() -> None:
                await send_all(send, *chunks)
                send.close()

            nursery.start_soon(feed)
            got = await receive_all(receive, most_bytes)
        assert stretches(got) == stretches(chunks)
        assert most_bytes is None or all(len(item) <= most_bytes for item in got if isinstance(item, bytes))
        statistics = receive.statistics()
        assert statistics.queued_seconds == 0
        longest = max((len(item) for item in chunks if isinstance(item, bytes)), default=0)
        largest = max(statistics.bound_seconds, longest / limits.AUDIO_BYTES_PER_SECOND, limits.FRAME_SECONDS)
        assert statistics.peak_seconds <= largest + 1e-9

    run_in_virtual_time(main)


def stretches(items: list[Item]) -> list[Item]:
    """Neighbouring audio as one piece, facts in their places."""
    joined: list[Item] = []
    for item in items:
        if isinstance(item, bytes) and joined and isinstance(joined[-1], bytes):
            joined[-1] += item
        else:
            joined.append(item)
    return joined
