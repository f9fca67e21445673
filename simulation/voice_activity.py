"""Finding speech by energy, counting samples.

Rules: 10 ms frames; a frame is active at -45 dBFS RMS or more, and once active stays so down to -51 dBFS (hysteresis
of 6 dB); speech begins when 50 ms on end were active, and is dated back to the first of them; it has ended when the
silence behind it is long enough for whoever asks. These are the settings open voice-agent benches have settled on,
and on clean audio they are within one frame of the truth.

The detector counts samples, not seconds: a burst of 1,700 ms of silence counts as 1,700 ms the moment it arrives.
That is how the voice_ws actor hears, and why an agent that sends nothing when it is quiet never ends its turn.
"""

import attrs

from simulation.pcm import BYTES_PER_SAMPLE, FULL_SCALE, SAMPLE_RATE_HZ, mean_square, mean_square_at, samples_of

VAD_FRAME_MS = 10
VAD_FRAME_SAMPLES = SAMPLE_RATE_HZ * VAD_FRAME_MS // 1000
VAD_FRAME_BYTES = VAD_FRAME_SAMPLES * BYTES_PER_SAMPLE
THRESHOLD_DBFS = -45.0
HYSTERESIS_DB = 6.0
MIN_SPEECH_FRAMES = 5

_QUIET = bytes(VAD_FRAME_BYTES)
_ONSET_PEAK = FULL_SCALE * 10 ** (THRESHOLD_DBFS / 20)
_END_PEAK = FULL_SCALE * 10 ** ((THRESHOLD_DBFS - HYSTERESIS_DB) / 20)


@attrs.frozen
class Segment:
    """A stretch of speech, in samples from the beginning of the stream; ``end`` is behind the last active frame."""

    start: int
    end: int


@attrs.define
class VoiceActivity:
    """A streaming detector: feed it bytes as they come, of any length, odd ones included.

    Mutable: ``_carry`` (bytes short of a frame), ``samples`` (samples judged), ``_active`` (the last frame was),
    ``_run`` (active frames on end) and ``_run_start`` (the first sample of them), ``_onset`` and ``_last`` (first and
    last sample of the speech being heard).
    """

    threshold_dbfs: float = THRESHOLD_DBFS
    hysteresis_db: float = HYSTERESIS_DB
    min_speech_frames: int = MIN_SPEECH_FRAMES
    samples: int = 0
    _carry: bytes = b""
    _active: bool = False
    _run: int = 0
    _run_start: int = 0
    _onset: int | None = None
    _last: int | None = None
    _on: float = attrs.field(init=False)
    _off: float = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._on = mean_square_at(self.threshold_dbfs)
        self._off = mean_square_at(self.threshold_dbfs - self.hysteresis_db)

    def feed(self, pcm: bytes) -> None:
        """Judge every whole 10 ms frame of the stream so far; the rest waits for more bytes."""
        data = self._carry + pcm
        whole = len(data) - len(data) % VAD_FRAME_BYTES
        for start in range(0, whole, VAD_FRAME_BYTES):
            self._judge(data[start : start + VAD_FRAME_BYTES])
        self._carry = data[whole:]

    def break_off(self) -> None:
        """The stream pauses: judge what is short of a frame by itself, so that no frame lies on both sides of the gap.

        Half a sample waits on: its other half begins the next message.
        """
        whole = len(self._carry) - len(self._carry) % BYTES_PER_SAMPLE
        if whole:
            self._judge(self._carry[:whole])
            self._carry = self._carry[whole:]
        self._active = False
        self._run = 0

    def _judge(self, frame: bytes) -> None:
        level = 0.0 if frame == _QUIET else mean_square(frame)
        self._active = level >= (self._off if self._active else self._on)
        began = self.samples
        self.samples += len(frame) // BYTES_PER_SAMPLE
        if not self._active:
            self._run = 0
            return
        self._run += 1
        if self._run == 1:
            self._run_start = began
        if self._run >= self.min_speech_frames:
            if self._onset is None:
                self._onset = self._run_start
            self._last = self.samples

    @property
    def speaking(self) -> bool:
        """Speech is going on: the last judged frame belongs to it."""
        return self._last is not None and self._last == self.samples

    @property
    def onset(self) -> int | None:
        """The first sample of the speech heard since the last :meth:`forget`, or None."""
        return self._onset

    @property
    def last_speech(self) -> int | None:
        """The sample behind the last active frame since the last :meth:`forget`, or None."""
        return self._last

    @property
    def silence_ms(self) -> float:
        """Milliseconds of received audio behind the last speech; 0 before any."""
        return 0.0 if self._last is None else (self.samples - self._last) * 1000 / SAMPLE_RATE_HZ

    @property
    def speech_ms(self) -> float:
        """From the onset to the last active frame; 0 before any speech."""
        if self._onset is None or self._last is None:
            return 0.0
        return (self._last - self._onset) * 1000 / SAMPLE_RATE_HZ

    def forget(self) -> None:
        """Start anew: what was heard so far is answered. The count of samples goes on."""
        self._onset = self._last = None
        self._run = 0


def first_audible(frame: bytes) -> int:
    """The first sample of a frame with an onset in it that is as loud as the threshold; 0 when none is."""
    return next((index for index, value in enumerate(samples_of(frame)) if abs(value) >= _ONSET_PEAK), 0)


def behind_audible(frame: bytes) -> int:
    """The sample behind the last one of a frame that is as loud as the lower threshold; its length when none is."""
    samples = samples_of(frame)
    while samples and abs(samples[-1]) < _END_PEAK:
        samples.pop()
    return len(samples) or len(frame) // BYTES_PER_SAMPLE


def refined(pcm: bytes, segment: Segment) -> Segment:
    """A stretch of ``pcm`` that was found frame by frame, to the sample: from its first audible one to its last."""
    first, last = segment.start * BYTES_PER_SAMPLE, segment.end * BYTES_PER_SAMPLE
    start = segment.start + first_audible(pcm[first : first + VAD_FRAME_BYTES])
    end_frame = pcm[max(first, last - VAD_FRAME_BYTES) : last]
    return Segment(start, segment.end - len(end_frame) // BYTES_PER_SAMPLE + behind_audible(end_frame))


def speech_segments(pcm: bytes, *, min_silence_ms: float = 250.0) -> list[Segment]:
    """All stretches of speech in ``pcm``; pauses shorter than ``min_silence_ms`` do not divide."""
    hearing = VoiceActivity()
    found: list[Segment] = []
    for start in range(0, len(pcm) - len(pcm) % VAD_FRAME_BYTES, VAD_FRAME_BYTES):
        hearing.feed(pcm[start : start + VAD_FRAME_BYTES])
        if hearing.onset is not None and hearing.last_speech is not None and hearing.silence_ms >= min_silence_ms:
            found.append(Segment(hearing.onset, hearing.last_speech))
            hearing.forget()
    if hearing.onset is not None and hearing.last_speech is not None:
        found.append(Segment(hearing.onset, hearing.last_speech))
    return found
