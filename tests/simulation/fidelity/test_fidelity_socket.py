"""What is said on a call's socket, and when, under the knobs that the tests of the socket itself do not turn."""

from collections.abc import Iterator
from typing import Any

import attrs
import pytest
import trio
from vapi_api import GREETING, QUICK, Api, call_body
from vapi_peers import Client, dialled, open_webhook, until_over

from simulation.behaviour import Behaviour
from simulation.pcm import bytes_for, seconds_of
from simulation.scenario import AgentTurn, ToolCall
from simulation.speech import AGENT_VOICE

FIND = AgentTurn(say="found", calls=(ToolCall("find", {"last4": "4242"}),))
ASKS = QUICK.pcm("slt", "are you there")
LONG = "a " * 40


async def held(api: Api, *agent: AgentTurn, seconds: float = 2.0, **assistant: Any) -> Client:
    """A call in which the caller says one thing, as it was at its end."""
    api.cloud.agent = agent
    async with dialled(api, **assistant) as (client, _):
        await client.be_silent(1.0)
        await client.say(ASKS)
        await client.be_silent(seconds)
    return client


def order(client: Client) -> list[tuple[str, str, str]]:
    return [(text["type"], text.get("role", ""), text.get("status", "")) for text in client.texts]


@pytest.mark.parametrize("late_ms", [400.0, 20.0, -200.0])
async def test_stopped_comes_beside_the_end_of_the_audio_and_the_transcript_behind_it(
    virtual: Api, late_ms: float
) -> None:
    """V-209, V-211."""
    virtual.cloud.behaviour = Behaviour(late_stopped_ms=late_ms)
    virtual.cloud.agent = (GREETING,)
    seen: dict[str, float] = {}
    async with dialled(virtual) as (client, _):
        began = trio.current_time()
        while "transcript" not in seen:
            await trio.sleep(0.005)
            for text in client.texts:
                seen.setdefault(text.get("status", text["type"]), trio.current_time() - began)
    spoken_seconds = seconds_of(len(QUICK.pcm(AGENT_VOICE, GREETING.say)))
    assert seen["stopped"] - seen["started"] == pytest.approx(spoken_seconds + late_ms / 1000, abs=0.03)
    assert seen["transcript"] - seen["stopped"] == pytest.approx(0.16, abs=0.03)


async def test_callers_stopped_comes_behind_the_answers_started_only_when_told(virtual: Api) -> None:
    """V-210, V-302."""
    started, stopped = ("speech-update", "assistant", "started"), ("speech-update", "user", "stopped")
    usual = order(await held(virtual, GREETING, AgentTurn("yes")))
    assert usual.index(stopped) < [at for at, entry in enumerate(usual) if entry == started][1]
    virtual.cloud.behaviour = Behaviour(late_user_stopped_ms=450)
    late = order(await held(virtual, GREETING, AgentTurn("yes")))
    assert late.index(stopped) > [at for at, entry in enumerate(late) if entry == started][1]


async def test_history_has_the_documented_name_when_told(virtual: Api) -> None:
    """V-212."""
    virtual.cloud.behaviour = Behaviour(conversation_field="messagesOpenAIFormatted")
    client = await held(virtual, GREETING)
    (*_, last) = client.seen(type="conversation-update")
    assert [entry["role"] for entry in last["messagesOpenAIFormatted"]] == ["assistant", "user"]
    assert "conversation" not in last


@pytest.mark.parametrize(("delay_seconds", "hangs"), [(0.1, 0), (0.9, 1)])
async def test_hang_comes_once_and_ends_nothing_when_a_tool_is_slow(
    virtual: Api, delay_seconds: float, hangs: int
) -> None:
    """V-214, V-215."""
    virtual.cloud.behaviour = Behaviour(hang_after_seconds=0.5)
    virtual.cloud.agent = (FIND,)
    async with open_webhook() as webhook:
        webhook.delay_seconds = delay_seconds
        async with dialled(virtual, call_body(tool_url=webhook.url)) as (client, call):
            await client.be_silent(2.0)
            assert call.status == "in-progress"
    assert len(client.seen(type="hang")) == hangs
    assert len(client.seen(type="tool-calls")) == 1
    assert len(webhook.requests) == 1


def runs(client: Client) -> Iterator[int]:
    """How many chunks came together, before each gap."""
    count, last = 0, 0.0
    for when, _ in client.chunks:
        if count and when - last > 0.005:
            yield count
            count = 0
        count, last = count + 1, when


@pytest.mark.parametrize(("chunk_ms", "on_end"), [(46.0, 2), (93.0, 2), (20.0, 1), (46.0, 1)])
async def test_chunks_are_as_long_and_as_many_on_end_as_told(virtual: Api, chunk_ms: float, on_end: int) -> None:
    """V-204, V-205, V-206."""
    virtual.cloud.behaviour = Behaviour(chunk_ms=chunk_ms, chunks_on_end=on_end, odd_chunks=False, jitter_ms=0)
    virtual.cloud.agent = (AgentTurn(LONG),)
    async with dialled(virtual) as (client, call):
        began = trio.current_time()
        await client.be_silent(1.9)
        assert bytes_for(1.8) < len(client.audio) < bytes_for(trio.current_time() - began + 0.25)
    sizes = [size for _, size in client.chunks]
    assert not any(size % 2 for size in sizes)
    assert sum(sizes) / len(sizes) == pytest.approx(bytes_for(chunk_ms / 1000), rel=0.1)
    assert set(runs(client)) == {on_end}
    assert bytes(call.spoken).startswith(bytes(client.audio))


async def test_silence_is_noisy_but_nearly_silent_when_told(virtual: Api) -> None:
    """V-207."""
    virtual.cloud.behaviour = Behaviour(streams_silence=True, silence_peak=8, odd_chunks=False)
    virtual.cloud.agent = (AgentTurn(""),)
    async with dialled(virtual) as (client, _):
        await client.be_silent(0.5)
    samples = memoryview(bytes(client.audio)).cast("h")
    assert len(samples) > 5_000
    assert 0 < max(abs(sample) for sample in samples) <= 8


async def test_ping_is_answered(virtual: Api) -> None:
    """V-224."""
    async with dialled(virtual) as (client, _):
        with trio.fail_after(1):
            await client.socket.ping(b"20 s")


async def test_call_ends_when_the_client_takes_nothing(virtual: Api) -> None:
    """V-226."""
    virtual.cloud.behaviour = Behaviour(send_stall_seconds=2.0, streams_silence=True, chunk_ms=2000)
    url = await virtual.transport()
    host, _, path = url.removeprefix("ws://").partition("/")
    stream = await trio.open_tcp_stream(host.partition(":")[0], int(host.partition(":")[2]))
    key = "sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    lines = f"GET /{path} HTTP/1.1\r\nhost: {host}\r\nupgrade: websocket\r\nconnection: upgrade\r\n{key}\r\n"
    await stream.send_all(lines.encode())
    call = virtual.cloud.calls[-1]
    with trio.fail_after(1000):
        await call.over.wait()
    assert call.ended_reason == "call.in-progress.error-vapifault-call-started-but-connection-to-transport-missing"
    await stream.aclose()


@pytest.mark.parametrize(
    ("mode", "first"),
    [
        ({}, "good day to you"),
        ({"firstMessageMode": "assistant-speaks-first"}, "good day to you"),
        ({"firstMessageMode": "assistant-speaks-first-with-model-generated-message"}, "good day to you"),
        ({"firstMessageMode": "assistant-waits-for-user"}, "(240 ms of speech)"),
    ],
)
async def test_assistant_speaks_first_or_waits_as_its_mode_says(virtual: Api, mode: dict[str, str], first: str) -> None:
    """V-303."""
    client = await held(virtual, GREETING, **mode)
    said = [text["transcript"] for text in client.seen(type="transcript")]
    assert said[0] == first
    assert "good day to you" in said


async def test_first_message_is_said_behind_the_first_turn_when_it_waits_and_nothing_is_scripted(virtual: Api) -> None:
    """V-304."""
    client = await held(virtual, firstMessageMode="assistant-waits-for-user", firstMessage="at last")
    assert [text["transcript"] for text in client.seen(type="transcript")][1:] == ["at last"]


@pytest.mark.parametrize(("plan", "interruptions"), [({"numWords": 3}, 0), ({"numWords": 1}, 1), ({}, 1)])
async def test_words_interrupt_in_place_of_seconds_when_the_plan_counts_them(
    virtual: Api, plan: dict[str, int], interruptions: int
) -> None:
    """V-306, V-307."""
    virtual.cloud.agent = (AgentTurn(LONG),)
    assistant = {"stopSpeakingPlan": plan, "firstMessageInterruptionsEnabled": True}
    async with dialled(virtual, **assistant) as (client, call):
        await client.be_silent(0.5)
        await client.say(QUICK.pcm("slt", "one two three four five six"))
        await client.be_silent(0.5)
    assert call.interruptions == interruptions
    assert len(client.seen(type="user-interrupted")) == interruptions


async def test_end_call_cuts_the_assistant_short_and_says_ended_last(virtual: Api) -> None:
    """V-219, V-221."""
    virtual.cloud.agent = (AgentTurn(LONG),)
    virtual.cloud.behaviour = attrs.evolve(virtual.cloud.behaviour, close_code=1001)
    async with dialled(virtual) as (client, call):
        await client.be_silent(0.5)
        await client.socket.send_message('{"type":"end-call"}')
        await until_over(call)
        await trio.sleep(0.1)
    assert client.texts[-1]["status"] == "ended"
    assert (client.close_code, len(client.audio) < bytes_for(1.0)) == (1001, True)
