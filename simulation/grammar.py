"""What may be said, as a recogniser wants it: words, digits that may have been mixed up, and a grammar in JSGF."""

import re
from collections.abc import Iterable, Mapping, Sequence

DIGITS: Mapping[str, str] = {
    "zero": "0", "oh": "0", "one": "1", "two": "2", "three": "3", "four": "4",
    "five": "5", "six": "6", "seven": "7", "eight": "8", "nine": "9",
}  # fmt: skip
_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_WORD = re.compile(r"[a-z]+(?:'[a-z]+)*'?|[0-9]")

Words = tuple[str, ...]


def words_of(text: str) -> Words:
    """Lower case, without signs; a numeral becomes its digits, one by one (a synthesiser may say it otherwise)."""
    plain = text.lower().replace("\u2019", "'")
    return tuple(_NAMES[int(word)] if word.isdigit() else word.strip("'") for word in _WORD.findall(plain))


def digit_runs(words: Words) -> list[tuple[int, int]]:
    """Where digits stand side by side: from, and up to but without."""
    runs: list[tuple[int, int]] = []
    for index, word in enumerate(words):
        if word not in DIGITS:
            continue
        if runs and runs[-1][1] == index:
            runs[-1] = (runs[-1][0], index + 1)
        else:
            runs.append((index, index + 1))
    return runs


def numbers_in(text: str) -> list[str]:
    """The digits said in ``text``, a string for each run: "four two, please" gives ["42"]."""
    words = words_of(text)
    return ["".join(DIGITS[word] for word in words[start:end]) for start, end in digit_runs(words)]


def decoys(phrases: Iterable[str]) -> list[Words]:
    """Each phrase with two digits swapped, or with the digits of another one.

    A grammar without them would force wrong digits into the right ones: nobody could hear that they are wrong.
    """
    said = dict.fromkeys(words_of(phrase) for phrase in phrases)
    known = dict.fromkeys(words[start:end] for words in said for start, end in digit_runs(words) if end - start > 1)
    made: dict[Words, None] = {}
    for words in said:
        for start, end in digit_runs(words):
            run = words[start:end]
            swapped = ((*run[:at], run[at + 1], run[at], *run[at + 2 :]) for at in range(len(run) - 1))
            for other in (*swapped, *(other for other in known if len(other) == len(run))):
                made[words[:start] + other + words[end:]] = None
    return [words for words in made if words not in said]


def leading_parts(text: str) -> list[str]:
    """``text`` broken off behind each of its words but the last."""
    pieces = text.split()
    ends = [end for end in range(1, len(pieces)) if words_of(pieces[end - 1])]
    return [" ".join(pieces[:end]) for end in ends]


def jsgf(alternatives: Sequence[Words]) -> str:
    """A grammar that knows exactly these. There must be one, and each needs a word."""
    return f"#JSGF V1.0;\ngrammar said;\npublic <said> = {' | '.join(' '.join(words) for words in alternatives)};\n"
