"""The simulated assistant with an ear: it answers what it heard, be it the line that was due or not."""

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import attrs
import httpx
import trio
from vapi_api import QUICK, Api, call_body
from vapi_peers import Client, dialled, good_answer, open_webhook

from simulation.behaviour import Behaviour
from simulation.ear import REPROMPT, Ear, Heard
from simulation.network import VirtualNetwork
from simulation.pcm import seconds_of
from simulation.pocket_ear import EarHere
from simulation.scenario import AgentTurn, ToolCall
from simulation.speech import AGENT_VOICE, Speech
from simulation.vapi_call import SimulatedCall
from simulation.vapi_cloud import open_vapi_cloud
from tests.virtual_time import run_in_virtual_time

LINES = ("card four two four two please", "call five oh three, five five five, oh one two one", "thanks and bye")
FIND = ToolCall("find", {"last4": "4242", "phone": "+1 (503) 555-0121", "card_id": 4242, "zip": "97201"})
PHONE = "and your phone number please that is all I need"
AGENT = (
    AgentTurn("good day to you"),
    AgentTurn(PHONE),
    AgentTurn("found it", calls=(FIND,)),
    AgentTurn("bye bye"),
)
HEARING = Behaviour(endpointing_ms=300, model_ms=200, transcript_ms=20, filler="")


@attrs.define
class Told:
    """An ear that is told what it hears, and takes its time."""

    texts: list[str]
    seconds: float = 0.0
    asked: list[tuple[float, tuple[str, ...]]] = attrs.field(factory=list)

    async def hear(self, pcm: bytes, phrases: Sequence[str]) -> Heard:
        self.asked.append((seconds_of(len(pcm)), tuple(phrases)))
        await trio.sleep(self.seconds)
        text = self.texts.pop(0)
        return Heard(text, 0.7 if text else 0.0)


Talk = Callable[[Client, SimulatedCall], Awaitable[None]]


def call(ear: Ear | None, talk: Talk, lines: Sequence[str] = LINES) -> SimulatedCall:
    """A call in virtual time whose tools answer; `talk` begins when the greeting is over."""
    made: list[SimulatedCall] = []

    async def held() -> None:
        with VirtualNetwork().installed():
            async with (
                open_webhook(good_answer) as webhook,
                open_vapi_cloud(agent=AGENT, behaviour=HEARING, speech=QUICK, caller_lines=lines, ear=ear) as cloud,
                httpx.AsyncClient(headers={"authorization": "Bearer simulated-key"}, trust_env=False) as http,
                dialled(Api(cloud, http), call_body(tool_url=webhook.url)) as (client, record),
            ):
                made.append(record)
                await client.be_silent(1.0)
                await talk(client, record)

    run_in_virtual_time(held)
    return made[0]


async def say_three(client: Client, _: SimulatedCall) -> None:
    for line in LINES:
        await client.say(QUICK.pcm("slt", line))
        await client.be_silent(2.0)


def spoken(record: SimulatedCall) -> list[str]:
    return [event.data["text"] for event in record.log.events if event.event == "speech-started"][1:]


def logged(record: SimulatedCall, event: str) -> list[dict[str, object]]:
    return [dict(one.data) for one in record.log.events if one.event == event]


def asked_with(record: SimulatedCall) -> dict[str, object]:
    (exchange,) = record.exchanges
    return dict(exchange.request["message"]["toolCallList"][0]["function"]["arguments"])


def transcripts(record: SimulatedCall) -> list[str]:
    messages = [text for text in record.sent_texts if text["type"] == "transcript" and text["role"] == "user"]
    return [message["transcript"] for message in messages]


def test_assistant_goes_on_when_it_hears_the_lines_that_are_due() -> None:
    ear = Told(list(LINES))
    record = call(ear, say_three)
    assert spoken(record) == [PHONE, "found it", "bye bye"]
    assert transcripts(record) == list(LINES)
    assert logged(record, "heard")[0] == {"text": LINES[0], "score": 0.7, "due": LINES[0]}
    assert asked_with(record) == FIND.arguments
    assert [phrases for _, phrases in ear.asked] == [LINES] * 3
    # The turn and a fifth of a second on either side.
    assert 0 <= ear.asked[0][0] - seconds_of(len(QUICK.pcm("slt", LINES[0]))) - 0.4 < 0.03


def test_assistant_calls_its_tools_with_the_digits_it_heard() -> None:
    heard = ("card four two two four please", "call five three oh five five five oh one two one", LINES[2])
    record = call(Told(list(heard)), say_three)
    assert spoken(record) == [PHONE, "found it", "bye bye"]
    assert transcripts(record) == list(heard)
    assert asked_with(record) == FIND.arguments | {"last4": "4224", "phone": "+1 (530) 555-0121"}


def test_assistant_asks_again_and_stays_where_it_is_when_it_understands_nothing_or_another_line() -> None:
    record = call(Told(["", LINES[2], LINES[0]]), say_three)
    assert spoken(record) == [REPROMPT, REPROMPT, PHONE]
    assert transcripts(record) == [LINES[2], LINES[0]]
    assert logged(record, "misheard") == [{"due": LINES[0], "heard": ""}, {"due": LINES[0], "heard": LINES[2]}]
    assert not record.exchanges


def test_assistant_thinks_while_it_hears_and_reads_on() -> None:
    def waited(ear: Ear | None) -> list[float]:
        events = call(ear, say_three).log.events
        ends = [event.t for event in events if event.event == "caller-turn-ended"]
        starts = [event.t for event in events if event.event == "speech-started"][1:]
        return [round(start - end, 1) for end, start in zip(ends, starts, strict=True)]

    assert waited(None)[0] == waited(Told(list(LINES), seconds=0.1))[0] == 0.2
    assert waited(Told(list(LINES), seconds=0.6))[0] == 0.6


def test_assistant_does_not_listen_to_sounds_of_listening() -> None:
    ear = Told([LINES[0]])

    async def talk(client: Client, record: SimulatedCall) -> None:
        await client.say(QUICK.pcm("slt", LINES[0]))
        await client.be_silent(0.55)
        assert spoken(record) == [PHONE]
        await client.say(QUICK.pcm("slt", "mhm"))
        await client.be_silent(1.0)

    record = call(ear, talk)
    assert len(ear.asked) == 1
    assert len(logged(record, "backchannel")) == 1


def test_assistant_takes_any_sound_for_a_recording_without_words_and_hears_what_is_not_due() -> None:
    ear = Told(["hello", ""])
    record = call(ear, say_three, ("noise.wav", "hello"))
    assert ear.asked[0][1] == ("hello",)
    assert spoken(record)[:2] == [PHONE, "found it"]

    more = call(Told([LINES[0], "whatever", "else"]), say_three, LINES[:1])
    assert spoken(more) == [PHONE, "found it", "bye bye"]
    assert logged(more, "heard")[1] == {"text": "whatever", "score": 0.7, "due": None}


def test_cloud_hears_the_recordings_that_come_in_on_its_socket() -> None:
    speech = Speech(Path(__file__).parents[2] / "scenarios" / "audio")
    lost, thanks = "Hi, I lost my card ending in four two four two.", "Great, thanks, bye."

    async def talk(client: Client, _: SimulatedCall) -> None:
        for pcm in (speech.pcm("slt", lost), bytes(len(speech.pcm("slt", thanks))), speech.pcm("rms", REPROMPT)):
            await client.say(pcm)
            await client.be_silent(1.5)

    record = call(EarHere(), talk, (lost, thanks))
    assert [one["text"] for one in logged(record, "heard")] == [lost, ""]
    assert spoken(record) == [PHONE, REPROMPT]
    assert AGENT_VOICE == "rms"
