"""The parts of the door that only compute."""

from datetime import date

import pytest

from db.door import Answer, BadDatabaseUrl, check_database_url
from db.issuing import issued_last4, renewed
from db.pool import open_database


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://postgres:postgres@localhost:5432/veris",
        "postgres://u:p%40ss@db.example.com/bank?sslmode=require",
        "postgresql://postgres@/postgres?host=/tmp/voice-abc",
        "postgresql:///bank?host=/run/postgresql",
        "postgresql://u@[::1]:5433/bank",
        "postgresql://u:p@one:5432,two:5432/bank?target_session_attrs=primary",
        "postgresql://localhost",
    ],
)
def test_url_is_taken_when_well_formed(url: str) -> None:
    check_database_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:5432/bank",
        "mysql://u:secret@localhost/bank",
        "postgresql+asyncpg://u:secret@localhost/bank",
        "postgresql://u:secret@localhost:five/bank",
        "postgresql://u:secret@localhost:99999/bank",
        "postgresql://u:secret@localhost:0/bank",
        "postgresql://u:secret@/bank",
        "postgresql:///bank",
        "postgresql://u:secret@[::1/bank",
        "postgresql://u:secret#1@localhost/bank",
        "postgresql://u:secret@localhost/bank/more",
        "postgresql://u:secret@local host/bank",
        "postgresql://u:secret@localhost/bank\n",
    ],
)
async def test_url_is_refused_without_its_password_when_malformed(url: str) -> None:
    with pytest.raises(BadDatabaseUrl) as raised:
        async with open_database(url):
            pytest.fail("it opened")
    line = str(raised.value)
    assert "secret" not in line
    assert "\n" not in line
    assert "DATABASE_URL" in line


def test_new_digits_all_differ_when_ten_thousand_cards_are_issued() -> None:
    digits = {issued_last4(card_id) for card_id in range(38, 10_038)}
    assert len(digits) == 10_000
    assert all(len(four) == 4 and four.isdigit() for four in digits)


def test_new_card_ends_with_its_month_when_the_old_one_ended_in_february() -> None:
    assert renewed(date(2028, 2, 29)) == date(2032, 2, 29)
    assert renewed(date(2029, 2, 28)) == date(2033, 2, 28)
    assert renewed(date(2030, 4, 15)) == date(2034, 4, 30)
    assert renewed(date(2096, 2, 29)) == date(2100, 2, 28)


def test_answer_is_one_thing_when_made() -> None:
    with pytest.raises(ValueError, match="not both"):
        Answer({"a": 1}, "no")
