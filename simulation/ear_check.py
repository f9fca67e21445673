"""How well the ear hears the recordings of the scenarios: ``python -m simulation.ear_check scenarios/*.yaml``.

Every line is heard as it is in a call, among the lines of its own scenario, clean and limited to a telephone's band;
and once among the lines of another scenario, where nothing should be understood. ``--voices``: each caller's line by
every voice, which needs Debian's flite.
"""

import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import attrs

from simulation.caller_ear import agent_phrases
from simulation.ear import EarError
from simulation.grammar import words_of
from simulation.pcm import SAMPLE_RATE_HZ, seconds_of
from simulation.recogniser import THRESHOLD, Recogniser, the_recogniser
from simulation.resampler import resample_pcm
from simulation.scenario import VOICES, Scenario, ScenarioError, load_scenario
from simulation.speech import AGENT_VOICE, Speech, SpeechError

BANDS_HZ = (None, 8_000)


@attrs.frozen
class Sample:
    """A line by a voice, and what the ear knows when it hears it; ``known``: the line is among that."""

    voice: str
    text: str
    phrases: tuple[str, ...]
    known: bool = True


@attrs.define
class Figures:
    """What was heard of one voice in one band. ``wrong``: score, what was said, what was heard."""

    voice: str
    band_hz: int | None
    said: list[str] = attrs.field(factory=list)
    heard: list[str] = attrs.field(factory=list)
    unknown: int = 0
    false_accepts: int = 0
    audio_seconds: float = 0.0
    cpu_seconds: float = 0.0
    lowest: float = 1.0
    """The worst score of a line that was known."""
    wrong: list[tuple[float, str, str]] = attrs.field(factory=list)

    @property
    def word_error(self) -> float:
        """Share of the words that were heard wrongly or not at all; nan when nothing was said."""
        import jiwer

        # An insertion must not hide in a line that was not understood: jiwer counts over all lines together.
        return float(jiwer.wer(self.said, self.heard)) if self.said else float("nan")

    @property
    def false_rejects(self) -> int:
        """Lines that were known and not understood."""
        return sum(not heard for heard in self.heard)

    def add(self, sample: Sample, text: str, score: float) -> None:
        """Count one line as heard."""
        said, heard = " ".join(words_of(sample.text)), " ".join(words_of(text))
        if sample.known:
            self.said.append(said)
            self.heard.append(heard)
            self.lowest = min(self.lowest, score)
        else:
            self.unknown += 1
            self.false_accepts += bool(heard)
        if heard != (said if sample.known else ""):
            self.wrong.append((score, said, heard))


def caller_phrases(scenario: Scenario) -> tuple[str, ...]:
    """All turns of a scenario's caller that have words."""
    return tuple(dict.fromkeys(line for line in scenario.caller_lines if not line.endswith(".wav")))


def samples_of(scenarios: Sequence[Scenario], every_voice: bool = False) -> list[Sample]:
    """Each line among its scenario's, and among those of the next scenario that has no line of the same words."""
    found: dict[Sample, None] = {}
    for index, scenario in enumerate(scenarios):
        others = [*scenarios[index + 1 :], *scenarios[:index]]
        for voices, phrases_of in (
            (VOICES if every_voice else (scenario.persona.voice,), caller_phrases),
            ((AGENT_VOICE,), agent_phrases),
        ):
            phrases = phrases_of(scenario)
            for text in phrases:
                foreign = next((known for other in others if _without(known := phrases_of(other), text)), ())
                for voice in voices:
                    found[Sample(voice, text, phrases)] = None
                    if foreign:
                        found[Sample(voice, text, foreign, known=False)] = None
    return list(found)


def _without(phrases: Iterable[str], text: str) -> bool:
    known = [words_of(phrase) for phrase in phrases]
    return bool(known) and words_of(text) not in known


def check_ear(recogniser: Recogniser, speech: Speech, samples: Sequence[Sample]) -> Iterator[Figures]:
    """The figures of each voice and band, as they come.

    :raises SpeechError: a line has no recording.
    """
    for voice in dict.fromkeys(sample.voice for sample in samples):
        for band_hz in BANDS_HZ:
            figures = Figures(voice, band_hz)
            for sample in (sample for sample in samples if sample.voice == voice):
                pcm = limited(speech.pcm(voice, sample.text), band_hz)
                began = time.process_time()
                heard = recogniser.decode(pcm, sample.phrases)
                figures.cpu_seconds += time.process_time() - began
                figures.audio_seconds += seconds_of(len(pcm))
                figures.add(sample, heard.text, heard.score)
            yield figures


def limited(pcm: bytes, band_hz: int | None) -> bytes:
    """``pcm`` (24 kHz) as if it had been sampled at ``band_hz`` on its way; None: as it is."""
    if band_hz is None:
        return pcm
    return resample_pcm(resample_pcm(pcm, SAMPLE_RATE_HZ, band_hz), band_hz, SAMPLE_RATE_HZ)


def table_line(figures: Figures) -> str:
    """One line for a reader."""
    band = f"{figures.band_hz} Hz" if figures.band_hz else "clean"
    speed = figures.audio_seconds / figures.cpu_seconds if figures.cpu_seconds else 0.0
    return (
        f"{figures.voice:<6} {band:>8} {len(figures.said):>6} {figures.word_error * 100:>10.2f} % "
        f"{figures.lowest:>8.2f} {figures.false_rejects:>14} "
        f"{figures.false_accepts:>8} of {figures.unknown:<6} {speed:>6.0f} x"
    )


def main(arguments: list[str]) -> int:
    """The table, and below it every line that was not heard as it was said. 1: the word error is above 1 %."""
    paths = [Path(argument) for argument in arguments if argument != "--voices"]
    if not paths:
        sys.stderr.write("use: python -m simulation.ear_check [--voices] SCENARIO.yaml ...\n")
        return 2
    wrong: list[str] = []
    worst = 0.0
    try:
        samples = samples_of([load_scenario(path) for path in paths], "--voices" in arguments)
        sys.stdout.write(f"threshold {THRESHOLD}\n{'voice':<6} {'band':>8} {'lines':>6} {'word error':>12} ")
        sys.stdout.write(f"{'lowest':>8} {'false rejects':>14} {'false accepts':>18} {'speed':>8}\n")
        for figures in check_ear(the_recogniser(), Speech(paths[0].parent / "audio"), samples):
            sys.stdout.write(table_line(figures) + "\n")
            sys.stdout.flush()
            worst = max(worst, figures.word_error)
            where = f"{figures.voice} {figures.band_hz or 'clean'}"
            wrong += [f"{where}: {said!r} heard as {heard!r} ({score})" for score, said, heard in figures.wrong]
    except (EarError, ScenarioError, SpeechError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write("".join(f"{line}\n" for line in wrong))
    return 1 if worst > 0.01 else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
