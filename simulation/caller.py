"""A scripted caller that keeps the rules of the voice_ws channel as the hosted actor kept them.

It waits for the callee to speak first. It takes its turn only when it has *received* 1,500 ms of silence behind the
agent's speech, counted in samples; an agent that goes quiet by sending nothing is never answered, and after
``patience_seconds`` the caller gives up and says so. Source of the rules: the channel's published notes (50 frames a
second, bursts tolerated inbound, a window of about 1,500 ms, a cap of 600 s).
"""

from collections.abc import Callable

import attrs
import trio

from simulation.caller_line import Line, Protocol
from simulation.caller_report import CallerReport, agent_speech_in, measure_turns
from simulation.events import EventLog, OnEvent, mono_now
from simulation.network import Network, TrioSockets
from simulation.pcm import FRAME_BYTES, FRAME_MS
from simulation.scenario import Backchannel, BargeIn, CallerStep, HangUp, PlayWav, Say, Scenario, Wait
from simulation.speech import CALLER_VOICE, Tones, Voice, read_wav
from simulation.websockets import DialError, close_socket, open_client_socket

NEEDS_SILENCE_MS = 1_500.0
PATIENCE_SECONDS = 20.0
MAX_CALL_SECONDS = 600.0
STOP_SECONDS = 1.0


@attrs.frozen
class Caller:
    """One call to be made. ``speech`` defaults to tones; ``call`` names the trace."""

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

    async def run(self) -> CallerReport:
        """Make the call and report on it.

        Raises SpeechError before dialling when a line has no sound; otherwise nothing but Cancelled: whatever goes
        wrong in the call is its outcome. Cancelled: the socket is closed without a close frame, nothing is reported.
        """
        sounds = [self._sound(step) for step in self.scenario.caller]
        log = EventLog(self.call or self.scenario.name, mono_now(), self.on_event)
        try:
            async with open_client_socket(self.network, self.url) as connection:
                line = Line(connection, self.protocol, log, self.frame_ms * FRAME_BYTES // FRAME_MS)
                log.start_mono = mono_now()
                log.add("caller", "connected", url=self.url.partition("?")[0])
                await self._hold(line, sounds)
        except DialError as error:
            log.add("caller", "call-ended", ending="unreachable", outcome=str(error))
            return self._report(log, None, f"unreachable: {error}")
        return self._report(log, line, line.outcome)

    def _sound(self, step: CallerStep) -> bytes:
        if isinstance(step, Say):
            return self.speech.pcm(CALLER_VOICE, step.text)
        if isinstance(step, Backchannel):
            return self.speech.pcm(CALLER_VOICE, step.text)
        return read_wav(step.path) if isinstance(step, PlayWav) else b""

    async def _hold(self, line: Line, sounds: list[bytes]) -> None:
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

    async def _act(self, line: Line, sounds: list[bytes]) -> None:
        """The script, step by step; the hang-up at its end."""
        barge_in: int | None = None
        hung_up = False
        for step, sound in zip(self.scenario.caller, sounds, strict=True):
            if isinstance(step, HangUp):
                hung_up = True
                break
            if isinstance(step, Wait):
                await trio.sleep(step.seconds)
            elif isinstance(step, BargeIn):
                barge_in = step.ms
            elif isinstance(step, Say | PlayWav):
                if not await self._take_turn(line, barge_in):
                    return
                text = step.text if isinstance(step, Say) else step.path.name
                await self._say(line, sound, text, barge_in is not None)
                barge_in = None
        if not hung_up and not await self._take_turn(line, None):
            return
        line.finish("caller_hung_up", "caller_hung_up")

    async def _say(self, line: Line, sound: bytes, text: str, barge_in: bool) -> None:
        silence_ms = round(line.hearing.silence_ms)
        line.log.add("caller", "turn-started", text=text, barge_in=barge_in, silence_ms=silence_ms)
        line.forget_agent()
        said = await line.speak(sound, text, barge_in=barge_in)
        line.log.add("caller", "turn-ended", text=text, seconds=round(said.last_speech_at - said.started_at, 3))
        # What the agent said until here answered nothing: a cut-off remainder must not pass for its reply.
        line.forget_agent()

    async def _take_turn(self, line: Line, barge_in: int | None) -> bool:
        """Wait until it is this caller's turn; False when it never will be, and the outcome says why."""
        if barge_in is not None:
            if not await self._until(line, lambda: line.onset_at is not None):
                return self._give_up(line)
            await trio.sleep_until(line.opened + (line.onset_at or 0.0) + barge_in / 1000)
            return True
        if not line.utterances and not self.wait_for_callee_first:
            return True
        if await self._until(line, lambda: line.hearing.silence_ms >= self.needs_silence_ms):
            return True
        return self._give_up(line)

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

    def _give_up(self, line: Line) -> bool:
        if line.hearing.onset is None:
            said = f"the agent said nothing for {self.patience_seconds:g} s"
        else:
            said = f"no {self.needs_silence_ms:g} ms of silence came after the agent's turn"
        line.finish("deadlock", f"deadlock: {said}")
        return False

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
        heard = agent_speech_in(line.received)
        return CallerReport(
            scenario=self.scenario.name,
            url=self.url,
            protocol=self.protocol,
            ending=line.ending or "violation",
            outcome=outcome,
            connected_mono=log.start_mono,
            duration_seconds=line.ended_at,
            sent=bytes(line.sent),
            received=tuple(line.received),
            turns=measure_turns(line.utterances, heard),
            agent_speech=heard,
            close_code=line.close_code,
            close_reason=line.close_reason,
            violations=tuple(line.violations),
            events=tuple(log.events),
            lateness_ms=line.lateness * 1000,
        )
