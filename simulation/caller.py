"""A scripted caller that keeps the rules of the voice_ws channel as the hosted actor kept them.

It waits for the callee to speak first. It takes its turn only when it has *received* 1,500 ms of silence behind the
agent's speech, counted in samples; an agent that goes quiet by sending nothing is never answered, and after
``patience_seconds`` the caller gives up and says so. Source of the rules: the channel's published notes (50 frames a
second, bursts tolerated inbound, a window of about 1,500 ms, a cap of 600 s).
"""

import random
from collections.abc import Callable
from math import inf

import attrs
import trio

from simulation.caller_line import Line, Protocol, Sound
from simulation.caller_report import CallerReport, agent_speech_in, measure_turns
from simulation.events import EventLog, OnEvent, mono_now
from simulation.network import Network, TrioSockets
from simulation.pcm import FRAME_BYTES, FRAME_MS
from simulation.scenario import (
    Backchannel,
    BargeIn,
    CallerStep,
    HangUp,
    PhoneLine,
    PlayWav,
    Say,
    Scenario,
    Silence,
    Wait,
)
from simulation.speech import Tones, Voice, read_wav
from simulation.websockets import DialError, close_socket, open_client_socket

NEEDS_SILENCE_MS = 1_500.0
PATIENCE_SECONDS = 20.0
MAX_CALL_SECONDS = 600.0
STOP_SECONDS = 1.0


@attrs.frozen
class Caller:
    """One call to be made. ``speech`` defaults to tones; ``call`` names the trace.

    ``wait_for_callee_first`` False is the same as a scenario whose opening is the caller's. ``seed`` decides what a bad
    line does to each step's words: the same seed, the same bytes.
    """

    url: str
    scenario: Scenario
    protocol: Protocol = attrs.field(default="binary", kw_only=True)
    speech: Voice = attrs.field(factory=Tones, kw_only=True)
    on_event: OnEvent | None = attrs.field(default=None, kw_only=True)
    needs_silence_ms: float = attrs.field(default=NEEDS_SILENCE_MS, kw_only=True)
    patience_seconds: float = attrs.field(default=PATIENCE_SECONDS, kw_only=True)
    wait_for_callee_first: bool = attrs.field(default=True, kw_only=True)
    max_call_seconds: float = attrs.field(default=MAX_CALL_SECONDS, kw_only=True)
    frame_ms: int = attrs.field(default=FRAME_MS, kw_only=True)
    network: Network = attrs.field(factory=TrioSockets, kw_only=True)
    call: str = attrs.field(default="", kw_only=True)
    seed: int = attrs.field(default=attrs.Factory(lambda self: self.scenario.seed, takes_self=True), kw_only=True)

    async def run(self) -> CallerReport:
        """Make the call and report on it.

        Raises SpeechError before dialling when a line has no sound; otherwise nothing but Cancelled: whatever goes
        wrong in the call is its outcome. Cancelled: the socket is closed without a close frame, nothing is reported.
        """
        sounds = [self._sound(step, number) for number, step in enumerate(self.scenario.caller)]
        log = EventLog(self.call or self.scenario.name, mono_now(), self.on_event)
        try:
            async with open_client_socket(self.network, self.url) as connection:
                line = Line(connection, self.protocol, log, self.frame_ms * FRAME_BYTES // FRAME_MS)
                line.holds_floor = not self.wait_for_callee_first or self.scenario.opening == "caller"
                log.start_mono = mono_now()
                log.add("caller", "connected", url=self.url.partition("?")[0])
                await self._hold(line, sounds)
        except DialError as error:
            log.add("caller", "call-ended", ending="unreachable", outcome=str(error))
            return self._report(log, None, f"unreachable: {error}")
        return self._report(log, line, line.outcome)

    def _sound(self, step: CallerStep, number: int) -> Sound:
        """What the caller says at that step, as the line lets it through; silence for a step without words."""
        if isinstance(step, Say | Backchannel):
            recording = self.speech.pcm(self.scenario.persona.voice, step.text)
        elif isinstance(step, PlayWav):
            recording = read_wav(step.path)
        else:
            return Sound()
        if self.scenario.line == PhoneLine():
            return Sound.of(recording)
        # Imported here: a caller on a good line does without numpy.
        from simulation.phone_line import damaged

        rng = random.Random(f"line {self.seed} {number}")
        return Sound.of(recording, damaged(recording, self.scenario.line, rng))

    async def _hold(self, line: Line, sounds: list[Sound]) -> None:
        """The call from its opening to its close, at most ``max_call_seconds``."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(line.receive)
            nursery.start_soon(line.send_frames)
            nursery.start_soon(self._act, line, sounds)
            with trio.move_on_after(self.max_call_seconds):
                await line.over.wait()
            line.finish("deadlock", f"deadlock: not over after {self.max_call_seconds:g} s")
            with trio.move_on_after(STOP_SECONDS):
                await line.stop_sending()
            nursery.cancel_scope.cancel()
        await close_socket(line.connection, 1000)

    async def _act(self, line: Line, sounds: list[Sound]) -> None:
        """The script, step by step; the hang-up at its end."""
        steps = self.scenario.caller
        cuts_in = False
        for number, (step, sound) in enumerate(zip(steps, sounds, strict=True)):
            if isinstance(step, HangUp):
                line.finish("caller_hung_up", "caller_hung_up")
                return
            if isinstance(step, Wait):
                await trio.sleep(step.seconds)
                continue
            if isinstance(step, BargeIn | Backchannel):
                after_ms = step.ms if isinstance(step, BargeIn) else step.after_ms
                ready = await self._agent_has_spoken(line, after_ms)
            else:
                ready = cuts_in or await self._agents_turn_is_over(line)
            if not ready:
                self._give_up(line)
                return
            if isinstance(step, Silence):
                await self._pass(line, step.seconds)
            elif isinstance(step, Backchannel):
                await self._acknowledge(line, sound, step.text)
            elif isinstance(step, Say | PlayWav):
                leaves = isinstance(next(iter(steps[number + 1 :]), None), HangUp)
                await self._say(line, sound, _words(step), cuts_in, leaves)
            cuts_in = isinstance(step, BargeIn)
        if await self._agents_turn_is_over(line):
            line.finish("caller_hung_up", "caller_hung_up")
        else:
            self._give_up(line)

    async def _say(self, line: Line, sound: Sound, text: str, barge_in: bool, leaves: bool) -> None:
        silence_ms = round(line.hearing.silence_ms)
        line.log.add("caller", "turn-started", text=text, barge_in=barge_in, silence_ms=silence_ms)
        line.forget_agent()
        said = await line.speak(sound, text, barge_in=barge_in, leaves=leaves)
        line.log.add("caller", "turn-ended", text=text, seconds=round(said.last_speech_at - said.started_at, 3))
        # What the agent said until here answered nothing: a cut-off remainder must not pass for its reply.
        line.forget_agent()
        line.holds_floor = False

    async def _pass(self, line: Line, seconds: float) -> None:
        """A turn without words. It stays the caller's until the agent speaks again."""
        line.log.add("caller", "turn-passed", seconds=seconds, silence_ms=round(line.hearing.silence_ms))
        line.forget_agent()
        line.holds_floor = True
        await trio.sleep(seconds)

    async def _acknowledge(self, line: Line, sound: Sound, text: str) -> None:
        """A backchannel: nothing of the agent's is answered by it, so nothing is forgotten."""
        line.log.add("caller", "backchannel-started", text=text)
        said = await line.speak(sound, text, takes_turn=False)
        line.log.add("caller", "backchannel-ended", text=text, seconds=round(said.last_speech_at - said.started_at, 3))

    async def _agent_has_spoken(self, line: Line, after_ms: int) -> bool:
        """Wait until ``after_ms`` behind the onset of the agent's present turn, or of its next one; False: it has none.

        A turn is present from its onset to the caller's next turn, however long ago it fell silent.
        """
        if not await self._until(line, lambda: line.onset_at is not None):
            return False
        await trio.sleep_until(line.opened + (line.onset_at or 0.0) + after_ms / 1000)
        return True

    async def _agents_turn_is_over(self, line: Line) -> bool:
        """Wait until it is this caller's turn; False when it never will be."""
        if line.holds_floor and line.hearing.onset is None:
            return True
        return await self._until(line, lambda: line.hearing.silence_ms >= self.needs_silence_ms)

    async def _until(self, line: Line, happened: Callable[[], bool]) -> bool:
        """Wait for ``happened``, looking whenever audio arrives; patience begins anew while the agent is speaking."""
        while not happened():
            spoken = line.hearing.last_speech
            with trio.move_on_after(self.patience_seconds) as patience:
                while not happened() and line.hearing.last_speech == spoken:
                    await line.news.park()
            if patience.cancelled_caught:
                return False
        return True

    def _give_up(self, line: Line) -> None:
        if line.hearing.onset is None:
            said = f"the agent said nothing for {self.patience_seconds:g} s"
        else:
            said = f"no {self.needs_silence_ms:g} ms of silence came after the agent's turn"
        line.finish("deadlock", f"deadlock: {said}")

    def _report(self, log: EventLog, line: Line | None, outcome: str) -> CallerReport:
        if line is None:
            return CallerReport(
                scenario=self.scenario.name,
                url=self.url,
                protocol=self.protocol,
                ending="unreachable",
                outcome=outcome,
                connected_mono=log.start_mono,
                duration_seconds=0.0,
                events=tuple(log.events),
            )
        received = tuple(item.chunk for item in line.playout.placed)
        heard = agent_speech_in(received)
        left_at = line.ended_at if line.ending == "caller_hung_up" else inf
        return CallerReport(
            scenario=self.scenario.name,
            url=self.url,
            protocol=self.protocol,
            ending=line.ending or "violation",
            outcome=outcome,
            connected_mono=log.start_mono,
            duration_seconds=line.ended_at,
            sent=bytes(line.sent),
            received=received,
            turns=measure_turns(line.utterances, heard, left_at),
            backchannels=tuple(line.backchannels),
            agent_speech=heard,
            needs_silence_ms=self.needs_silence_ms,
            close_code=line.close_code,
            close_reason=line.close_reason,
            violations=tuple(line.violations),
            events=tuple(log.events),
            lateness_ms=line.lateness * 1000,
        )


def _words(step: Say | PlayWav) -> str:
    """What is said, as the reports name it; a sound without words is named by its file."""
    return step.text if isinstance(step, Say) else step.words or step.path.name
