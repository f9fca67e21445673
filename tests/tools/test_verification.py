"""Whether what a caller says is what the bank knows: spelling is forgiven, content is not."""

import re
import string
from collections.abc import Sequence
from typing import Any

import attrs
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from db.door import Card, User
from db.seed import seed_records
from tests.house_rules import ROOT
from tools.verification import matching

SEED = seed_records((ROOT / "db" / "seed.sql").read_text(encoding="utf-8"))
USERS: dict[int, User] = SEED["users"]
CARDS: dict[int, Card] = SEED["cards"]
EVERYBODY = list(USERS.values())
DANA = USERS[3]
PHONE, ADDRESS = "+15035550121", "77 Alder Court, Denver, CO 80203"
STREETS = {"Street": "St", "Avenue": "Ave", "Court": "Ct", "Road": "Rd", "Drive": "Dr", "Lane": "Ln", "Place": "Pl",
           "Terrace": "Ter", "Crescent": "Cres", "Square": "Sq", "North": "N"}  # fmt: skip


def holders_of(last4: str) -> list[User]:
    return [USERS[user_id] for user_id in sorted({card.user_id for card in CARDS.values() if card.last4 == last4})]


def is_dana(name: str = "Dana Whitfield", phone: str | None = None, address: str | None = None) -> bool:
    return matching([DANA], name, phone, address) == DANA


@pytest.mark.parametrize(
    "name",
    ["Dana Whitfield", "dana whitfield", "DANA  WHITFIELD", " Dana, Whitfield. ", "Dána Whitfíeld", "Dana-Whitfield",
     "Da\u0301na Whitfield", "Dana\u00a0Whitfield\n", "D\u2019ana Whitfield", "\uff24ana Whitfield"],
)  # fmt: skip
def test_name_is_known_when_only_its_spelling_differs(name: str) -> None:
    assert is_dana(name, PHONE)


@pytest.mark.parametrize(
    "name",
    ["", " ", ".", "Dana", "Whitfield", "Whitfield Dana", "Dana M. Whitfield", "Dana Whitfeld", "Danawhitfield",
     "Dana Whitfield Jr", "Dana Whitfield Priya Raman", "Priya Raman", "%", "Dana%", "' OR '1'='1", "None", "null",
     "D\u0430na Whitfield", "Dana Whitfield\u0000x"],
)  # fmt: skip
def test_name_is_not_known_when_it_is_another(name: str) -> None:
    assert not is_dana(name, PHONE)
    assert not is_dana(name, address=ADDRESS)


@pytest.mark.parametrize(
    "phone",
    [PHONE, "15035550121", "5035550121", "503-555-0121", "(503) 555-0121", "+1 (503) 555 01 21", "1.503.555.0121",
     "503 555 0121 please"],
)  # fmt: skip
def test_phone_is_known_when_only_its_spelling_differs(phone: str) -> None:
    assert is_dana(phone=phone)


@pytest.mark.parametrize(
    "phone",
    ["", "-", "five", "0121", "555-0121", "503555012", "50355501210", "15035550120", "25035550121", "4415035550121",
     "+1503555012", "5035550107", "5035550121 or 5035550107", "1", "0" * 40, "9" * 4000],
)  # fmt: skip
def test_phone_is_not_known_when_a_digit_is_missing_wrong_or_too_many(phone: str) -> None:
    assert not is_dana(phone=phone)


@pytest.mark.parametrize(
    "address",
    [ADDRESS, "77 Alder Court Denver CO 80203", "77 alder court, denver, colorado, 80203", "77 Alder Ct., 80203",
     "77 ALDER CT  80203", "77 Álder Court; Denver 80203", "77 Alder Court\n80203"],
)  # fmt: skip
def test_address_is_known_when_only_its_spelling_differs(address: str) -> None:
    assert is_dana(address=address)


@pytest.mark.parametrize("town", ["Dover", "Den for, Colorado", ""])
def test_address_is_known_when_its_town_was_misheard(town: str) -> None:
    """The postal code names the town; a recogniser makes what it likes of the town's name."""
    assert is_dana(address=f"77 Alder Court, {town} 80203")


@pytest.mark.parametrize(
    "address",
    ["", ",", "80203", "Denver, CO 80203", "77 Alder Court", "77 Alder Court, Denver, CO", "77 Alder Court 8020",
     "77 Alder Court 802033", "77 Alder Court 180203",
     "7 Alder Court 80203", "77 Elder Court 80203", "77 Alder Street 80203",
     "77 Alder 80203", "177 Alder Court 80203", "Alder Court 77, 80203", "77 Alder Courtyard, 80203",
     "77 Alder Court, Denver, CO 80203 or 80204", "77 Alder Court80203", "12 Harbour Lane, Portland, OR 97201",
     "77 Alder Court, Denver, CO 97201", "12 Harbour Lane, 77 Alder Court, 80203"],
)  # fmt: skip
def test_address_is_not_known_when_street_number_or_postal_code_differ(address: str) -> None:
    assert not is_dana(address=address)


def test_address_is_known_when_its_street_is_abbreviated() -> None:
    abbreviated = [" ".join(STREETS.get(word, word) for word in u.address.replace(",", "").split()) for u in EVERYBODY]
    assert sum(short != user.address.replace(",", "") for short, user in zip(abbreviated, EVERYBODY, strict=True)) > 15
    for user, address in zip(EVERYBODY, abbreviated, strict=True):
        assert matching([user], user.full_name, None, address) == user


def test_nobody_is_found_when_no_card_ends_so() -> None:
    assert matching([], "Dana Whitfield", PHONE, None) is None
    assert matching([], "", "", None) is None


def test_each_customer_is_found_when_two_hold_cards_that_end_alike() -> None:
    holders = holders_of("5519")
    assert [user.user_id for user in holders] == [2, 12]
    for order in (holders, holders[::-1]):
        for user in holders:
            assert matching(order, user.full_name, user.phone, None) == user
            assert matching(order, user.full_name, None, user.address) == user


def test_details_of_two_holders_are_not_mixed_when_their_cards_end_alike() -> None:
    marcus, noor = holders = holders_of("5519")
    assert matching(holders, marcus.full_name, noor.phone, None) is None
    assert matching(holders, noor.full_name, None, marcus.address) is None


def test_nobody_is_found_when_the_details_fit_two_customers() -> None:
    twin = attrs.evolve(DANA, user_id=99)
    assert matching([DANA, twin], DANA.full_name, DANA.phone, None) is None
    assert matching([DANA, twin], DANA.full_name, None, DANA.address) is None


def test_nothing_matches_when_the_bank_knows_nothing_of_a_customer() -> None:
    unknown = User(99, "", "", "", "")
    for said in ("", "-", "x", "0"):
        assert matching([unknown], said, said, None) is None
        assert matching([unknown], said, None, said) is None


# --- Properties over the whole bank: whoever is found has said what only they have.


def digits(text: str) -> str:
    return re.sub("[^0-9]", "", text)


def proven(user: User, phone: str | None, address: str | None) -> bool:
    """Told another way than the product does: every digit that identifies the customer was said."""
    if phone is not None:
        return digits(phone) in (digits(user.phone), digits(user.phone)[-10:])
    number, code = user.address.split()[0], user.address.split()[-1]
    said = (address or "").split()
    return bool(said) and digits(said[0]) == number and digits(said[-1]) == code


NAMES = st.sampled_from([user.full_name for user in EVERYBODY])
PHONES = st.sampled_from([user.phone for user in EVERYBODY])
ADDRESSES = st.sampled_from([user.address for user in EVERYBODY])
NOISE = st.text(st.sampled_from(string.printable + "éßøİ１ﬁ\u0301\u00a0"), max_size=40)


@st.composite
def edited(draw: Any, texts: Any) -> str:
    """A known detail with a few characters dropped, doubled, exchanged or put in."""
    text: str = draw(texts)
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(text)))
        text = (
            text[:at]
            + draw(st.text(st.sampled_from("0123456789 ,.-stae'"), max_size=2))
            + text[at + draw(st.integers(0, 2)) :]
        )
    return text


@given(st.sampled_from(EVERYBODY), NAMES | NOISE | edited(NAMES), PHONES | NOISE | edited(PHONES))
def test_nobody_is_taken_for_another_when_any_name_and_phone_are_said(user: User, name: str, phone: str) -> None:
    if matching([user], name, phone, None) is not None:
        assert proven(user, phone, None)
        assert letters(name) == letters(user.full_name)


@given(st.sampled_from(EVERYBODY), NAMES | edited(NAMES), ADDRESSES | NOISE | edited(ADDRESSES))
def test_nobody_is_taken_for_another_when_any_name_and_address_are_said(user: User, name: str, address: str) -> None:
    if matching([user], name, None, address) is not None:
        assert letters(name) == letters(user.full_name)
        known, said = words(user.address.partition(",")[0]), words(address)
        assert said[: len(known)] == known
        assert said[-1] == user.address.split()[-1]


def letters(name: str) -> str:
    return re.sub("[^a-z]", "", name.lower())


def words(text: str) -> list[str]:
    """Of an ASCII text, abbreviations written out."""
    full = {short.lower(): long.lower() for long, short in STREETS.items()}
    found = re.sub("[^a-z0-9]+", " ", re.sub("'", "", text.lower())).split()
    return [full.get(word, word) for word in found]


@given(st.data())
def test_exactly_the_right_one_is_found_when_all_hold_the_card(data: Any) -> None:
    """Among all customers at once: the details of one find that one, details of two find nobody."""
    holders: Sequence[User] = data.draw(st.permutations(EVERYBODY))
    first, second = data.draw(st.sampled_from(EVERYBODY)), data.draw(st.sampled_from(EVERYBODY))
    by_phone = matching(holders, first.full_name, second.phone, None)
    by_address = matching(holders, first.full_name, None, second.address)
    expected = first if first == second else None
    assert by_phone == by_address == expected


@given(st.sampled_from(EVERYBODY), st.data())
def test_customer_is_found_when_the_spelling_is_any_other(user: User, data: Any) -> None:
    separators = st.sampled_from([" ", "  ", ", ", ". ", " - ", "\t", "\u00a0"])
    change = st.sampled_from([str.lower, str.upper, str.title, str.swapcase])

    def respelt(text: str) -> str:
        return "".join(data.draw(change)(word) + data.draw(separators) for word in text.split())

    assert matching([user], respelt(user.full_name), user.phone, None) == user
    spelt = [
        STREETS[w] if w in STREETS and data.draw(st.booleans()) else w for w in user.address.replace(",", "").split()
    ]
    assert matching([user], user.full_name, None, respelt(" ".join(spelt))) == user


@given(st.text(max_size=60), st.text(max_size=60))
def test_nothing_said_breaks_it_when_it_is_any_text(name: str, detail: str) -> None:
    assume(letters(name) not in {letters(user.full_name) for user in EVERYBODY})
    assert matching(EVERYBODY, name, detail, None) is None
    assert matching(EVERYBODY, name, None, detail) is None


@pytest.mark.parametrize(
    ("known", "said", "fits"),
    [
        ("Flat 2, 10 High Street, London, N1 9GU", "flat 2 10 high st london n1 9gu", True),
        ("Flat 2, 10 High Street, London, N1 9GU", "flat 2 12 high st london n1 9gu", False),
        ("Flat 2, 10 High Street, London, N1 9GU", "flat 2 n1 9gu", False),
        ("10 High Street, 12345", "10 high street 12345", True),
        ("Lighthouse 7", "lighthouse 7", True),
        ("Lighthouse 7", "7", False),
    ],
)
def test_every_part_before_the_town_has_to_be_said(known: str, said: str, fits: bool) -> None:
    somebody = User(1, "Ann Lee", "+15035550100", "a@example.com", known)
    assert (matching([somebody], "Ann Lee", None, said) is somebody) is fits
