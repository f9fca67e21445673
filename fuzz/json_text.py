"""JSON as text, sound or not: what no library would write must be written too."""

import json
import random
from collections.abc import Callable, Sequence
from typing import Any, Final

import attrs


@attrs.frozen
class Raw:
    """Text that stands as it is in place of a value."""

    text: str


@attrs.frozen
class Pairs:
    """An object whose keys may come twice."""

    items: tuple[tuple[str, Any], ...]


NUMBERS: Final = (
    "0", "-0", "1e999", "-1e999", "1E400", "0.1e-999", "9" * 19, "9" * 20, "-" + "9" * 25, "9" * 400, "9" * 5_000,
    "18446744073709551615", "18446744073709551616", "-9223372036854775809", "1.7976931348623157e309", "00", "01",
    "+1", ".5", "1.", "0x10", "NaN", "Infinity", "-Infinity", "1e", "--1",
)  # fmt: skip
STRINGS: Final = (
    '""', r'"\ud800"', r'"\udfff\ud800"', r'"\u0000"', '"\\u00"', '"\x00"', '"\n"', '"\\x"', '"' + "é" * 300 + '"',
    '"😀"', r'"\ud83d\ude00"', '"' + "x" * 201 + '"', '"' + "x" * 5_000 + '"', r'"\u2028"', '"unended', "'single'",
    '"\\\\"', '"\\"', r'"a\nb"', '"\x7f"', '"\u202e"', '"1; DROP TABLE cards"',
)  # fmt: skip
OTHERS: Final = (
    "null",
    "true",
    "false",
    "[]",
    "{}",
    "[null]",
    "nul",
    "True",
    "undefined",
    "",
    "{,}",
    "[,]",
    "//",
    "\ufeff",
)


def odd(rng: random.Random) -> Raw:
    """A value that belongs nowhere."""
    return Raw(rng.choice((rng.choice(NUMBERS), rng.choice(STRINGS), rng.choice(OTHERS), deep(rng).text)))


def deep(rng: random.Random) -> Raw:
    """Nested, ended or not."""
    depth = rng.choice((2, 5, 30, 100, 900, 1_000, 1_100, 3_000))
    opened, closed = rng.choice((("[", "]"), ('{"a":', "}"), ('[{"b":', "}]")))
    ends = depth if rng.random() < 0.7 else rng.randrange(depth)
    return Raw(opened * depth + "1" + closed * ends)


def text(value: Any) -> str:
    """Compact; `Raw` and `Pairs` anywhere in it."""
    if isinstance(value, Raw):
        return value.text
    if isinstance(value, Pairs):
        return "{" + ",".join(f"{json.dumps(key)}:{text(item)}" for key, item in value.items) + "}"
    if isinstance(value, dict):
        return text(Pairs(tuple(value.items())))
    if isinstance(value, list):
        return "[" + ",".join(map(text, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def encoded(value: Any) -> bytes:
    return text(value).encode("utf-8", "surrogatepass")


def twisted(value: Any, rng: random.Random) -> Any:
    """`value` with one place in it changed: replaced, left out, doubled, or of another type."""
    if isinstance(value, dict) and value:
        items = list(value.items())
        at = rng.randrange(len(items))
        key, inside = items[at]
        if rng.random() < 0.6:
            items[at] = (key, twisted(inside, rng))
        else:
            items = _changed(items, at, rng, (rng.choice((key, key.upper(), "")), odd(rng)))
        return Pairs(tuple(items))
    if isinstance(value, list) and value and rng.random() < 0.9:
        at = rng.randrange(len(value))
        listed = list(value)
        if rng.random() < 0.6:
            listed[at] = twisted(listed[at], rng)
            return listed
        return _changed(listed, at, rng, odd(rng))
    return odd(rng)


def _changed(items: list[Any], at: int, rng: random.Random, other: Any) -> list[Any]:
    changes: Sequence[Callable[[], list[Any]]] = (
        lambda: items[:at] + items[at + 1 :],
        lambda: [*items, items[at]],
        lambda: [*items, other],
        lambda: [*items[:at], other, *items[at + 1 :]],
    )
    return rng.choice(changes)()
