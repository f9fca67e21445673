"""The scripted assistant: hears the caller, takes its turns, calls its tools, and can be interrupted."""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any

import attrs
import trio

from simulation.behaviour import Behaviour
from simulation.ear import REPROMPT
from simulation.pcm import BYTES_PER_SAMPLE, SAMPLE_RATE_HZ, seconds_of
from simulation.scenario import AgentTurn, ToolCall
from simulation.speech import AGENT_VOICE, Voice
from simulation.vapi_call import SimulatedCall
from simulation.vapi_hearing import CallerTurn, Understanding
from simulation.vapi_speaker import Speaker
from simulation.vapi_tools import ToolCaller
from simulation.voice_activity import VoiceActivity

MAX_WAITING_TURNS = 16
SECONDS_PER_WORD = 0.35
MARGIN_SAMPLES = SAMPLE_RATE_HZ // 5
"""What the ear is given from before the caller's onset: a word may begin softly."""

_Sound = tuple[bytes, float]
"""The audio of a turn, and when it ended (Trio time)."""
Tell = Callable[[Mapping[str, Any]], Awaitable[None]]


@attrs.define(eq=False)
class Script:
    """One call's assistant. ``hear`` is fed by the socket's reader; ``run`` takes the turns.

    With ``understanding`` it hears what the caller says, in ``listen``; without, it takes each turn for the next line.

    Mutable: ``busy`` (thinking, calling or speaking), ``last_sound`` (Trio time either side was last heard),
    ``_user_speaking``, ``_turn`` (the number in ``speech-update``), ``_interruptible``.
    """

    call: SimulatedCall
    agent: Sequence[AgentTurn]
    caller_lines: Sequence[str]
    behaviour: Callable[[], Behaviour]
    voice: Voice
    tools: ToolCaller
    speaker: Speaker
    tell: Tell
    nursery: trio.Nursery
    understanding: Understanding | None = None
    busy: bool = False
    last_sound: float = attrs.field(factory=trio.current_time)
    _hearing: VoiceActivity = attrs.field(factory=VoiceActivity, repr=False)
    _user_speaking: bool = False
    _user_turns: int = 0
    _turn: int = 0
    _interruptible: bool = False
    _conversation: list[dict[str, str]] = attrs.field(factory=list, repr=False)
    _turns: tuple[trio.MemorySendChannel[CallerTurn], trio.MemoryReceiveChannel[CallerTurn]] = attrs.field(
        factory=lambda: trio.open_memory_channel[CallerTurn](MAX_WAITING_TURNS), repr=False
    )
    _unheard: tuple[trio.MemorySendChannel[_Sound], trio.MemoryReceiveChannel[_Sound]] = attrs.field(
        factory=lambda: trio.open_memory_channel[_Sound](MAX_WAITING_TURNS), repr=False
    )

    async def run(self) -> None:
        """Greet, then answer each turn of the caller with the next entry of the script; then listen in silence."""
        # With nothing scripted the assistant says its firstMessage, and does so in the mode that waits as well.
        entries = iter(self.agent or (AgentTurn(say=self.call.assistant.get("firstMessage") or ""),))
        if self.call.assistant.get("firstMessageMode") != "assistant-waits-for-user":
            await self._greet(entries)
        self._interruptible = True
        free_at = trio.current_time()
        async for turn in self._turns[1]:
            entry = next(entries, None) if turn.understood else AgentTurn(say=REPROMPT)
            if entry is not None:
                await self._think(max(free_at, turn.ended_at))
                await self._perform(turn.answered_by(entry))
            free_at = trio.current_time()

    async def listen(self) -> None:
        """Hear turn after turn, beside the thinking about it; never returns.

        :raises EarError: nothing can be heard at all.
        """
        assert self.understanding is not None
        async for pcm, ended_at in self._unheard[1]:
            await self._take(await self.understanding.understand(pcm, ended_at))

    async def _think(self, since: float) -> None:
        self.busy = True
        await trio.sleep_until(since + self.behaviour().model_ms / 1000)

    async def _greet(self, entries: Iterator[AgentTurn]) -> None:
        self._interruptible = bool(self.call.assistant.get("firstMessageInterruptionsEnabled"))
        await self._perform(next(entries))

    async def _perform(self, entry: AgentTurn) -> None:
        self.busy = True
        try:
            if entry.calls:
                await self._call_tools(entry.calls)
            if entry.say:
                await self._say(entry.say)
        finally:
            self.busy = False
            self.last_sound = trio.current_time()
        if entry.end_call:
            self.call.end("assistant-ended-call", by="assistant")

    async def _call_tools(self, calls: Sequence[ToolCall]) -> None:
        """Call, with a filler beside it if there is one; then think about what came back."""
        behaviour = self.behaviour()
        async with trio.open_nursery() as calling:
            calling.start_soon(self.tools.call, calls)
            if behaviour.filler:
                await self._say(behaviour.filler)
        await trio.sleep(behaviour.after_tools_ms / 1000)
        self.last_sound = trio.current_time()

    async def _say(self, text: str) -> None:
        pcm = self.voice.pcm(AGENT_VOICE, text)
        turn = self._turn
        self._turn += 1
        self.call.log.add("agent", "speech-started", text=text, seconds=round(seconds_of(len(pcm)), 3), turn=turn)
        await self.tell({"type": "speech-update", "status": "started", "role": "assistant", "turn": turn})
        stopped_at = trio.current_time() + seconds_of(len(pcm)) + self.behaviour().late_stopped_ms / 1000
        cut = trio.Event()
        self.nursery.start_soon(self._announce_end, stopped_at, text, turn, cut)
        finished = await self.speaker.play(pcm, cut)
        self.call.log.add("agent", "speech-stopped", turn=turn, interrupted=not finished)

    async def _announce_end(self, when: float, text: str, turn: int, cut: trio.Event) -> None:
        """``speech-update stopped`` and the final transcript, beside whatever the assistant does next."""
        with trio.move_on_at(when):
            await cut.wait()
        await self.tell({"type": "speech-update", "status": "stopped", "role": "assistant", "turn": turn})
        await trio.sleep(self.behaviour().transcript_ms / 1000)
        await self._transcribe("assistant", text)

    async def _transcribe(self, role: str, text: str) -> None:
        await self.tell({"type": "transcript", "role": role, "transcriptType": "final", "transcript": text})
        self._conversation.append({"role": role, "content": text})
        field = self.behaviour().conversation_field
        await self.tell({"type": "conversation-update", field: list(self._conversation)})

    async def hear(self, pcm: bytes) -> None:
        """Judge the caller's audio: its speech starts, interrupts, or ends a turn."""
        self._hearing.feed(pcm)
        if self._hearing.speaking:
            self.last_sound = trio.current_time()
        if self._hearing.onset is None:
            return
        if not self._user_speaking:
            self._user_speaking = True
            self.call.log.add("vapi", "caller-speech-started", turn=self._turn)
            await self.tell({"type": "speech-update", "status": "started", "role": "user", "turn": self._turn})
        if self.speaker.playing and self._interruptible and self._hearing.speech_ms >= self._interrupting_ms():
            await self._interrupt()
        if self._hearing.silence_ms >= self.behaviour().endpointing_ms:
            await self._end_user_turn()

    async def _announce_user_end(self) -> None:
        """``speech-update stopped`` of the caller: now, or late and beside whatever comes of the turn."""
        message = {"type": "speech-update", "status": "stopped", "role": "user", "turn": self._turn}
        late_seconds = self.behaviour().late_user_stopped_ms / 1000
        if late_seconds:
            self.nursery.start_soon(self._tell_later, late_seconds, message)
        else:
            await self.tell(message)

    async def _tell_later(self, after_seconds: float, message: Mapping[str, Any]) -> None:
        await trio.sleep(after_seconds)
        await self.tell(message)

    def _interrupting_ms(self) -> float:
        """Speech that interrupts: stopSpeakingPlan's voiceSeconds, or the time numWords words take to be spoken."""
        plan = self.call.assistant.get("stopSpeakingPlan") or {}
        if plan.get("numWords"):
            return float(plan["numWords"]) * SECONDS_PER_WORD * 1000
        return float(plan.get("voiceSeconds", self.behaviour().voice_seconds)) * 1000

    async def _interrupt(self) -> None:
        if not self.speaker.cut():
            return
        self.call.interruptions += 1
        self.call.log.add("vapi", "user-interrupted", turn=self._turn)
        await self.tell({"type": "user-interrupted"})

    async def _end_user_turn(self) -> None:
        spoken_ms, pcm = self._hearing.speech_ms, self._turn_audio()
        self._hearing.forget()
        self._user_speaking = False
        await self._announce_user_end()
        if self.speaker.playing and not self.speaker.was_cut:
            # Too short to interrupt: a backchannel, not a turn.
            self.call.log.add("vapi", "backchannel", milliseconds=spoken_ms)
            return
        self._turn += 1
        if self.understanding is None:
            lines = self.caller_lines
            text = lines[self._user_turns] if self._user_turns < len(lines) else f"({spoken_ms:.0f} ms of speech)"
            self._user_turns += 1
            self.call.log.add("vapi", "caller-turn-ended", text=text, milliseconds=spoken_ms)
            await self._take(CallerTurn(text, trio.current_time()))
            return
        self.call.log.add("vapi", "caller-turn-ended", text="", milliseconds=spoken_ms)
        try:
            self._unheard[0].send_nowait((pcm, trio.current_time()))
        except trio.WouldBlock:
            self.call.log.add("vapi", "turn-dropped", text="")

    def _turn_audio(self) -> bytes:
        """The caller's turn as it came in on the socket."""
        start = max(0, (self._hearing.onset or 0) - MARGIN_SAMPLES)
        end = (self._hearing.last_speech or 0) + MARGIN_SAMPLES
        return bytes(self.call.heard[start * BYTES_PER_SAMPLE : end * BYTES_PER_SAMPLE])

    async def _take(self, turn: CallerTurn) -> None:
        """A turn whose words are known: say them, and let the assistant answer."""
        if turn.text:
            await self._transcribe("user", turn.text)
        try:
            self._turns[0].send_nowait(turn)
        except trio.WouldBlock:
            self.call.log.add("vapi", "turn-dropped", text=turn.text)
