"""What tells a browser's request from a program's, and which web pages may call.

A page of any site can make its visitor's browser connect to an address of the visitor's own network. A browser says so:
it sends Origin with every WebSocket and every POST, and a page cannot change that. Programs send neither header.
"""

from collections.abc import Sequence
from typing import Final

BROWSER_HEADERS: Final = ("Origin", "Sec-Fetch-Site")


def page_may_call(origin: str | None, allowed: Sequence[str]) -> bool:
    """Whether a WebSocket with this Origin is a program's, or of a page that was allowed by name.

    Host is not asked: a name that an attacker's DNS has pointed here would agree with his own Origin.
    """
    return origin is None or origin.lower().rstrip("/") in allowed
