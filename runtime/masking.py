"""Personal data in what people read: logs, traces, the terminal. What the engine and the model are sent is not touched.

Fields that hold personal data are masked by name, surely. Free text, which is what a recogniser heard, is masked by
rule: what looks like a number, an address or a name, and every word that a masked field of the same call has held. A
rule can miss; so logs carry no free text at all, and traces are written of simulated and test calls only.
"""

import re
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, Final

import attrs
import msgspec

LAST_DIGITS: Final = 2  # of a phone number, to tell two apart
FIELDS: Final = frozenset({"full_name", "name_on_card", "phone", "email", "address"})
TEXTS: Final = frozenset({"text", "detail", "problem", "error", "message", "transcript"})
_DIGIT: Final = r"(?:zero|oh|one|two|three|four|five|six|seven|eight|nine|double|triple)"
_RULES: Final[tuple[tuple[re.Pattern[str], str], ...]] = (
    (re.compile(r"[\w.+-]+@[\w-]+\.[\w.-]+"), "[email]"),
    (
        re.compile(
            r"\b\d+ (?:[A-Z]\w+ ){1,3}"
            r"(?:Street|Avenue|Road|Lane|Court|Drive|Place|Square|Terrace|Row|Way|Close|Hill|Walk|Crescent|Mews|Quay|Bend)"
            r"\b(?:,? [A-Z]\w*)*(?:,? \d{5})?"
        ),
        "[address]",
    ),
    (re.compile(rf"(?i)\b{_DIGIT}(?:[ ,-]+{_DIGIT}){{4,}}\b"), "[number]"),
    (re.compile(r"\+?\d(?:[ ().-]{0,2}\d){4,}"), "[number]"),
    (re.compile(r"(?i)(\bname is |\bname's )(\w+(?: \w+)?)"), r"\1[name]"),
    (re.compile(r"((?i:\bthis is |\bi am |\bi'm |\bspeaking with ))([A-Z]\w+(?: [A-Z]\w+)*)"), r"\1[name]"),
)
_COMMON: Final = frozenset(["Street", "Avenue", "Road", "Lane", "Court", "Drive", "North", "South", "East", "West"])
_PUBLIC: Final = frozenset({"Riley", "Acme", "Bank"})  # the assistant's and the bank's own


@attrs.define
class Masker:
    """One per call. Mutable: `_words`, which masked fields have held, in lower case."""

    _words: set[str] = attrs.field(factory=set)

    def masked(self, value: Any, key: str = "") -> Any:
        """A copy of a JSON value in which personal data is masked. Tuples become lists."""
        if isinstance(value, Mapping):
            # Fields first: they tell which words the texts beside them must not show.
            fields = {name: self._field(name, held) for name, held in value.items() if name in FIELDS}
            return {name: fields[name] if name in fields else self.masked(held, name) for name, held in value.items()}
        if isinstance(value, list | tuple):
            return [self.masked(item, key) for item in value]
        if isinstance(value, str) and value[:1] in ("{", "["):
            return self._json(value)
        if isinstance(value, str) and key in TEXTS:
            return self.text(value)
        return value

    def _json(self, text: str) -> str:
        """What Vapi is sent: an object made a string."""
        try:
            return msgspec.json.encode(self.masked(msgspec.json.decode(text))).decode()
        except (msgspec.DecodeError, RecursionError):
            return self.text(text)

    def text(self, text: str) -> str:
        for pattern, instead in _RULES:
            text = pattern.sub(partial(_unless_public, instead), text)
        return re.sub(r"\w+", lambda word: "[…]" if word[0].lower() in self._words else word[0], text)

    def _field(self, name: str, held: Any) -> Any:
        if not isinstance(held, str) or not held:
            return None if held is None else "[masked]" if held else held
        self._learn(re.findall(r"\w+", held))
        if name == "phone":
            return f"[…{re.sub('[^0-9]', '', held)[-LAST_DIGITS:]}]"
        if name in ("full_name", "name_on_card"):
            return " ".join(f"{word[0]}[…]" for word in held.split())
        return "[masked]"

    def _learn(self, words: Iterable[str]) -> None:
        # A short word, or a street's number, would hide half of what is said.
        self._words.update(word.lower() for word in words if len(word) > 3 and word not in _COMMON)


def _unless_public(instead: str, found: "re.Match[str]") -> str:
    return found[0] if found[0].split()[-1] in _PUBLIC else found.expand(instead)
