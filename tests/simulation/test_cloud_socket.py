"""The simulated call socket: what it says, how it sounds, how it ends."""

import pytest
import trio
from vapi_api import GREETING, QUICK, Api, call_body
from vapi_peers import dialled, until_over

from simulation.behaviour import Behaviour
from simulation.network import TrioSockets
from simulation.pcm import SILENT_FRAME, bytes_for
from simulation.scenario import AgentTurn
from simulation.speech import AGENT_VOICE
from simulation.websockets import DialError, close_socket, open_client_socket

QUICK_TURNS = Behaviour(endpointing_ms=100, model_ms=20, transcript_ms=20)


async def test_socket_says_in_progress_first_and_bare_and_then_greets(api: Api) -> None:
    """V-201, V-202, V-208, V-212, V-219, V-221."""
    async with dialled(api) as (client, call):
        await trio.sleep(0.6)
        assert client.texts[0] == {"type": "status-update", "status": "in-progress"}
        assert client.texts[1] == {"type": "speech-update", "status": "started", "role": "assistant", "turn": 0}
        kinds = [text["type"] for text in client.texts]
        assert kinds[2:] == ["speech-update", "transcript", "conversation-update"]
        assert client.texts[3]["transcript"] == GREETING.say
        assert bytes(client.audio) == bytes(call.spoken) == QUICK.pcm(AGENT_VOICE, GREETING.say)
        assert call.status == "in-progress"
        await client.socket.send_message('{"type":"end-call"}')
        await until_over(call)
    assert client.texts[-1] == {"type": "status-update", "status": "ended", "endedReason": "manually-canceled"}
    assert client.close_code == 1000


async def test_socket_sends_only_what_was_subscribed(api: Api) -> None:
    """V-203."""
    async with dialled(api, clientMessages=["status-update"]) as (client, _):
        await trio.sleep(0.6)
        assert [text["type"] for text in client.texts] == ["status-update"]


async def test_socket_wraps_messages_when_told(api: Api) -> None:
    """V-202."""
    api.cloud.behaviour = Behaviour(envelope="message")
    async with dialled(api) as (client, _):
        await trio.sleep(0.1)
        assert client.texts[0] == {"message": {"type": "status-update", "status": "in-progress"}}


async def test_socket_sends_audio_in_real_time_in_uneven_pairs(api: Api) -> None:
    """V-204, V-205, V-206."""
    api.cloud.agent = (AgentTurn("one two three four five six seven eight nine ten eleven twelve"),)
    async with dialled(api) as (client, call):
        began = trio.current_time()
        await trio.sleep(1.1)
        assert len(client.audio) == len(call.spoken) == bytes_for(0.96)
        assert 0.8 < client.chunks[-1][0] - began < 1.05
    sizes = [size for _, size in client.chunks]
    assert any(size % 2 for size in sizes)
    assert len(set(sizes)) > 5
    gaps = [later[0] - sooner[0] for sooner, later in zip(client.chunks, client.chunks[1:], strict=False)]
    assert sum(gap > 0.05 for gap in gaps) >= 6
    assert sum(gap < 0.01 for gap in gaps) >= 6


async def test_socket_streams_silence_only_when_told(api: Api) -> None:
    """V-207."""
    async with dialled(api) as (client, call):
        await trio.sleep(0.8)
        quiet = len(client.audio)
        api.cloud.behaviour = Behaviour(streams_silence=True)
        await trio.sleep(0.6)
        assert len(client.audio) > quiet + bytes_for(0.3)
        assert not any(client.audio[quiet:])
        assert bytes(client.audio) == bytes(call.spoken)


async def test_socket_works_once_and_only_under_its_own_url(api: Api) -> None:
    """V-102, V-220."""
    url = await api.transport()
    async with open_client_socket(TrioSockets(), url) as socket:
        with pytest.raises(DialError, match="409"):
            async with open_client_socket(TrioSockets(), url):
                pass
        with pytest.raises(DialError, match="404"):
            async with open_client_socket(TrioSockets(), url.replace("/transport", "/listen")):
                pass
        await close_socket(socket, 1000)
    await until_over(api.cloud.calls[0])
    assert (api.cloud.calls[0].ended_reason, api.cloud.calls[0].close_code) == ("customer-ended-call", 1000)


async def test_socket_takes_the_next_turn_when_the_caller_has_finished(api: Api) -> None:
    """V-208, V-301."""
    api.cloud.behaviour = QUICK_TURNS
    api.cloud.agent = (GREETING, AgentTurn("yes indeed"))
    api.cloud.caller_lines = ("are you there",)
    async with dialled(api) as (client, call):
        await client.be_silent(0.5)
        await client.say(QUICK.pcm("slt", "are you there"))
        await client.be_silent(0.5)
        assert [text["transcript"] for text in client.seen(type="transcript", role="user")] == ["are you there"]
        assert len(client.seen(type="speech-update", role="user")) == 2
        assert bytes(client.audio).endswith(QUICK.pcm(AGENT_VOICE, "yes indeed"))
        assert not call.violations
        assert call.bytes_too_fast == 0
        assert call.longest_gap_ms < 80


async def test_socket_does_not_end_a_turn_when_no_silence_is_sent(api: Api) -> None:
    """V-301."""
    api.cloud.behaviour = QUICK_TURNS
    async with dialled(api) as (client, _):
        await trio.sleep(0.5)
        await client.say(QUICK.pcm("slt", "are you there"))
        await trio.sleep(0.4)
        assert not client.seen(type="speech-update", role="user", status="stopped")


async def test_socket_is_interrupted_by_speech_and_stops_at_once(api: Api) -> None:
    """V-213, V-306."""
    api.cloud.behaviour = QUICK_TURNS
    api.cloud.agent = (AgentTurn("a " * 30),)
    async with dialled(api, firstMessageInterruptionsEnabled=True) as (client, call):
        await client.be_silent(0.3)
        await client.say(QUICK.pcm("slt", "stop please now"))
        assert call.interruptions == 1
        assert client.seen(type="user-interrupted")
        heard = len(client.audio)
        await client.be_silent(0.3)
        assert len(client.audio) == heard < bytes_for(0.8)
        assert len(client.audio) % 2 == 0
        assert client.seen(type="speech-update", role="assistant", status="stopped")


async def test_socket_lets_a_short_sound_and_a_protected_greeting_pass(api: Api) -> None:
    """V-305, V-308."""
    api.cloud.behaviour = QUICK_TURNS
    api.cloud.agent = (AgentTurn("a " * 10), AgentTurn("not reached"))
    async with dialled(api) as (client, call):
        await client.say(QUICK.pcm("slt", "this is long enough"))
        await client.be_silent(0.7)
        assert call.interruptions == 0
        assert bytes(client.audio) == QUICK.pcm(AGENT_VOICE, "a " * 10)


async def test_socket_counts_audio_that_comes_too_fast(api: Api) -> None:
    """V-225."""
    async with dialled(api) as (client, call):
        for _ in range(50):
            await client.socket.send_message(SILENT_FRAME)
        await trio.sleep(0.2)
        assert call.bytes_too_fast > bytes_for(0.7)


@pytest.mark.parametrize("text", ['{"type":"ping"}', '{"message":{"type":"end-call"}}', "not json"])
async def test_socket_records_text_it_does_not_know(api: Api, text: str) -> None:
    """V-217."""
    async with dialled(api) as (client, call):
        await client.socket.send_message(text)
        await trio.sleep(0.1)
        assert len(call.violations) == 1
        assert call.status == "in-progress"


@pytest.mark.parametrize(
    ("behaviour", "reason", "last_text", "code"),
    [
        (Behaviour(), "assistant-ended-call", "ended", 1000),
        (Behaviour(close_before_ended=True, close_code=1001), "assistant-ended-call", "in-progress", 1001),
        (Behaviour(drop_after_seconds=0.02), "call.in-progress.error-vapifault-worker-died", "in-progress", 1006),
    ],
)
async def test_socket_ends_in_each_way(api: Api, behaviour: Behaviour, reason: str, last_text: str, code: int) -> None:
    """V-221, V-222, V-223, V-501."""
    api.cloud.behaviour = behaviour
    api.cloud.agent = (AgentTurn("bye", end_call=True),)
    async with dialled(api, clientMessages=["status-update"]) as (client, call):
        await until_over(call)
        await trio.sleep(0.05)
    assert (call.ended_reason, client.texts[-1]["status"], client.close_code) == (reason, last_text, code)


async def test_socket_ends_when_nobody_is_heard(api: Api) -> None:
    """V-502."""
    api.cloud.agent = ()
    url = await api.transport(call_body(firstMessageMode="assistant-waits-for-user"))
    call = api.cloud.calls[-1]
    call.request["assistant"]["silenceTimeoutSeconds"] = 0.2  # type: ignore[index]
    async with open_client_socket(TrioSockets(), url):
        await until_over(call)
    assert call.ended_reason == "silence-timed-out"


async def test_socket_obeys_the_hangup_of_the_documentations_example(api: Api) -> None:
    """V-218."""
    async with dialled(api) as (client, call):
        await client.socket.send_message('{"type":"hangup"}')
        await until_over(call)
    assert call.ended_by == "client"
    assert not call.violations


async def test_socket_ends_at_its_longest_duration(api: Api) -> None:
    """V-503."""
    # Its client reads nothing, so the close frame is never answered.
    api.cloud.behaviour = Behaviour(finish_seconds=0.2)
    url = await api.transport()
    call = api.cloud.calls[-1]
    call.request["assistant"]["maxDurationSeconds"] = 0.2  # type: ignore[index]
    async with open_client_socket(TrioSockets(), url):
        await until_over(call)
    assert call.ended_reason == "exceeded-max-duration"


async def test_socket_leaves_the_client_unread_when_told(api: Api) -> None:
    """V-224."""
    api.cloud.behaviour = Behaviour(stop_reading=True)
    async with dialled(api) as (client, call):
        await client.be_silent(0.2)
        assert not call.heard
        api.cloud.behaviour = Behaviour()
        await trio.sleep(0.2)
        assert len(call.heard) == bytes_for(0.2)


async def test_socket_sends_nothing_while_told_to_be_dead(api: Api) -> None:
    """V-224."""
    api.cloud.behaviour = Behaviour(stop_sending=True)
    async with dialled(api) as (client, _):
        await trio.sleep(0.3)
        assert not client.texts
        assert not client.audio
