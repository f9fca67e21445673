"""How a word is said that no dictionary has: guessed from its parts, or from its letters, in the phones of CMUdict."""

from collections.abc import Callable, Mapping

Lookup = Callable[[str], str | None]

PREFIXES: Mapping[str, str] = {"un": "AH N", "re": "R IY", "pre": "P R IY", "non": "N AA N", "dis": "D IH S"}
SUFFIXES: Mapping[str, str] = {"'s": "Z", "s": "Z", "ed": "D", "ing": "IH NG", "ly": "L IY", "er": "ER"}
LETTERS: Mapping[str, str] = {
    "tion": "SH AH N", "igh": "AY", "tch": "CH",
    "ee": "IY", "ea": "IY", "oo": "UW", "ou": "AW", "ow": "OW", "oa": "OW", "ai": "EY", "ay": "EY", "oi": "OY",
    "oy": "OY", "au": "AO", "aw": "AO", "ie": "IY", "ar": "AA R", "er": "ER", "ir": "ER", "or": "AO R", "ur": "ER",
    "ch": "CH", "sh": "SH", "th": "TH", "ph": "F", "wh": "W", "ck": "K", "ng": "NG", "qu": "K W", "kn": "N",
    "bb": "B", "dd": "D", "ff": "F", "gg": "G", "ll": "L", "mm": "M", "nn": "N", "pp": "P", "rr": "R", "ss": "S",
    "tt": "T", "zz": "Z",
    "a": "AE", "b": "B", "c": "K", "d": "D", "e": "EH", "f": "F", "g": "G", "h": "HH", "i": "IH", "j": "JH",
    "k": "K", "l": "L", "m": "M", "n": "N", "o": "AA", "p": "P", "q": "K", "r": "R", "s": "S", "t": "T", "u": "AH",
    "v": "V", "w": "W", "x": "K S", "y": "IY", "z": "Z",
}  # fmt: skip


def pronounce(word: str, lookup: Lookup) -> str:
    """Phones of ``word`` (lower case), best guess. ``lookup`` gives those of a word that is known, else None."""
    for prefix, phones in PREFIXES.items():
        if word.startswith(prefix) and (rest := lookup(word.removeprefix(prefix))):
            return f"{phones} {rest}"
    for suffix, phones in SUFFIXES.items():
        stem = word.removesuffix(suffix)
        if stem != word and (rest := lookup(stem) or (lookup(f"{stem}e") if stem else None)):
            return f"{rest} {phones}"
    for cut in range(len(word) - 3, 2, -1):
        if (first := lookup(word[:cut])) and (second := lookup(word[cut:])):
            return f"{first} {second}"
    return _spelt(word)


def _spelt(word: str) -> str:
    letters = word.replace("'", "")
    silent_end = len(letters) > 3 and letters.endswith("e") and letters[-2] not in "aeiouy"
    letters = letters[:-1] if silent_end else letters
    phones, at = [], 0
    while at < len(letters):
        size = next((size for size in (4, 3, 2, 1) if letters[at : at + size] in LETTERS), 0)
        if size:
            phones.append(LETTERS[letters[at : at + size]])
        at += size or 1
    return " ".join(phones)
