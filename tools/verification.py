"""Whether what a caller says of himself is what the bank knows: pure, and as long for a miss as for a hit.

A speech recogniser writes what it hears, so spelling is forgiven where it tells two customers apart all the same: case,
accents and punctuation, the country code of a phone number, the abbreviations of a street. Content is not.
"""

import hmac
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Final

from db.door import User

_STREETS: Final[Mapping[str, str]] = {
    "ave": "avenue", "blvd": "boulevard", "cres": "crescent", "ct": "court", "dr": "drive", "ln": "lane",
    "pl": "place", "rd": "road", "sq": "square", "st": "street", "ter": "terrace", "n": "north", "s": "south",
    "e": "east", "w": "west",
}  # fmt: skip
NATIONAL_DIGITS: Final = 10  # of a phone number without its country code


def matching(holders: Sequence[User], full_name: str, phone: str | None, address: str | None) -> User | None:
    """The one customer among `holders` whose name and phone or address these are. Every holder is looked at."""
    name = _words(full_name)
    fits = [
        user
        for user in holders
        if _same(_words(user.full_name), name)
        & (_same_phone(user.phone, phone) if phone is not None else _same_address(user.address, address or ""))
    ]
    return fits[0] if len(fits) == 1 else None


def _same(known: str, said: str) -> bool:
    return bool(said) and hmac.compare_digest(known.encode(), said.encode())


def _same_phone(known: str, said: str) -> bool:
    digits = re.sub(r"[^0-9]", "", said)
    whole = re.sub(r"[^0-9]", "", known)
    return _same(whole, digits) | _same(whole[-NATIONAL_DIGITS:], digits)


def _same_address(known: str, said: str) -> bool:
    """The street with its number in front, the postal code at the end; the town between them may be left out."""
    parts = known.split(",")
    street = _street(" ".join(parts[: max(1, len(parts) - 2)]))  # "Flat 2, 10 High Street, London, N1 9GU"
    code, said = _words(known).rpartition(" ")[2], _street(said)
    in_front, at_the_end = f"{said} "[: len(street) + 1], said[-len(code) - 1 :]
    return _same(street + " ", in_front) & _same(" " + code, at_the_end)


def _street(text: str) -> str:
    return " ".join(_STREETS.get(word, word) for word in _words(text).split())


def _words(text: str) -> str:
    """Lower case without accents and punctuation, one space between words."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c)).casefold()
    return " ".join(re.sub(r"[\W_]+", " ", re.sub("['\u2019]", "", plain)).split())
