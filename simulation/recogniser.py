"""Speech to words, offline: pocketsphinx, whose model comes with it, and a grammar of what may be said.

Method: 24 to 16 kHz; the silence round the sound is cut off and a fixed amount put back; noise 40 dB below the sound is
added, because digital silence misleads the recogniser (its seed is the audio's own hash, so the same audio is always
heard the same); one decoding pass over the whole. A grammar forces anything into one of its phrases. Two figures tell
whether that was right, and :class:`~simulation.ear.Heard` has their product as its score: how likely the path is per
second, and which share of the loud sound it explains with words.
"""

import hashlib
import math
from collections import OrderedDict
from collections.abc import Sequence
from functools import cache
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from simulation.ear import EarError, Heard
from simulation.grammar import Words, decoys, jsgf, words_of
from simulation.pcm import BYTES_PER_SAMPLE, SAMPLE_RATE_HZ
from simulation.pronunciation import pronounce
from simulation.resampler import resample

EAR_RATE_HZ = 16_000
FRAME_SAMPLES = EAR_RATE_HZ // 100
"""10 ms, the recogniser's own frame."""
DITHER_DB = (-40.0, -50.0, -25.0)
"""Below the sound, in the order of trial: a short word now and then is understood only with the second or third."""
AUDIBLE_DB = -35.0
"""Below the loud frames: what is fainter at either end is not the sound's."""
LOUD_DB = -20.0
"""Below the loud frames: what must be explained by words."""
PAD_SECONDS = 0.3
SCORE_SECONDS = 2.5
"""The likelihood of a path falls with its length; it is told for this one."""
THRESHOLD = 0.45
MAX_GRAMMARS = 64

Sound = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


@attrs.define(eq=False)
class Recogniser:
    """One recogniser. Not for two threads at a time. Mutable: the grammars it holds, at most MAX_GRAMMARS."""

    _decoder: Any
    _grammars: "OrderedDict[Sequence[str], tuple[str, dict[Words, str]]]" = attrs.field(factory=OrderedDict, repr=False)
    _made: int = 0

    def decode(self, pcm: bytes, phrases: Sequence[str], threshold: float = THRESHOLD) -> Heard:
        """Which of ``phrases``, or of their decoys, is said in ``pcm`` (PCM16, 24 kHz, mono). Blocks: a sixtieth of
        the audio's length when it is understood at once, up to three times that when it is not."""
        sound = _sound_of(pcm)
        name, texts = self._grammar(tuple(phrases))
        if not len(sound) or not texts:
            return Heard("", 0.0)
        heard = Heard("", 0.0)
        for dither_db in DITHER_DB:
            heard = max(heard, self._attempt(_dithered(sound, dither_db, pcm), name, texts), key=lambda one: one.score)
            if heard.score >= threshold:
                return heard
        return Heard("", heard.score)

    def _attempt(self, sound: npt.NDArray[np.int16], name: str, texts: dict[Words, str]) -> Heard:
        """What the grammar makes of the sound, whatever its score."""
        # The decoder remembers something of the last utterance, which would tell in the third digit of the score.
        self._decoder.reinit_feat()
        self._decoder.activate_search(name)
        self._decoder.start_utt()
        self._decoder.process_raw(sound.tobytes(), full_utt=True)
        self._decoder.end_utt()
        found = self._decoder.hyp()
        text = texts.get(tuple(found.hypstr.split()), "") if found else ""
        if not text or found.score <= 0:
            return Heard("", 0.0)
        likely = found.score ** (SCORE_SECONDS * EAR_RATE_HZ / len(sound))
        return Heard(text, round(likely * self._explained(_above(sound.astype(np.float64), LOUD_DB)) ** 2, 3))

    def _explained(self, loud: Mask) -> float:
        """The share of the loud frames that the path has words for, and not silence or breath."""
        spoken = np.zeros(len(loud), dtype=bool)
        for piece in self._decoder.seg():
            if piece.word[0] not in "<[":
                spoken[piece.start_frame : piece.end_frame + 1] = True
        return float((spoken & loud).sum() / max(1, loud.sum()))

    def _grammar(self, phrases: Sequence[str]) -> tuple[str, dict[Words, str]]:
        """The name of the search for ``phrases``, and what each of its word sequences stands for."""
        known = self._grammars.get(phrases)
        if known is not None:
            self._grammars.move_to_end(phrases)
            return known
        texts = {words_of(phrase): phrase for phrase in reversed(phrases) if words_of(phrase)}
        texts |= {words: " ".join(words) for words in decoys(phrases) if words}
        self._made += 1
        name = f"said{self._made}"
        if texts:
            self._learn({word for words in texts for word in words})
            self._decoder.add_jsgf_string(name, jsgf(list(texts)))
        self._grammars[phrases] = name, texts
        if len(self._grammars) > MAX_GRAMMARS:
            oldest, forgotten = self._grammars.popitem(last=False)[1]
            if forgotten:
                self._decoder.remove_search(oldest)
        return name, texts

    def _learn(self, words: set[str]) -> None:
        new = sorted(word for word in words if self._decoder.lookup_word(word) is None)
        for word in new:
            self._decoder.add_word(word, pronounce(word, self._decoder.lookup_word), word == new[-1])


@cache
def the_recogniser() -> Recogniser:
    """This process's recogniser: loading the model takes 0.1 to 0.3 s and 30 MB, so there is one.

    :raises EarError: it is not installed, or its model is missing.
    """
    try:
        from pocketsphinx import Decoder  # type: ignore[import-untyped]

        return Recogniser(Decoder(lm=None, loglevel="FATAL"))
    except (ImportError, OSError, RuntimeError) as error:
        raise EarError(f"there is no ear: {error}; pip install pocketsphinx") from error


def _sound_of(pcm: bytes) -> Sound:
    """From the first audible 10 ms to the last, at the recogniser's rate; empty when there is none."""
    whole = pcm[: len(pcm) - len(pcm) % BYTES_PER_SAMPLE]
    sound = resample(np.frombuffer(whole, dtype="<i2").astype(np.float64), SAMPLE_RATE_HZ, EAR_RATE_HZ)
    audible = np.flatnonzero(_above(sound, AUDIBLE_DB))
    if not len(audible):
        return sound[:0]
    return sound[audible[0] * FRAME_SAMPLES : (audible[-1] + 1) * FRAME_SAMPLES]


def _above(sound: Sound, decibels: float) -> Mask:
    """Which 10 ms frames are louder than ``decibels`` over the loud ones (the 95th percentile of the frames)."""
    count = len(sound) // FRAME_SAMPLES
    if not count:
        return np.zeros(0, dtype=bool)
    squares = (sound[: count * FRAME_SAMPLES].reshape(count, FRAME_SAMPLES) ** 2).mean(axis=1)
    loudest = float(np.percentile(squares[squares > 1.0], 95)) if (squares > 1.0).any() else math.inf
    above: Mask = squares > loudest * 10 ** (decibels / 10)
    return above


def _dithered(sound: Sound, dither_db: float, pcm: bytes) -> npt.NDArray[np.int16]:
    padding = np.zeros(round(PAD_SECONDS * EAR_RATE_HZ))
    padded = np.concatenate([padding, sound, padding])
    seed = int.from_bytes(hashlib.sha256(pcm).digest()[:8], "big")
    level = math.sqrt(float((sound**2).mean())) * 10 ** (dither_db / 20)
    noise = np.random.default_rng(seed).normal(0.0, level, len(padded))
    return np.clip(np.rint(padded + noise), -32768, 32767).astype("<i2")
