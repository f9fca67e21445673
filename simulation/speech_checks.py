"""What the agent said, by the ear that listened to it, or else by the cloud that spoke it.

The cloud's own words count only when the caller received its audio bit for bit: what was spoken is then what was heard.
Of a line that was interrupted only what was played before that can have been heard.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence

import attrs

from simulation.check import Check, not_checked, shown, without
from simulation.evidence import Evidence, HeardSpeech
from simulation.scenario import Scenario
from simulation.vapi_call import SimulatedCall


@attrs.frozen
class SpokenLine:
    """A line of the assistant; ``played`` of it went out, from 0 to 1."""

    text: str
    played: float

    @property
    def heard(self) -> str:
        """The words that were played to their end."""
        words = self.text.split()
        return " ".join(words[: int(len(words) * self.played)])


@attrs.frozen
class _Words:
    """All that ``witness`` can tell. ``lost`` of ``stretches`` of speech it did not understand."""

    witness: str
    text: str
    stretches: int
    lost: int = 0


def speech_checks(scenario: Scenario, evidence: Evidence, *, arrived: bool) -> list[Check]:
    """One for each phrase of ``said`` and ``never_said``. ``arrived``: the cloud's audio came to the caller whole."""
    expect = scenario.expect
    said = [_said(phrase, evidence, arrived=arrived) for phrase in expect.said]
    return said + [_never_said(phrase, evidence, arrived=arrived) for phrase in expect.never_said]


def normalised(text: str) -> str:
    """The words in lower case, a space on each side of each; signs divide words, apostrophes do not."""
    plain = re.sub("['\u2019]", "", unicodedata.normalize("NFKC", text).casefold())
    words = " ".join(re.findall(r"[^\W_]+", plain))
    return f" {words} "


def spoken_lines_of(call: SimulatedCall) -> Iterator[SpokenLine]:
    """What the assistant spoke, by the cloud's own record, in order."""
    started = None
    for event in call.log.events:
        if event.event == "speech-started":
            started = event
        elif started is not None and event.event in ("speech-stopped", "call-ended"):
            whole = event.event == "speech-stopped" and not event.data["interrupted"]
            seconds = float(started.data["seconds"])
            played = 1.0 if whole or not seconds else min(1.0, (event.mono - started.mono) / seconds)
            yield SpokenLine(started.data["text"], played)
            started = None


def _said(phrase: str, evidence: Evidence, *, arrived: bool) -> Check:
    name = f"said: {shown(phrase)}"
    if problem := _no_words(name, phrase):
        return problem
    # A line cut short has been heard in part at the most: no ground for saying that the caller was told.
    words = _words_of(evidence, arrived=arrived, whole=True)
    if words is None:
        return _no_witness(name, evidence)
    if normalised(phrase) in words.text:
        return Check(name, True, words.witness)
    if words.lost and evidence.cloud_call is None:
        # Nobody told the ear what an assistant that is not scripted may say.
        return not_checked(name, f"the ear did not understand {words.lost} of {words.stretches} stretches")
    lost = f", {words.lost} of {words.stretches} stretches not understood" if words.lost else ""
    return Check(name, False, f"not heard ({words.witness}{lost})")


def _never_said(phrase: str, evidence: Evidence, *, arrived: bool) -> Check:
    name = f"never said: {shown(phrase)}"
    if problem := _no_words(name, phrase):
        return problem
    words = _words_of(evidence, arrived=arrived, whole=False)
    if words is None:
        return _no_witness(name, evidence)
    if normalised(phrase) in words.text:
        return Check(name, False, f"it was said ({words.witness})")
    if words.lost and arrived:
        words = _by_cloud(evidence.cloud_call, whole=False) or words
        if normalised(phrase) in words.text:
            return Check(name, False, f"it was said ({words.witness})")
    if words.lost:
        return not_checked(name, f"the ear did not understand {words.lost} of {words.stretches} stretches")
    return Check(name, True, words.witness)


def _no_words(name: str, phrase: str) -> Check | None:
    """The text of nothing but signs is in every text."""
    return None if normalised(phrase).strip() else Check(name, False, "the phrase has no words; write some")


def _words_of(evidence: Evidence, *, arrived: bool, whole: bool) -> _Words | None:
    if evidence.heard is not None:
        return _by_ear(evidence.heard)
    return _by_cloud(evidence.cloud_call, whole=whole) if arrived else None


def _by_ear(heard: Sequence[HeardSpeech]) -> _Words:
    text = normalised(" ".join(speech.text for speech in heard))
    return _Words("by the ear", text, len(heard), sum(not speech.text.strip() for speech in heard))


def _by_cloud(call: SimulatedCall | None, *, whole: bool) -> _Words | None:
    """``whole``: only lines that were played to their end."""
    if call is None:
        return None
    lines = [line for line in spoken_lines_of(call) if line.played == 1.0 or not whole]
    text = normalised(" ".join(line.heard for line in lines))
    return _Words("by the cloud's words, which arrived bit for bit", text, len(lines))


def _no_witness(name: str, evidence: Evidence) -> Check:
    if evidence.cloud_call is None:
        return without(name, evidence, "vapi", "no ear listened, and no Vapi call was made")
    return not_checked(name, "no ear listened, and the cloud's words did not arrive bit for bit")
