"""What a card gets that is issued in place of another."""

import calendar
from datetime import date


def issued_last4(card_id: int) -> str:
    """The last four digits of a card that we issue: spread over all 10,000, repeatable, never drawn by chance."""
    return f"{(card_id * 7919 + 1234) % 10_000:04d}"  # 7919 is prime to 10,000: 10,000 cards in a row all differ


def renewed(expires: date) -> date:
    """The last day of the month four years later: what a card issued in place of another is valid to."""
    year = expires.year + 4
    return date(year, expires.month, calendar.monthrange(year, expires.month)[1])
