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

from runtime import limits
from tools.registry import Registry

LAST_DIGITS: Final = 2  # of a phone number, to tell two apart
FIELDS: Final = frozenset({"full_name", "name_on_card", "phone", "email", "address"})
OF_TOOLS: Final = ("arguments", "result", "answer")  # what tools are asked with, and what they say
TEXTS: Final = frozenset({"text", "detail", "problem", "error", "message", "transcript"})
_DIGIT: Final = r"(?:zero|oh|one|two|three|four|five|six|seven|eight|nine|double|triple)"
_RULES: Final[tuple[tuple[re.Pattern[str], str], ...]] = (
    (re.compile(r"[\w.+-]{1,64}@[\w-]{1,64}\.[\w.-]{1,64}"), "[email]"),
    (
        re.compile(
            r"\b\d+ (?:[A-Z]\w+ ){1,3}"
            r"(?:Street|Avenue|Road|Lane|Court|Drive|Place|Square|Terrace|Row|Way|Close|Hill|Walk|Crescent|Mews|Quay|Bend)"
            r"\b(?:,? [A-Z]\w*)*(?:,? \d{5})?"
        ),
        "[address]",
    ),
    (re.compile(rf"(?i)\b{_DIGIT}(?:[ ,-]+{_DIGIT}){{4,}}\b"), "[number]"),
    # This machine's own address, with its port, is nobody's number.
    (re.compile(r"(?P<ours>127\.0\.0\.1(?::\d{1,5})?(?!\d))|\+?\d(?:[ ().-]{0,2}\d){4,}"), "[number]"),
    (re.compile(r"(?i)(\bname is |\bname's )(\w+(?: \w+)?)"), r"\1[name]"),
    (re.compile(r"((?i:\bthis is |\bi am |\bi'm |\bspeaking with ))([A-Z]\w+(?: [A-Z]\w+)*)"), r"\1[name]"),
)
_COMMON: Final = frozenset(["Street", "Avenue", "Road", "Lane", "Court", "Drive", "North", "South", "East", "West"])
_PUBLIC: Final = frozenset({"Riley", "Acme", "Bank"})  # the assistant's and the bank's own


@attrs.define
class Masker:
    """One per call. Mutable: `_words`, which masked fields have held, in lower case, the newest last.

    `known`: the names of the arguments that tools take. What a model calls a tool with beside them may be anything, and
    is not shown. None: every name is known. `personal`: beside FIELDS, what tools say is personal in their arguments
    and results.
    """

    known: frozenset[str] | None = None
    personal: frozenset[str] = frozenset()
    _words: dict[str, None] = attrs.field(factory=dict)

    def masked(
        self, value: Any, key: str = "", levels: int = limits.MASKED_LEVELS, fields: frozenset[str] = FIELDS
    ) -> Any:
        """A copy of a JSON value in which personal data is masked. Tuples become lists; what is nested more deeply than
        MASKED_LEVELS is left out."""
        if levels == 0:
            return "[…]"
        if key in OF_TOOLS:
            fields |= self.personal
        if isinstance(value, Mapping):
            if key == "arguments":
                return self._arguments(value, levels)
            # Fields first: they tell which words the texts beside them must not show.
            hidden = {name: self._field(name, held) for name, held in value.items() if name in fields}
            return {
                name: hidden[name] if name in hidden else self.masked(held, name, levels - 1, fields)
                for name, held in value.items()
            }
        if isinstance(value, list | tuple):
            return [self.masked(item, key, levels - 1, fields) for item in value]
        if isinstance(value, str) and value[:1] in ("{", "["):
            return self._json(value, levels - 1, fields)
        if isinstance(value, str) and key in TEXTS:
            return self.text(value)
        return value

    def _arguments(self, value: Mapping[str, Any], levels: int) -> dict[str, Any]:
        known = {name: held for name, held in value.items() if self.known is None or name in self.known}
        shown: dict[str, Any] = self.masked(known, "", levels, FIELDS | self.personal)
        shown = {name: self.text(held) if isinstance(held, str) else held for name, held in shown.items()}
        return shown | ({"[unknown]": len(value) - len(known)} if len(known) < len(value) else {})

    def _json(self, text: str, levels: int, fields: frozenset[str]) -> str:
        """What Vapi is sent: an object made a string."""
        if len(text) > limits.TOOL_CALLS_BYTES:
            return self.text(text)
        try:
            return msgspec.json.encode(self.masked(msgspec.json.decode(text), "", levels, fields)).decode()
        except (msgspec.DecodeError, RecursionError):
            return self.text(text)

    def text(self, text: str) -> str:
        """The first MASKED_TEXT_CHARACTERS, masked: the rules take time, and what is long comes from no voice."""
        if len(text) > limits.MASKED_TEXT_CHARACTERS:
            text = text[: limits.MASKED_TEXT_CHARACTERS] + " […]"
        for pattern, instead in _RULES:
            text = pattern.sub(partial(_unless_public, instead), text)
        return re.sub(r"\w+", lambda word: "[…]" if word[0].lower() in self._words else word[0], text)

    def _field(self, name: str, held: Any) -> Any:
        if not isinstance(held, str) or not held:
            return None if held is None else "[masked]" if held else held
        held = held[: limits.MASKED_TEXT_CHARACTERS]
        self._learn(re.findall(r"\w+", held))
        if name == "phone":
            return f"[…{re.sub('[^0-9]', '', held)[-LAST_DIGITS:]}]"
        if name in ("full_name", "name_on_card"):
            return " ".join(f"{word[0]}[…]" for word in held.split())
        return "[masked]"

    def _learn(self, words: Iterable[str]) -> None:
        # A short word, or a street's number, would hide half of what is said.
        self._words.update({word.lower(): None for word in words if len(word) > 3 and word not in _COMMON})
        while len(self._words) > limits.MASKED_WORDS:
            del self._words[next(iter(self._words))]


def _unless_public(instead: str, found: "re.Match[str]") -> str:
    return found[0] if found.groupdict().get("ours") or found[0].split()[-1] in _PUBLIC else found.expand(instead)


def masker_of(registry: Registry) -> Masker:
    """For a call of an agent with these tools."""
    return Masker(registry.argument_names, registry.personal)
